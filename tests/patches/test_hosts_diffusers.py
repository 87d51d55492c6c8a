"""diffusers' trainers of autoencoders, by their own scripts, and its own loaders."""

import logging
import shutil

import pytest
import torch
from drives import DIFFUSERS, Drive, drive
from host_roots import driven

import sparse_plugin
from sparse_plugin import Attachment
from sparse_plugin.errors import CheckpointError, SiteError
from sparse_plugin.hosts.host import HOSTS

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("accelerate")

KEY = "decoder.conv_out.sparse_plugin._extra_state"
# Half of the steps that end with an optimizer's, in half precision, and computed again in the backward pass.
HARD = ["--gradient_accumulation_steps", 2, "--mixed_precision", "bf16", "--gradient_checkpointing"]


@pytest.fixture(autouse=True)
def off():
    driven.add(str(DIFFUSERS))
    yield
    sparse_plugin.disable()


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """One run of each trainer with the launcher's l0_inf at a quarter."""
    runs = {}

    def of(which):
        if which not in runs:
            folder = tmp_path_factory.mktemp(which)
            given = HARD if which == "kl" else []
            plugin = ["--sparse", "l0_inf", "--set", "sparse.k=0.25"]
            done, report = drive(Drive(DIFFUSERS, "diffusers", [which]), *given, cwd=folder, plugin=plugin)
            assert done.returncode == 0, done.stderr
            runs[which] = (report, folder / "out", done.stderr)
        return runs[which]

    return of


SAVED = {
    "kl": [".", "checkpoint-2/autoencoderkl", "checkpoint-2/autoencoderkl_ema"],
    "vqgan": ["vqmodel", "checkpoint-2/vqmodel", "checkpoint-2/vqmodel_ema"],
}


@pytest.mark.parametrize("which", SAVED)
def test_its_trainer_is_regularized_and_saves_the_settings(which, launched):
    report, _, said = launched(which)
    assert "input of decoder.conv_out" in said and "is dense by nature, and l0_inf(k=0.25) acts on it at once" in said
    assert report["calls"] >= 4 and max(report["nonzeros"]) <= 0.25
    assert "NOTHING" not in said
    for folder in SAVED[which]:
        assert report["saved"][folder] == [KEY], folder


def test_what_a_trainer_saved_is_loaded_by_its_own_loader(launched, caplog):
    _, folder, _ = launched("kl")
    with pytest.raises(CheckpointError, match=r"trained with l0_inf\(k=0.25\), and the generator is attached with l0_inf\(k=0.5\)"):
        on(k=0.5) and diffusers.AutoencoderKL.from_pretrained(folder)
    sparse_plugin.disable()
    on(k=0.25)
    for how in ({}, {"low_cpu_mem_usage": False}, {"torch_dtype": torch.bfloat16}):
        caplog.clear()
        assert density(diffusers.AutoencoderKL.from_pretrained(folder, **how)) == 0.25
        assert not caplog.records, how
    kept = diffusers.training_utils.EMAModel.from_pretrained(folder / "checkpoint-2/autoencoderkl_ema", diffusers.AutoencoderKL)
    assert len(kept.shadow_params) == len(list(small("AutoencoderKL").parameters()))


def test_loading_without_the_plugin_is_said_by_the_loader(launched):
    """diffusers leaves out what it does not know, and warns with its name."""
    _, folder, _ = launched("kl")
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    log = logging.getLogger("diffusers.models.modeling_utils")
    log.addHandler(handler)
    loaded = diffusers.AutoencoderKL.from_pretrained(folder)
    log.removeHandler(handler)
    assert Attachment.of(loaded) is None and any("were not used" in text and KEY in text for text in said)
    with pytest.raises(RuntimeError, match="sparse_plugin"):
        from safetensors.torch import load_file

        loaded.load_state_dict(load_file(folder / "diffusion_pytorch_model.safetensors"))


def on(name="l0_inf", host="diffusers", **settings):
    return sparse_plugin.enable(host, name, **settings)


def density(autoencoder):
    seen = []
    last = autoencoder.decoder.conv_out if hasattr(autoencoder.decoder, "conv_out") else autoencoder.decoder.layers[-1]
    handle = last.register_forward_hook(lambda m, a, out: seen.append(float((a[0] != 0).float().mean())))
    with torch.no_grad():
        image = torch.rand(1, 3, 16, 16).to(autoencoder.dtype)
        code = autoencoder.encode(image)
        autoencoder.decode(code[0].mode() if hasattr(code[0], "mode") and not torch.is_tensor(code[0]) else code[0])
    handle.remove()
    return max(seen)


def small(name):
    return next(example.build()[0] for example in HOSTS.get("diffusers").examples(DIFFUSERS) if example.name == name)


