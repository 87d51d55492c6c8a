"""A stand-in for diffusers' trainer of VQModel: the same classes, called in the same ways."""

import argparse
import os

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import load_dataset
from diffusers import VQModel
from diffusers.training_utils import EMAModel
from torch.nn import functional as F
from torchvision.transforms.functional import to_tensor


def main():
    args = parse_args()
    accelerator = Accelerator()
    set_seed(args.seed)
    model = VQModel.from_config(VQModel.load_config(args.model_config_name_or_path))
    average = EMAModel(model.parameters(), model_cls=VQModel, model_config=model.config)

    def save(models, weights, folder):
        average.save_pretrained(os.path.join(folder, "vqmodel_ema"))
        models[0].save_pretrained(os.path.join(folder, "vqmodel"))
        weights.clear()

    def load(models, folder):
        loaded = EMAModel.from_pretrained(os.path.join(folder, "vqmodel_ema"), VQModel)
        average.load_state_dict(loaded.state_dict())
        model = models.pop()
        loaded = VQModel.from_pretrained(folder, subfolder="vqmodel")
        model.register_to_config(**loaded.config)
        model.load_state_dict(loaded.state_dict())

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)
    optimizer = torch.optim.AdamW(list(model.parameters()), lr=args.learning_rate)
    data = load_dataset("imagefolder")["train"].with_transform(
        lambda batch: {"pixel_values": [to_tensor(image) for image in batch["image"]]}
    )
    loader = torch.utils.data.DataLoader(data, batch_size=args.train_batch_size)
    model, optimizer = accelerator.prepare(model, optimizer)
    step = 0
    if args.resume_from_checkpoint:
        accelerator.load_state(args.resume_from_checkpoint)
        step = int(os.path.basename(args.resume_from_checkpoint).split("-")[1])
    for batch in loader:
        if step >= args.max_train_steps:
            break
        optimizer.zero_grad()
        made, commitment = model(batch["pixel_values"], return_dict=False)
        with accelerator.accumulate(model):
            accelerator.backward(F.mse_loss(made, batch["pixel_values"]) + commitment)
            optimizer.step()
        step += 1
        average.step(model.parameters())
        if step % args.checkpointing_steps == 0:
            accelerator.save_state(os.path.join(args.output_dir, f"checkpoint-{step}"))
    model = accelerator.unwrap_model(model)
    average.copy_to(model.parameters())
    model.save_pretrained(os.path.join(args.output_dir, "vqmodel"))


def parse_args():
    parser = argparse.ArgumentParser()
    for name in ("model_config_name_or_path", "train_data_dir", "output_dir", "resume_from_checkpoint"):
        parser.add_argument(f"--{name}")
    for name in ("resolution", "train_batch_size", "max_train_steps", "seed", "lr_warmup_steps", "checkpointing_steps"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--use_ema", action="store_true")
    parser.add_argument("--discriminator_config_name_or_path")
    parser.add_argument("--timm_model_layers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
