"""Three generator steps of MSGAN's DCGAN-Mode-Seeking by its own train.py, or DRIVE_MODE=sample with its own test.py.

    DRIVE_REPORT=report.json python drive_msgan.py ROOT [the host's own flags]

Sampling loads results/drive/00000.pth, if there is no --resume with another.
"""

import importlib
import sys

import drive_common as drive

defaults = ["--dataroot", "data", "--name", "drive"]
if drive.SAMPLING:
    defaults += ["--resume", "results/drive/00000.pth"]
else:
    defaults += ["--batch_size", 4, "--n_ep", 1, "--model_save_freq", 1, "--no_display_img"]
root, argv = drive.start(*defaults)
entry = "test" if drive.SAMPLING else "train"
drive.no_cuda()
drive.stub("tensorboardX")
probe = drive.Probe()
sys.argv = [f"{entry}.py", *argv]

import torch  # noqa: E402
import torchvision  # noqa: E402


def cifar10(*args, train=True, **kwargs):
    """Three batches in place of the images on the disk."""
    source = torch.Generator().manual_seed(1)
    images = torch.rand(drive.STEPS * 4 if train else 2, 3, 32, 32, generator=source) * 2 - 1
    return torch.utils.data.TensorDataset(images, torch.arange(len(images)) % 10)


torchvision.datasets.CIFAR10 = cifar10
sampled, losses, training_calls, seen = [], [], [], {}

import model  # noqa: E402

CDCGAN = model.CDCGAN
update_G, test_forward = CDCGAN.update_G, CDCGAN.test_forward


def noting_update_G(self):
    update_G(self)
    losses.append(self.loss_G.item())
    training_calls.append(len(probe.calls) - sum(training_calls))
    seen["G"] = self.G


def noting_test_forward(self, label):
    images = test_forward(self, label)
    sampled.append(drive.plain(images))
    return images


CDCGAN.update_G, CDCGAN.test_forward = noting_update_G, noting_test_forward
main = importlib.import_module(entry)
if hasattr(main, "cifar10"):
    main.cifar10 = lambda count, seed=0: cifar10(train=seed == 0)  # the stand-in's
main.main()
drive.write(
    host=root, entry=entry, losses=losses, training_calls=training_calls, generator=drive.digest(seen.get("G")),
    ema=None, images=drive.digest(sampled) if sampled else None, **probe.report(),
)  # fmt: skip