NAMES = [spec.partition(":")[2] for spec in HOSTS.get("diffusers").generators]


@pytest.mark.parametrize("name", NAMES)
def test_each_autoencoder_is_attached_as_it_is_built(name):
    on(k=0.25)
    built = small(name)
    assert Attachment.of(built) is not None and density(built) <= 0.25


@pytest.mark.parametrize("name", NAMES)
def test_k_of_a_dense_gamma_is_auto_by_default(name, capsys):
    on()
    regularizer = Attachment.of(small(name)).regularizer
    assert (regularizer.automatic is not None) == (name != "AutoencoderTiny")
    assert ("begins with all of it" in capsys.readouterr().err) == (name != "AutoencoderTiny")


def test_an_average_stands_where_what_it_averages_does(tmp_path):
    on(k={"start": 1.0, "end": 0.25, "steps": 2})
    model = small("AutoencoderKL")
    average = diffusers.training_utils.EMAModel(model.parameters(), model_cls=type(model), model_config=model.config)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for _ in range(2):
        model.decode(model.encode(torch.rand(1, 3, 16, 16)).latent_dist.mode()).sample.mean().backward()
        optimizer.step()
        average.step(model.parameters())
    assert density(model) == 0.25
    average.save_pretrained(tmp_path)
    sparse_plugin.disable()
    on(k={"start": 1.0, "end": 0.25, "steps": 2})
    assert density(diffusers.AutoencoderKL.from_pretrained(tmp_path)) == 0.25


def test_a_penalty_counts_once_in_recomputed_forwards():
    def gradients(checkpointed, how):
        torch.manual_seed(0)
        model = small("AutoencoderKL").train()
        image = torch.rand(2, 3, 16, 16)
        if checkpointed:
            model.enable_gradient_checkpointing()
        gammas = []
        if how == "attached":
            sparse_plugin.attach(model, "l1", weight=0.5)
        else:
            model.decoder.conv_out.register_forward_pre_hook(lambda m, args: gammas.append(args[0]))
        loss = model.decode(model.encode(image).latent_dist.mode()).sample.square().mean()
        (loss + (0.5 * gammas[0].abs().mean() if gammas else 0)).backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    for checkpointed in (False, True):
        for ours, theirs in zip(gradients(checkpointed, "attached"), gradients(False, "by hand"), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_another_class_that_is_named_is_the_only_one():
    sparse_plugin.enable(None, "l0_inf", k=0.25, generator="diffusers:VQModel")
    assert Attachment.of(small("AutoencoderKL")) is None and density(small("VQModel")) == 0.25


def test_a_layout_that_moved_is_told(monkeypatch):
    model = small("AutoencoderKL")
    model.decoder.head = model.decoder._modules.pop("conv_out")
    with pytest.raises(SiteError, match=r"AutoencoderKL of diffusers .* has no decoder.conv_out.*written for.*name the last convolution"):
        sparse_plugin.attach(model, "l0_inf", k=2)
    bare = small("AutoencoderTiny")
    bare.decoder = torch.nn.Sequential(torch.nn.Flatten())
    with pytest.raises(SiteError, match="AutoencoderTiny of diffusers .* has no decoder.layers"):
        sparse_plugin.attach(bare, "l0_inf", k=2)


def test_a_folder_of_another_architecture(tmp_path):
    """Its settings stand at a module that the class does not have."""
    from safetensors.torch import load_file, save_file

    model = small("AutoencoderKL")
    sparse_plugin.attach(model, "l0_inf", k=2)
    model.save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({key.replace("conv_out.sparse", "head.sparse"): value for key, value in load_file(file).items()}, file)
    on(k=2)
    with pytest.raises(CheckpointError, match="AutoencoderKL has no such module"):
        diffusers.AutoencoderKL.from_pretrained(tmp_path)


def test_it_is_known_by_its_source(tmp_path):
    """As a checkout lies: what a lazy package hands on counts."""
    host = HOSTS.get("diffusers")
    package = tmp_path / "src" / "diffusers"
    (package / "models").mkdir(parents=True)
    handed_on = ", ".join(NAMES)
    (package / "__init__.py").write_text(f"if TYPE_CHECKING or SLOW:\n    try:\n        pass\n    finally:\n        from .models import {handed_on}\n")
    (package / "models" / "modeling_utils.py").write_text("class ModelMixin: ...\n")
    (package / "training_utils.py").write_text("class EMAModel: ...\n")
    found = host.find(tmp_path)
    assert found is not None and found.root == tmp_path / "src" and host.lost(found) == ""
    shutil.copyfile(package / "training_utils.py", package / "__init__.py")
    assert host.find(tmp_path) is None
