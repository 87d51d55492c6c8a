"""Driving a host's own entry script, unmodified, on the CPU, with the plugin on or without."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import starts
from host_roots import driven, root

STAND_INS = Path(__file__).parent / "stand_ins"
BIGGAN, DIFFAUG, MSGAN = (
    root("ajbrock+BigGAN-PyTorch"),
    root("mit-han-lab+data-efficient-gans") / "DiffAugment-biggan-cifar",
    root("HelenMao+MSGAN") / "DCGAN-Mode-Seeking",
)
STUDIO = root("POSTECH-CVLab+PyTorch-StudioGAN") / "src"
DIFFUSERS = root("huggingface+diffusers")
STYLEGAN = root("mit-han-lab+data-efficient-gans") / "DiffAugment-stylegan2-pytorch"
DIP = root("DmitryUlyanov+deep-image-prior")


@dataclass
class Drive:
    """How one host is driven: its folder, its driver, what it needs to sample, and how its own configuration is told."""

    root: Path
    driver: str
    arguments: list[str] = field(default_factory=list)
    sampling: list[str] = field(default_factory=list)
    weights: str = ""
    d1: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def own(self, name: str, **settings: object) -> dict:
        """How the host's own configuration switches the plugin on: arguments, or what the driver puts into its file."""
        if self.driver == "studiogan":
            return {"DRIVE_SET": json.dumps({"SPARSE": {"regularizer": name, **settings}})}
        given = [word for key, value in settings.items() for word in (f"--sparse_{key}", str(value))]
        return {"words": ["--sparse", name, *given]}


HOSTS = {
    "biggan": Drive(BIGGAN, "biggan", sampling=[], weights="weights/drive/G_ema.pth", d1="output_layer.2"),
    "diffaugment": Drive(
        DIFFAUG, "biggan", ["--DiffAugment", "translation,cutout"], ["--network=weights/drive/G_ema.pth"],
        "weights/drive/G_ema.pth", "output_layer.2",
    ),
    "msgan": Drive(MSGAN, "msgan", [], ["--resume", "results/drive/00000.pth"], "results/drive/00000.pth", "deconv4"),
    # Its EMA is a deep copy.
    "studiogan": Drive(
        STUDIO, "studiogan", weights="save/checkpoints/*/model=G_ema-*.pth", d1="conv2d5", env={"DRIVE_CONFIG": "BigGAN"}
    ),
}  # fmt: skip


def drive(host, *arguments, cwd, plugin=None, words=(), bare=False, **env):
    """Run a driver, with the launcher's options where plugin is a list, and return the finished process and its report.

    bare: as of starts.run.
    """
    given = HOSTS[host] if isinstance(host, str) else host
    driven.add(str(given.root))
    report = Path(cwd) / "report.json"
    report.unlink(missing_ok=True)
    launcher = [] if plugin is None else ["-m", "sparse_plugin", "run", *map(str, plugin), "--", sys.executable]
    command = [
        sys.executable,
        *launcher,
        STAND_INS / f"drive_{given.driver}.py",
        given.root,
        *given.arguments,
        *arguments,
        *words,
    ]
    # With the plugin, what hosts' checkpoints hold loads without switching torch's safety off, as the drivers do.
    more = {
        "DRIVE_REPORT": str(report),
        **({} if plugin is None else {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0"}),
        **given.env,
        **env,
    }
    done = starts.run(command, cwd=cwd, env=more, bare=bare)
    return done, json.loads(report.read_text()) if report.exists() else {}
