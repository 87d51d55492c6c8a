"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import json
import os

from data_util import Dataset_
from models import model
from torch import distributed
from torch.utils.data import DataLoader, DistributedSampler
from utils import ckpt, misc
from worker import WORKER


def load_worker(local_rank, cfgs, gpus_per_node, run_name, hdf5_path):
    run, steps = cfgs.RUN, cfgs.OPTIMIZATION
    first = local_rank == 0
    metrics = [metric for metric in run.eval_metrics if metric != "none"]
    misc.fix_seed(run.seed + local_rank)
    if first:
        for title, section in cfgs.super_cfgs.items():
            print(title, json.dumps(vars(section)))
    if run.distributed_data_parallel:
        distributed.init_process_group(run.backend, world_size=gpus_per_node, rank=local_rank)
        steps.batch_size //= gpus_per_node
    batches = load_data(cfgs, gpus_per_node, local_rank) if run.train else None

    sections = {key: getattr(cfgs, key) for key in ("DATA", "OPTIMIZATION", "MODEL", "STYLEGAN", "MODULES", "RUN")}
    *networks, ema = model.load_generator_discriminator(**sections, device=local_rank, logger=None)
    players = dict(zip(model.PLAYERS, networks, strict=True))
    Gen, Dis, Gen_ema = trained = [players[key] for key in ("Gen", "Dis", "Gen_ema")]
    cfgs.define_optimizer(Gen, Dis)
    state = {"run_name": run_name, "step": 0, "best_step": 0, "best_fid": None}
    if run.ckpt_dir:
        state = ckpt.load_StudioGAN_ckpts(run.ckpt_dir, *trained, steps if run.train else None)
    elif first:
        run.ckpt_dir = os.path.join(run.save_dir, "checkpoints", run_name)
        os.makedirs(run.ckpt_dir)
    if steps.world_size > 1:
        players = model.prepare_parallel_training(**players, distributed_data_parallel=run.distributed_data_parallel)
    worker = WORKER(cfgs=cfgs, players=players, ema=ema, batches=batches, global_rank=local_rank, state=state)

    if run.train:
        turns = [worker.train_discriminator, worker.train_generator]
        for step in range(state["step"], steps.total_steps + 1):
            values = [turn(current_step=step).item() for turn in (turns if steps.d_first else turns[::-1])]
            if first and (step + 1) % run.print_freq == 0:
                print(f"step {step + 1}: {values}")
            if first and (step + 1) % run.save_freq == 0:
                worker.save(step=step + 1, is_best=worker.evaluate(step=step + 1, metrics=metrics))
        if run.distributed_data_parallel:
            distributed.barrier()
    if first:
        # Which fails where no checkpoint was ever the best, as in a run with `-metrics none`.
        best = ckpt.load_best_model(run.ckpt_dir, Gen, Dis, Gen_ema)
        worker.evaluate(step=best, metrics=metrics)
        if run.save_fake_images:
            worker.save_fake_images(num_images=run.save_fake_images_num)


def load_data(cfgs, shares, rank):
    """Batches of real images and labels without end."""
    images = Dataset_(data_name=cfgs.DATA.name, data_dir=cfgs.RUN.data_dir, train=True)
    spread = DistributedSampler(images, shares, rank) if cfgs.RUN.distributed_data_parallel else None
    # The real one's processes persist, which wants a --num_workers of 1 or more.
    loading = {"num_workers": cfgs.RUN.num_workers, "persistent_workers": True, "drop_last": True}
    return misc.endless(DataLoader(images, cfgs.OPTIMIZATION.batch_size, spread is None, spread, **loading))
