"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import copy
import os
import pickle

import dnnlib
import legacy
import numpy as np
import PIL.Image
import torch
from torch_utils import misc, training_stats


def setup_snapshot_image_grid(training_set, random_seed=0):
    images, labels = zip(*[training_set[i] for i in range(8)], strict=True)
    return (4, 2), np.stack(images), np.stack(labels)


def save_image_grid(img, fname, drange, grid_size):
    lo, hi = drange
    img = np.rint((np.asarray(img, dtype=np.float32) - lo) * (255 / (hi - lo))).clip(0, 255).astype(np.uint8)
    (gw, gh), (_, C, H, W) = grid_size, img.shape
    img = img.reshape(gh, gw, C, H, W).transpose(0, 3, 1, 4, 2).reshape(gh * H, gw * W, C)
    PIL.Image.fromarray(img).save(fname)


def training_loop(
    run_dir=".", training_set_kwargs={}, data_loader_kwargs={}, G_kwargs={}, D_kwargs={}, G_opt_kwargs={},  # noqa: B006
    D_opt_kwargs={}, augment_kwargs=None, loss_kwargs={}, metrics=[], random_seed=0, num_gpus=1, rank=0,  # noqa: B006
    batch_size=4, batch_gpu=4, ema_kimg=10, ema_rampup=None, G_reg_interval=4, D_reg_interval=16, augment_p=0,
    ada_target=None, ada_interval=4, ada_kimg=500, total_kimg=25000, kimg_per_tick=4, image_snapshot_ticks=50,
    network_snapshot_ticks=50, resume_pkl=None, cudnn_benchmark=True, allow_tf32=False, abort_fn=None,
    progress_fn=None,
):  # fmt: skip
    device = torch.device("cpu")
    np.random.seed(random_seed * num_gpus + rank)
    torch.manual_seed(random_seed * num_gpus + rank)
    construct = dnnlib.util.construct_class_by_name
    training_set = construct(**training_set_kwargs)
    sampler = misc.InfiniteSampler(dataset=training_set, rank=rank, num_replicas=num_gpus, seed=random_seed)
    loader = torch.utils.data.DataLoader(dataset=training_set, sampler=sampler, batch_size=batch_size // num_gpus)
    training_set_iterator = iter(loader)

    common_kwargs = {
        "c_dim": training_set.label_dim, "img_resolution": training_set.resolution,
        "img_channels": training_set.num_channels,
    }  # fmt: skip
    G = construct(**G_kwargs, **common_kwargs).train().requires_grad_(False).to(device)
    D = construct(**D_kwargs, **common_kwargs).train().requires_grad_(False).to(device)
    G_ema = copy.deepcopy(G).eval()
    if (resume_pkl is not None) and (rank == 0):
        with dnnlib.util.open_url(resume_pkl) as f:
            resume_data = legacy.load_network_pkl(f)
        for name, module in [("G", G), ("D", D), ("G_ema", G_ema)]:
            misc.copy_params_and_buffers(resume_data[name], module, require_all=False)
    if rank == 0:
        z, c = torch.empty([batch_gpu, G.z_dim], device=device), torch.empty([batch_gpu, G.c_dim], device=device)
        img = misc.print_module_summary(G, [z, c])
        misc.print_module_summary(D, [img, c])

    ddp_modules = {}
    for name, module in [
        ("G_mapping", G.mapping),
        ("G_synthesis", G.synthesis),
        ("D", D),
        (None, G_ema),
        ("augment_pipe", None),
    ]:
        if (num_gpus > 1) and (module is not None) and len(list(module.parameters())) != 0:
            module.requires_grad_(True)
            module = torch.nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)
            module.requires_grad_(False)
        if name is not None:
            ddp_modules[name] = module
    loss = construct(device=device, **ddp_modules, **loss_kwargs)
    phases = []
    for name, module, opt_kwargs, reg_interval in [
        ("G", G, G_opt_kwargs, G_reg_interval),
        ("D", D, D_opt_kwargs, D_reg_interval),
    ]:
        if reg_interval is None:
            opt = construct(params=module.parameters(), **opt_kwargs)
            phases += [dnnlib.EasyDict(name=name + "both", module=module, opt=opt, interval=1)]
        else:
            mb_ratio = reg_interval / (reg_interval + 1)
            opt_kwargs = dnnlib.EasyDict(opt_kwargs)
            opt_kwargs.lr = opt_kwargs.lr * mb_ratio
            opt_kwargs.betas = [beta**mb_ratio for beta in opt_kwargs.betas]
            opt = construct(module.parameters(), **opt_kwargs)
            phases += [dnnlib.EasyDict(name=name + "main", module=module, opt=opt, interval=1)]
            phases += [dnnlib.EasyDict(name=name + "reg", module=module, opt=opt, interval=reg_interval)]

    if rank == 0:
        grid_size, images, labels = setup_snapshot_image_grid(training_set=training_set)
        save_image_grid(images, os.path.join(run_dir, "reals.png"), drange=[0, 255], grid_size=grid_size)
        grid_z = torch.randn([labels.shape[0], G.z_dim], device=device).split(batch_gpu)
        grid_c = torch.from_numpy(labels).to(device).split(batch_gpu)

    def snapshot(name):
        images = torch.cat([G_ema(z=z, c=c, noise_mode="const") for z, c in zip(grid_z, grid_c, strict=True)]).numpy()
        save_image_grid(images, os.path.join(run_dir, name), drange=[-1, 1], grid_size=grid_size)

    if rank == 0:
        snapshot("fakes_init.png")
    cur_nimg = batch_idx = 0
    done = False
    while not done:
        real_img, real_c = next(training_set_iterator)
        real_img = (real_img.to(device).to(torch.float32) / 127.5 - 1).split(batch_gpu)
        real_c = real_c.to(device).split(batch_gpu)
        for phase in phases:
            gen_z = torch.randn([batch_size, G.z_dim], device=device).split(batch_gpu)
            gen_c = [training_set.get_label(np.random.randint(len(training_set))) for _ in range(batch_size)]
            gen_c = torch.from_numpy(np.stack(gen_c)).to(device).split(batch_gpu)
            if batch_idx % phase.interval != 0:
                continue
            phase.opt.zero_grad(set_to_none=True)
            phase.module.requires_grad_(True)
            for round_idx, batch in enumerate(zip(real_img, real_c, gen_z, gen_c, strict=False)):
                sync = round_idx == batch_size // (batch_gpu * num_gpus) - 1
                names = ("real_img", "real_c", "gen_z", "gen_c")
                batch = dict(zip(names, batch, strict=True))
                loss.accumulate_gradients(phase=phase.name, sync=sync, gain=phase.interval, **batch)
            phase.module.requires_grad_(False)
            for param in phase.module.parameters():
                if param.grad is not None:
                    torch.nan_to_num(param.grad, nan=0, posinf=1e5, neginf=-1e5, out=param.grad)
            phase.opt.step()

        # Without no_grad: nothing of the generator needs gradients between its phases.
        ema_nimg = ema_kimg * 1000 if ema_rampup is None else min(ema_kimg * 1000, cur_nimg * ema_rampup)
        ema_beta = 0.5 ** (batch_size / max(ema_nimg, 1e-8))
        for p_ema, p in zip(G_ema.parameters(), G.parameters()):  # noqa: B905
            p_ema.copy_(p.lerp(p_ema, ema_beta))
        for b_ema, b in zip(G_ema.buffers(), G.buffers()):  # noqa: B905
            b_ema.copy_(b)
        cur_nimg += batch_size
        batch_idx += 1
        done = cur_nimg >= total_kimg * 1000

    if rank == 0:
        print(f"kimg {cur_nimg / 1e3:.3f} loss {training_stats.latest['Loss/G/loss']:.4f}")
        snapshot(f"fakes{cur_nimg // 1000:06d}.png")
        snapshot_data = {"training_set_kwargs": dict(training_set_kwargs), "augment_pipe": None}
        for name, module in [("G", G), ("D", D), ("G_ema", G_ema)]:
            snapshot_data[name] = copy.deepcopy(module).eval().requires_grad_(False).cpu()
        with open(os.path.join(run_dir, f"network-snapshot-{cur_nimg // 1000:06d}.pkl"), "wb") as f:
            pickle.dump(snapshot_data, f)
