"""mimicry's own Trainer, stopped at a rung and gone on with from the checkpoint that it saves."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from sparse_plugin.tune.candidates import VANILLA_CANDIDATE
from sparse_plugin.tune.gans import Scoring
from sparse_plugin.tune.launched import HostTarget, WrittenScorer
from sparse_plugin.tune.metric import parse
from sparse_plugin.tune.sampled import SampledScorer
from sparse_plugin.tune.target import Goal

pytest.importorskip("torchvision")
pytest.importorskip("torch_fidelity")
if find_spec("torch_mimicry") is None:
    pytest.skip("torch_mimicry is not installed", allow_module_level=True)

SCRIPT = """
import sys, torch
import torch_mimicry as mmc
from torch_mimicry.nets import sngan

torch.manual_seed(int(sys.argv[2]))
images = torch.utils.data.TensorDataset(torch.rand(16, 3, 32, 32) * 2 - 1, torch.arange(16))
netG, netD = sngan.SNGANGenerator32(ngf=16), sngan.SNGANDiscriminator32(ndf=8)
mmc.training.Trainer(
    netD=netD, netG=netG, optD=torch.optim.Adam(netD.parameters(), 2e-4), optG=torch.optim.Adam(netG.parameters(), 2e-4),
    n_dis=1, num_steps=4, lr_decay="linear", dataloader=torch.utils.data.DataLoader(images, 4), log_dir=sys.argv[1],
    log_steps=1, print_steps=1, vis_steps=2, save_steps=100, device=torch.device("cpu"),
).train()
"""


@pytest.mark.slow
@pytest.mark.host
def test_the_trainer_stops_and_goes_on(tmp_path, monkeypatch):
    from sparse_plugin.evaluate.sampling import GeneratorSpec

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))
    Path("train.py").write_text(SCRIPT)
    np.savez("images.npz", images=np.random.RandomState(0).randint(0, 256, (24, 32, 32, 3), dtype=np.uint8))
    spec = GeneratorSpec("torch_mimicry.nets.sngan:SNGANGenerator32", ("ngf=16",), ("32x128",))
    drawn = SampledScorer(spec, "checkpoints/netG/*.pth", Scoring("images.npz", 32, "KID-lite0", 20, kid_subset=10, device="cpu"))
    words = ["python", "train.py", "{dir}", "{seed}"]
    made = HostTarget(words, drawn, Goal("KID-lite0", True, True))
    assert made.stops and "stopped at rungs as mimicry allows" in made.title
    made.check()
    half, whole = (made.trial(VANILLA_CANDIDATE, 1, share, Path("out")) for share in (0.5, 1.0))
    first = half.perform("", print)
    run = half.directory / "run"
    assert [path.name for path in (run / "checkpoints/netG").iterdir()] == ["netG_2_steps.pth"]
    second = whole.perform("", print)
    assert sorted(path.name for path in (run / "checkpoints/netG").iterdir()) == ["netG_2_steps.pth", "netG_4_steps.pth"]
    assert "Starting training from global step 2" in (half.directory / "output.log").read_text()
    assert (first.step, second.step) == (2, 4) and first.value != second.value
    assert second.more["checkpoint"][0] == "netG_4_steps.pth"
    # Γ is measured though nothing is projected, and what is shown are the samples of the score.
    assert first.levels[0]["site"] == "c5" and 0 < first.levels[0]["sparsity"] < 100 and len(first.levels[0]["atom_usage"]) == 16
    assert (half.directory / "samples.png").is_file()
    assert json.loads((half.directory / "ended.json").read_text()) == {"share": 1.0}
    # A number of the trainer's own log can be read instead.
    by_log = HostTarget(words, WrittenScorer(parse("tensorboard:data/errG/loss")), Goal("errG", True))
    score = by_log.trial(VANILLA_CANDIDATE, 1, 1.0, Path("out")).perform("", print)
    assert score.more["count"] == 4
