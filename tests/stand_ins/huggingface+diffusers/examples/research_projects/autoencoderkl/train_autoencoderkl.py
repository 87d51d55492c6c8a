"""A stand-in for diffusers' trainer of AutoencoderKL: the same classes, called in the same ways."""

import argparse
import os

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import load_dataset
from diffusers import AutoencoderKL
from diffusers.training_utils import EMAModel
from torch.nn import functional as F
from torchvision.transforms.functional import to_tensor


def main(args):
    accelerator = Accelerator(
        gradient_accumulation_steps=args.gradient_accumulation_steps, mixed_precision=args.mixed_precision
    )
    set_seed(args.seed)
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(args.model_config_name_or_path))
    average = EMAModel(vae.parameters(), model_cls=AutoencoderKL, model_config=vae.config)
    judge = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 4, 2), torch.nn.LeakyReLU(0.2), torch.nn.Conv2d(4, 1, 4))

    def save(models, weights, folder):
        average.save_pretrained(os.path.join(folder, "autoencoderkl_ema"))
        for model in models:
            if isinstance(model, AutoencoderKL):
                model.save_pretrained(os.path.join(folder, "autoencoderkl"))
        weights.clear()

    accelerator.register_save_state_pre_hook(save)
    if args.gradient_checkpointing:
        vae.enable_gradient_checkpointing()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=args.learning_rate)
    judge_optimizer = torch.optim.AdamW(judge.parameters(), lr=args.learning_rate)
    data = load_dataset("imagefolder")["train"].with_transform(
        lambda batch: {"pixel_values": [2 * to_tensor(image) - 1 for image in batch["image"]]}
    )
    loader = torch.utils.data.DataLoader(data, batch_size=args.train_batch_size)
    vae, judge, optimizer, judge_optimizer, loader = accelerator.prepare(vae, judge, optimizer, judge_optimizer, loader)
    steps = at = 0
    while steps < args.max_train_steps:
        for batch in loader:
            images = batch["pixel_values"]
            posterior = accelerator.unwrap_model(vae).encode(images).latent_dist
            made = accelerator.unwrap_model(vae).decode(posterior.sample()).sample
            if (at := at + 1) % 2 or steps < args.disc_start:
                with accelerator.accumulate(vae):
                    loss = F.mse_loss(made.float(), images) + 1e-6 * posterior.kl().mean() - judge(made).mean()
                    last = accelerator.unwrap_model(vae).decoder.conv_out.weight
                    torch.autograd.grad(loss, last, retain_graph=True)
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
            else:
                with accelerator.accumulate(judge):
                    accelerator.backward(F.relu(1 + judge(made)).mean() + F.relu(1 - judge(images)).mean())
                    judge_optimizer.step()
                    judge_optimizer.zero_grad()
            if accelerator.sync_gradients:
                steps += 1
                average.step(vae.parameters())
                if steps % args.checkpointing_steps == 0:
                    accelerator.save_state(os.path.join(args.output_dir, f"checkpoint-{steps}"))
            if steps >= args.max_train_steps:
                break
    vae = accelerator.unwrap_model(vae)
    average.copy_to(vae.parameters())
    vae.save_pretrained(args.output_dir)
    with torch.no_grad():
        AutoencoderKL.from_pretrained(args.output_dir)(images)


def parse_args():
    parser = argparse.ArgumentParser()
    for name in ("model_config_name_or_path", "train_data_dir", "output_dir", "mixed_precision"):
        parser.add_argument(f"--{name}")
    for name in ("resolution", "train_batch_size", "max_train_steps", "seed", "lr_warmup_steps", "checkpointing_steps"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=1)
    parser.add_argument("--disc_start", type=int, default=50001)
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--use_ema", action="store_true")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--validation_image", nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    main(parse_args())
