"""Some steps of one of diffusers' trainers of autoencoders by its own script, tiny, on its own installed classes.

    DRIVE_REPORT=report.json python drive_diffusers.py ROOT kl|vqgan [the script's own flags]
"""

import json
import os
import runpy
import sys
import types

import drive_common as drive
import torch
from torch import nn

SIZE, STEPS = 32, 4
SCRIPTS = {
    "kl": ("examples/research_projects/autoencoderkl", "train_autoencoderkl.py"),
    "vqgan": ("examples/vqgan", "train_vqgan.py"),
}
which = sys.argv.pop(2)
root, argv = drive.start(
    "--model_config_name_or_path", "model.json", "--train_data_dir", "data", "--output_dir", "out", "--resolution", SIZE,
    "--train_batch_size", 2, "--max_train_steps", STEPS, "--seed", 0, "--lr_warmup_steps", 0, "--learning_rate", "1e-3", "--checkpointing_steps", 2, "--use_ema",
)  # fmt: skip
folder, script = SCRIPTS[which]
sys.path[0] = os.path.join(root, folder)
sys.argv = [os.path.join(root, folder, script), *argv]


class Images:
    """What datasets.load_dataset returns, as far as the scripts use it."""

    column_names = ("image",)

    def __init__(self, transform=None):
        self.transform = transform

    def with_transform(self, transform):
        return Images(transform)

    def __len__(self):
        return 2 * STEPS

    def __getitem__(self, at):
        from PIL import Image

        shades = torch.randint(256, (SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(at))
        found = self.transform({"image": [Image.fromarray(shades.numpy())]})
        return {key: value[0] for key, value in found.items()}


class Distance(nn.Module):
    """In place of perceptual distances, whose weights would be downloaded."""

    def __init__(self, **how):
        super().__init__()

    def forward(self, one, other):
        return (one - other).abs().mean(dim=(1, 2, 3), keepdim=True)


class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Conv2d(3, 4, 3)
        self.pretrained_cfg = {"input_size": (3, SIZE, SIZE), "crop_pct": 1.0}

    def forward(self, image):
        return [self.block(image)]


for name in ("transformers", "wandb", "tensorboard", "tensorboardX"):
    sys.modules[name] = None  # slow to import, and looked for only
import diffusers.training_utils  # noqa: E402, F401  (looks for what is installed)

drive.module("datasets", load_dataset=lambda *args, **how: {"train": Images()})
drive.module("lpips", LPIPS=Distance)
quiet = types.SimpleNamespace(logging=types.SimpleNamespace(set_verbosity_warning=lambda: None, set_verbosity_error=lambda: None))
drive.module("transformers", utils=quiet)
if which == "vqgan":
    from torchvision import transforms

    crop = transforms.Compose([transforms.Resize(SIZE), transforms.CenterCrop((SIZE, SIZE)), transforms.Normalize([0.5], [0.5])])
    made = types.SimpleNamespace(create_transform=lambda **how: crop)
    drive.module("timm", create_model=lambda *args, **how: Features(), data=drive.module("timm.data", resolve_data_config=lambda *a, **k: {}))
    drive.module("timm.data.transforms_factory", **vars(made))

small = {"block_out_channels": [8, 8], "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
config = {"latent_channels": 4, "norm_num_groups": 4, "sample_size": SIZE, **small}
with open("model.json", "w") as f:
    json.dump({**config, **({"num_vq_embeddings": 8, "vq_embed_dim": 4} if which == "vqgan" else {})}, f)
if which == "kl":
    from PIL import Image

    Image.new("RGB", (SIZE, SIZE)).save("validation.png")
    sys.argv += ["--validation_image", "validation.png"]
else:
    with open("discriminator.json", "w") as f:
        json.dump({"hidden_channels": 8, "depth": 4}, f)
    sys.argv += ["--discriminator_config_name_or_path", "discriminator.json", "--timm_model_layers", "block"]

probe = drive.Probe(SIZE)
runpy.run_path(sys.argv[0], run_name="__main__")
from safetensors.torch import load_file  # noqa: E402

saved = {
    os.path.relpath(at, "out"): [key for key in load_file(os.path.join(at, name)) if "sparse_plugin" in key]
    for at, _, names in os.walk("out") for name in names if name.endswith(".safetensors")
}  # fmt: skip
drive.write(host=root, saved=saved, **probe.report())
