"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import json
import os
from os.path import join

import torch.distributed as dist
from data_util import Dataset_
from models import model
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler
from utils import ckpt, log, misc
from worker import WORKER


def load_worker(local_rank, cfgs, gpus_per_node, run_name, hdf5_path):
    step, epoch, topk, best_step, best_fid, best_ckpt_path, lecam_emas, is_best = (
        0, 0, cfgs.OPTIMIZATION.batch_size, 0, None, None, None, False,
    )  # fmt: skip
    aa_p = cfgs.AUG.ada_initial_augment_p
    if "none" in cfgs.RUN.eval_metrics:
        cfgs.RUN.eval_metrics = []
    if cfgs.RUN.distributed_data_parallel:
        global_rank = cfgs.RUN.current_node * gpus_per_node + local_rank
        misc.setup(global_rank, cfgs.OPTIMIZATION.world_size, cfgs.RUN.backend)
    else:
        global_rank = local_rank
    misc.fix_seed(cfgs.RUN.seed + global_rank)

    logger = None
    if local_rank == 0:
        logger = log.make_logger(cfgs.RUN.save_dir, run_name, None)
        logger.info(f"Run name : {run_name}")
        for k, v in cfgs.super_cfgs.items():
            logger.info("cfgs." + k + " =")
            logger.info(json.dumps(vars(v), indent=2))

    def dataset(train):
        return Dataset_(
            data_name=cfgs.DATA.name, data_dir=cfgs.RUN.data_dir, train=train,
            crop_long_edge=cfgs.PRE.crop_long_edge, resize_size=cfgs.PRE.resize_size, hdf5_path=hdf5_path,
        )  # fmt: skip

    train_dataset = dataset(True) if cfgs.RUN.train else None
    eval_dataset = dataset(cfgs.RUN.ref_dataset == "train") if len(cfgs.RUN.eval_metrics) else None
    train_sampler = None
    if cfgs.RUN.distributed_data_parallel:
        cfgs.OPTIMIZATION.batch_size = cfgs.OPTIMIZATION.batch_size // cfgs.OPTIMIZATION.world_size
        topk = cfgs.OPTIMIZATION.batch_size
        if cfgs.RUN.train:
            train_sampler = DistributedSampler(
                train_dataset, num_replicas=cfgs.OPTIMIZATION.world_size, rank=local_rank, shuffle=True, drop_last=True
            )
    cfgs.OPTIMIZATION.basket_size = (
        cfgs.OPTIMIZATION.batch_size * cfgs.OPTIMIZATION.acml_steps * cfgs.OPTIMIZATION.d_updates_per_step
    )
    train_dataloader = eval_dataloader = None
    if cfgs.RUN.train:
        # The real one has workers that persist, and so needs --num_workers of at least 1.
        train_dataloader = DataLoader(
            dataset=train_dataset, batch_size=cfgs.OPTIMIZATION.basket_size, shuffle=train_sampler is None,
            sampler=train_sampler, drop_last=True,
        )  # fmt: skip
    if eval_dataset is not None:
        eval_dataloader = DataLoader(dataset=eval_dataset, batch_size=cfgs.OPTIMIZATION.batch_size, shuffle=False)

    Gen, Gen_mapping, Gen_synthesis, Dis, Gen_ema, Gen_ema_mapping, Gen_ema_synthesis, ema = (
        model.load_generator_discriminator(
            DATA=cfgs.DATA, OPTIMIZATION=cfgs.OPTIMIZATION, MODEL=cfgs.MODEL, STYLEGAN=cfgs.STYLEGAN,
            MODULES=cfgs.MODULES, RUN=cfgs.RUN, device=local_rank, logger=logger,
        )
    )  # fmt: skip
    cfgs.define_optimizer(Gen, Dis)
    if cfgs.RUN.ckpt_dir is not None:
        if local_rank == 0:
            os.remove(join(cfgs.RUN.save_dir, "logs", run_name + ".log"))
        run_name, step, epoch, topk, aa_p, best_step, best_fid, best_ckpt_path, lecam_emas, logger = (
            ckpt.load_StudioGAN_ckpts(
                ckpt_dir=cfgs.RUN.ckpt_dir, load_best=cfgs.RUN.load_best, Gen=Gen, Dis=Dis,
                g_optimizer=cfgs.OPTIMIZATION.g_optimizer, d_optimizer=cfgs.OPTIMIZATION.d_optimizer,
                run_name=run_name, apply_g_ema=cfgs.MODEL.apply_g_ema, Gen_ema=Gen_ema, ema=ema,
                is_train=cfgs.RUN.train, RUN=cfgs.RUN, logger=logger, global_rank=global_rank, device=local_rank,
                cfg_file=cfgs.RUN.cfg_file,
            )
        )  # fmt: skip
        if cfgs.MODEL.backbone in ["stylegan2", "stylegan3"]:
            ema.ema_rampup = "N/A"
    elif local_rank == 0:
        cfgs.RUN.ckpt_dir = ckpt.make_ckpt_dir(join(cfgs.RUN.save_dir, "checkpoints", run_name))

    if cfgs.OPTIMIZATION.world_size > 1:
        Gen, Gen_mapping, Gen_synthesis, Dis, Gen_ema, Gen_ema_mapping, Gen_ema_synthesis = (
            model.prepare_parallel_training(
                Gen=Gen, Gen_mapping=Gen_mapping, Gen_synthesis=Gen_synthesis, Dis=Dis, Gen_ema=Gen_ema,
                Gen_ema_mapping=Gen_ema_mapping, Gen_ema_synthesis=Gen_ema_synthesis, MODEL=cfgs.MODEL,
                world_size=cfgs.OPTIMIZATION.world_size,
                distributed_data_parallel=cfgs.RUN.distributed_data_parallel,
                synchronized_bn=cfgs.RUN.synchronized_bn, apply_g_ema=cfgs.MODEL.apply_g_ema, device=local_rank,
            )
        )  # fmt: skip
    worker = WORKER(
        cfgs=cfgs, run_name=run_name, Gen=Gen, Gen_mapping=Gen_mapping, Gen_synthesis=Gen_synthesis, Dis=Dis,
        Gen_ema=Gen_ema, Gen_ema_mapping=Gen_ema_mapping, Gen_ema_synthesis=Gen_ema_synthesis, ema=ema,
        eval_model=None, train_dataloader=train_dataloader, eval_dataloader=eval_dataloader, global_rank=global_rank,
        local_rank=local_rank, mu=None, sigma=None, real_feats=None, logger=logger, aa_p=aa_p, best_step=best_step,
        best_fid=best_fid, best_ckpt_path=best_ckpt_path, lecam_emas=lecam_emas,
        num_eval={"train": 16, "test": 16}, loss_list_dict={}, metric_dict_during_train={},
    )  # fmt: skip

    if cfgs.RUN.train:
        worker.training, worker.topk = True, topk
        worker.prepare_train_iter(epoch_counter=epoch)
        while step <= cfgs.OPTIMIZATION.total_steps:
            if cfgs.OPTIMIZATION.d_first:
                real_cond_loss, dis_acml_loss = worker.train_discriminator(current_step=step)
                gen_acml_loss = worker.train_generator(current_step=step)
            else:
                gen_acml_loss = worker.train_generator(current_step=step)
                real_cond_loss, dis_acml_loss = worker.train_discriminator(current_step=step)
            if global_rank == 0 and (step + 1) % cfgs.RUN.print_freq == 0:
                worker.log_train_statistics(
                    current_step=step, real_cond_loss=real_cond_loss, gen_acml_loss=gen_acml_loss,
                    dis_acml_loss=dis_acml_loss,
                )  # fmt: skip
            step += 1
            if step % cfgs.RUN.save_freq == 0:
                if global_rank == 0:
                    worker.visualize_fake_images(num_cols=8, current_step=step)
                if len(cfgs.RUN.eval_metrics):
                    is_best = worker.evaluate(step=step, metrics=cfgs.RUN.eval_metrics, writing=True, training=True)
                if global_rank == 0:
                    worker.save(step=step, is_best=is_best)
                if cfgs.RUN.distributed_data_parallel:
                    dist.barrier(worker.group)
        if global_rank == 0:
            logger.info("End of training!")

    worker.training, worker.epoch_counter = False, epoch
    worker.gen_ctlr.standing_statistics = cfgs.RUN.standing_statistics
    worker.gen_ctlr.standing_max_batch = cfgs.RUN.standing_max_batch
    worker.gen_ctlr.standing_step = cfgs.RUN.standing_step
    if global_rank == 0:
        # An IndexError where no checkpoint was ever the best one, as in every run with `-metrics none`.
        best_step = ckpt.load_best_model(
            ckpt_dir=cfgs.RUN.ckpt_dir, Gen=Gen, Dis=Dis, apply_g_ema=cfgs.MODEL.apply_g_ema, Gen_ema=Gen_ema, ema=ema
        )
    if len(cfgs.RUN.eval_metrics):
        worker.evaluate(step=best_step, metrics=cfgs.RUN.eval_metrics, writing=False, training=False)
    if cfgs.RUN.save_fake_images:
        worker.save_fake_images(num_images=cfgs.RUN.save_fake_images_num)
    if cfgs.RUN.vis_fake_images:
        worker.visualize_fake_images(num_cols=8, current_step=best_step)
