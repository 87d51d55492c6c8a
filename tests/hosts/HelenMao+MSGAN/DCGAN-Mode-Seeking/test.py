"""Stand-in written for the tests: names and call structure of HelenMao/MSGAN, none of its text."""

import os

import torch
from model import CDCGAN
from options import TestOptions
from saver import save_imgs
from train import cifar10

label_names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def main():
    parser = TestOptions()
    opts = parser.parse()
    loader = torch.utils.data.DataLoader(cifar10(6, seed=1), batch_size=1, num_workers=0)
    model = CDCGAN(opts)
    model.eval()
    model.setgpu(opts.gpu)
    model.resume(opts.resume, train=False)
    result_dir = os.path.join(opts.result_dir, opts.name)
    os.makedirs(result_dir, exist_ok=True)
    for idx1, (_, label) in enumerate(loader):
        imgs, names = [], []
        for idx2 in range(opts.num):
            with torch.no_grad():
                imgs.append(model.test_forward(label))
            names.append(f"img_{idx1}_{idx2}")
        save_imgs(imgs, names, os.path.join(result_dir, label_names[label[0]]))


if __name__ == "__main__":
    main()
