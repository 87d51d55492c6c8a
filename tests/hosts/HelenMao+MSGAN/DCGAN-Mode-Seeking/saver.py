"""Stand-in written for the tests: names and call structure of HelenMao/MSGAN, none of its text."""

import os

import torchvision


class SummaryWriter:
    """In place of tensorboardX's, which is slow to import."""

    def __init__(self, log_dir):
        self.file = os.path.join(log_dir, "scalars.txt")

    def add_scalar(self, tag, value, step):
        with open(self.file, "a") as f:
            f.write(f"{step} {tag} {float(value)}\n")


def save_imgs(imgs, names, path):
    os.makedirs(path, exist_ok=True)
    for img, name in zip(imgs, names, strict=True):
        torchvision.utils.save_image(img / 2 + 0.5, os.path.join(path, name + ".png"))


class Saver:
    def __init__(self, opts):
        self.display_dir = os.path.join(opts.display_dir, opts.name)
        self.model_dir = os.path.join(opts.result_dir, opts.name)
        self.image_dir = os.path.join(self.model_dir, "images")
        self.display_freq, self.img_save_freq = opts.display_freq, opts.img_save_freq
        self.model_save_freq = opts.model_save_freq
        os.makedirs(self.display_dir, exist_ok=True)
        os.makedirs(self.image_dir, exist_ok=True)
        self.writer = SummaryWriter(log_dir=self.display_dir)

    def write_display(self, total_it, model):
        if (total_it + 1) % self.display_freq == 0:
            # Every attribute of the model with this word in its name is logged as a number.
            members = [m for m in dir(model) if not callable(getattr(model, m)) and m[:2] != "__" and "loss" in m]
            for m in members:
                self.writer.add_scalar(m, getattr(model, m), total_it)

    def write_img(self, ep, model):
        if (ep + 1) % self.img_save_freq == 0:
            file = f"{self.image_dir}/gen_{ep:05d}.jpg"
            torchvision.utils.save_image(model.assemble_outputs() / 2 + 0.5, file, nrow=8)

    def write_model(self, ep, total_it, model):
        if (ep + 1) % self.model_save_freq == 0:
            model.save(f"{self.model_dir}/{ep:05d}.pth", ep, total_it)
        elif ep == -1:
            model.save(f"{self.model_dir}/last.pth", ep, total_it)
