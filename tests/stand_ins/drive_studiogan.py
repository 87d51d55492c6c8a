"""Three generator steps of PyTorch-StudioGAN by its own `load_worker`, or DRIVE_MODE=sample.

    DRIVE_CONFIG=BigGAN DRIVE_REPORT=report.json python drive_studiogan.py ROOT/src [the host's own flags]

DRIVE_CONFIG names a file of the host's configs/CIFAR10; the driver makes it small, merges the JSON of DRIVE_SET into it
({"OPTIMIZATION": {"acml_steps": 2}, "SPARSE": {...}}), and writes it to drive.yaml. DRIVE_GPUS=2 is DataParallel, with
-DDP two spawned processes, whose second reports to report.json.1. Sampling loads the one checkpoint in ./save and writes
images by `-sf`.
"""

import functools
import glob
import json
import os
import sys

import drive_common as drive
import torch
import yaml

SMALL = {
    "MODEL": {"g_conv_dim": 8, "d_conv_dim": 8, "g_ema_decay": 0.5, "g_ema_start": 1},
    "OPTIMIZATION": {"batch_size": 4, "d_updates_per_step": 1, "total_steps": drive.STEPS - 1},
    "STYLEGAN": {"d_epilogue_mbstd_group_size": 2},
}
STYLE = {"MODEL": {"z_dim": 16, "w_dim": 16}, "OPTIMIZATION": {"beta1": 0.0}}
GPUS = int(os.environ.setdefault("DRIVE_GPUS", "1"))
os.environ["STANDIN_GPUS"] = os.environ["DRIVE_GPUS"]


def config(root):
    """The host's own configuration, small, in drive.yaml; the same file again when sampling."""
    name = os.environ.get("DRIVE_CONFIG", "SNGAN")
    with open(f"{root}/configs/CIFAR10/{name}.yaml") as f:
        made = yaml.safe_load(f)
    style = made.get("MODEL", {}).get("backbone", "").startswith("stylegan")
    for part in (SMALL, STYLE if style else {}):
        for section, values in part.items():
            for key, value in values.items():
                there = made.get(section, {}).get(key)
                if (there == "N/A" and key.endswith("conv_dim")) or (
                    there is None and key.startswith(("g_ema", "d_ep"))
                ):
                    continue
                made.setdefault(section, {})[key] = value
    for section, values in json.loads(os.environ.get("DRIVE_SET", "{}")).items():
        made.setdefault(section, {}).update(values)
    with open("drive.yaml", "w") as f:
        yaml.safe_dump(made, f)


root, argv = drive.start(
    "-cfg", "drive.yaml", "-data", "data", "-save", "save", "-metrics", "none", "--num_workers", 1, "--seed", 1,
    "--print_freq", 1, "--save_freq", drive.STEPS, "--backend", "gloo", "-sf_num", 6,
)  # fmt: skip
if drive.SAMPLING:
    (checkpoint,) = glob.glob("save/checkpoints/*")
    argv += ["-sf", "-ckpt", checkpoint]
else:
    argv += ["-t"]
drive.no_cuda()
torch.cuda.device_count = lambda: GPUS
drive.stub("wandb", installed=True)  # which would ask for an account
drive.stub("seaborn", "kornia", "timm", "sklearn", "cv2")
if "pkg_resources" not in sys.modules:
    from packaging.version import parse

    drive.module("pkg_resources", parse_version=parse)
probe = drive.Probe()
seen = {"losses": [], "training_calls": []}


class CIFAR10:
    """A few random images in place of those on the disk."""

    def __init__(self, *args, train=True, **kwargs):
        from PIL import Image

        source = torch.Generator().manual_seed(int(train))
        images = torch.randint(256, (64, 32, 32, 3), generator=source, dtype=torch.uint8).numpy()
        self.data = [(Image.fromarray(image), i % 10) for i, image in enumerate(images)]

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index]


def prepare():
    """Import the host, and change what only concerns this equipment: images, widths, what is noted and kept."""
    import data_util
    import loader
    import worker
    from utils import misc

    for owner in (data_util, misc):
        owner.CIFAR10 = CIFAR10
    if hasattr(loader, "Dataset_") and hasattr(data_util, "transforms"):
        narrow()
    loader.DataLoader = functools.partial(data_loader, loader.DataLoader)
    save, train_generator = worker.WORKER.save, worker.WORKER.train_generator

    def save_as_best(self, step, is_best):
        save(self, step, True)  # or there is none to load at the end

    def noting(self, current_step):
        before = len(probe.calls)
        loss = train_generator(self, current_step)
        seen["losses"].append(loss.item())
        seen["training_calls"].append(len(probe.calls) - before)
        seen["rank"] = self.global_rank
        seen.update(G=misc.peel_model(self.Gen), ema=misc.peel_model(self.Gen_ema))
        seen["state"] = (drive.digest(seen["G"]), drive.digest(seen["ema"]))
        return loss

    worker.WORKER.save, worker.WORKER.train_generator = save_as_best, noting
    return loader


def data_loader(original, *args, **kwargs):
    return original(*args, **{**kwargs, "num_workers": 0, "persistent_workers": False, "pin_memory": False})


def narrow():
    """StyleGANs of 16 channels instead of 512: their widths are written into load_generator_discriminator."""
    from models import stylegan2, stylegan3

    def narrowed(init, self, *args, **kwargs):
        kwargs.update(channel_base=512, channel_max=16)
        init(self, *args, **kwargs)

    for cls in (stylegan2.SynthesisNetwork, stylegan2.Discriminator, stylegan3.SynthesisNetwork):
        cls.__init__ = functools.partialmethod(functools.partial(narrowed, cls.__init__))


def worker_process(local_rank, cfgs, gpus_per_node, run_name, hdf5_path):
    """One of two: a fresh interpreter, which imported this file as __mp_main__."""
    loader = prepare()
    loader.load_worker(local_rank, cfgs, gpus_per_node, run_name, hdf5_path)
    report(f".{local_rank}" if local_rank else "")


def report(suffix=""):
    images = None
    if drive.SAMPLING:
        import numpy as np
        from PIL import Image

        files = sorted(glob.glob("save/samples/*/fake/*/*.png"), key=lambda f: int(os.path.basename(f)[:-4]))
        images = drive.digest([np.asarray(Image.open(file)) for file in files])
    generator, ema = seen.get("state", (None, None))
    if os.environ.get("DRIVE_REPORT"):
        os.environ["DRIVE_REPORT"] += suffix
    drive.write(
        host=root, entry="sample" if drive.SAMPLING else "train", losses=seen["losses"],
        training_calls=seen["training_calls"], generator=generator, ema=ema, images=images, **probe.report(),
    )  # fmt: skip


def main():
    if not drive.SAMPLING:
        config(root)
    sys.argv = ["main.py", *argv]
    import main as host

    cfgs, gpus_per_node, run_name, hdf5_path, rank = host.load_configs_initialize_training()
    if cfgs.RUN.distributed_data_parallel and cfgs.OPTIMIZATION.world_size > 1:
        # Below those that a system gives to anybody who asks for a free port: nobody takes it before the processes do.
        os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(20000 + os.getpid() % 10000))
        sys.argv = [__file__, root, *argv]  # for the processes, which read it again
        torch.multiprocessing.spawn(worker_process, (cfgs, gpus_per_node, run_name, hdf5_path), nprocs=gpus_per_node)
        return
    prepare().load_worker(rank, cfgs, gpus_per_node, run_name, hdf5_path)
    report()


if __name__ == "__main__":
    main()
