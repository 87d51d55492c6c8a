"""Stand-in written for the tests: names and call structure of HelenMao/MSGAN, none of its text."""

import torch
from model import CDCGAN
from options import TrainOptions
from saver import Saver


def cifar10(count, seed=0):
    """In place of the images on the disk."""
    source = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 32, 32, generator=source) * 2 - 1
    return torch.utils.data.TensorDataset(images, torch.randint(10, (count,), generator=source))


def main():
    parser = TrainOptions()
    opts = parser.parse()
    train_loader = torch.utils.data.DataLoader(
        cifar10(3 * opts.batch_size), batch_size=opts.batch_size, shuffle=True, num_workers=opts.nThreads
    )
    model = CDCGAN(opts)
    model.setgpu(opts.gpu)
    if opts.resume is None:
        model.initialize()
        ep0, total_it = -1, 0
    else:
        ep0, total_it = model.resume(opts.resume)
    ep0 += 1
    saver = Saver(opts)
    for ep in range(ep0, opts.n_ep):
        for it, (images, label) in enumerate(train_loader):
            if images.size(0) != opts.batch_size:
                continue
            model.update_D(images.detach(), label)
            model.update_G()
            if not opts.no_display_img:
                saver.write_display(total_it, model)
            print(f"total_it: {total_it} (ep {ep}, it {it}), lr {model.gen_opt.param_groups[0]['lr']:08f}")
            total_it += 1
        saver.write_img(ep, model)
        saver.write_model(ep, total_it, model)


if __name__ == "__main__":
    main()
