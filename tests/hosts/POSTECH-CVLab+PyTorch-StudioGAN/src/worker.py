"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

from os.path import join

import torch
import torch.distributed as dist
from metrics import fid
from utils import losses, misc, ops, sample

LOG_FORMAT = "Step: {step:>6} Progress: {progress:<.1%} Gen_loss: {gen_loss:<.4} Dis_loss: {dis_loss:<.4}"


class WORKER:
    def __init__(
        self, cfgs, run_name, Gen, Gen_mapping, Gen_synthesis, Dis, Gen_ema, Gen_ema_mapping, Gen_ema_synthesis, ema,
        eval_model, train_dataloader, eval_dataloader, global_rank, local_rank, mu, sigma, real_feats, logger, aa_p,
        best_step, best_fid, best_ckpt_path, lecam_emas, num_eval, loss_list_dict, metric_dict_during_train,
    ):  # fmt: skip
        self.cfgs, self.run_name, self.logger = cfgs, run_name, logger
        self.Gen, self.Gen_mapping, self.Gen_synthesis, self.Dis = Gen, Gen_mapping, Gen_synthesis, Dis
        self.Gen_ema, self.Gen_ema_mapping = Gen_ema, Gen_ema_mapping
        self.Gen_ema_synthesis, self.ema = Gen_ema_synthesis, ema
        self.train_dataloader, self.eval_dataloader = train_dataloader, eval_dataloader
        self.global_rank, self.local_rank = global_rank, local_rank
        self.aa_p, self.best_step, self.best_fid, self.num_eval = aa_p, best_step, best_fid, num_eval
        self.cfgs.define_augments(local_rank)
        self.cfgs.define_losses()
        self.DATA, self.MODEL, self.LOSS, self.STYLEGAN = cfgs.DATA, cfgs.MODEL, cfgs.LOSS, cfgs.STYLEGAN
        self.OPTIMIZATION, self.AUG, self.RUN, self.MISC = cfgs.OPTIMIZATION, cfgs.AUG, cfgs.RUN, cfgs.MISC
        self.is_stylegan = cfgs.MODEL.backbone in ["stylegan2", "stylegan3"]
        self.DDP = self.RUN.distributed_data_parallel
        self.pl_reg = losses.PathLengthRegularizer(device=local_rank, pl_weight=cfgs.STYLEGAN.pl_weight)
        self.fm_loss = losses.feature_matching_loss
        self.l2_loss = torch.nn.MSELoss()
        self.lecam_ema = ops.LeCamEMA()
        if self.LOSS.adv_loss == "MH":
            self.lossy = torch.full((self.OPTIMIZATION.batch_size,), self.DATA.num_classes)
        self.gen_ctlr = misc.GeneratorController(
            generator=self.Gen_ema if self.MODEL.apply_g_ema else self.Gen, generator_mapping=self.Gen_ema_mapping,
            generator_synthesis=self.Gen_ema_synthesis, batch_statistics=self.RUN.batch_statistics,
            standing_statistics=False, standing_max_batch="N/A", standing_step="N/A", cfgs=self.cfgs,
            device=self.local_rank, global_rank=self.global_rank, logger=self.logger, std_stat_counter=0,
        )  # fmt: skip
        if self.DDP:
            self.group = dist.new_group(list(range(self.OPTIMIZATION.world_size)))
        if self.RUN.mixed_precision and not self.is_stylegan:
            self.scaler = torch.amp.GradScaler("cpu")

    def prepare_train_iter(self, epoch_counter):
        self.epoch_counter = epoch_counter
        if self.DDP:
            self.train_dataloader.sampler.set_epoch(self.epoch_counter)
        self.train_iter = iter(self.train_dataloader)

    def sample_data_basket(self):
        try:
            images, labels = next(self.train_iter)
        except StopIteration:
            self.prepare_train_iter(self.epoch_counter + 1)
            images, labels = next(self.train_iter)
        return torch.split(images, self.OPTIMIZATION.batch_size), torch.split(labels, self.OPTIMIZATION.batch_size)

    def autocast(self):
        on = self.RUN.mixed_precision and not self.is_stylegan
        return torch.autocast("cpu") if on else misc.dummy_context_mgr()

    def backward_and_step(self, loss, optimizer=None):
        scaled = self.RUN.mixed_precision and not self.is_stylegan
        if optimizer is None:
            (self.scaler.scale(loss) if scaled else loss).backward()
        elif scaled:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step()

    def fake_images(self, batch_size, update_emas):
        return sample.generate_images(
            z_prior=self.MODEL.z_prior, truncation_factor=-1.0, batch_size=batch_size, z_dim=self.MODEL.z_dim,
            num_classes=self.DATA.num_classes, y_sampler="totally_random", radius=self.LOSS.radius,
            generator=self.Gen, discriminator=self.Dis, is_train=True, LOSS=self.LOSS, RUN=self.RUN, MODEL=self.MODEL,
            device=self.local_rank, generator_mapping=self.Gen_mapping, generator_synthesis=self.Gen_synthesis,
            is_stylegan=self.is_stylegan, style_mixing_p=self.cfgs.STYLEGAN.style_mixing_p,
            stylegan_update_emas=update_emas, cal_trsp_cost=bool(self.LOSS.apply_lo),
        )  # fmt: skip

    def train_discriminator(self, current_step):
        misc.make_GAN_trainable(self.Gen, self.Gen_ema, self.Dis)
        misc.toggle_grad(model=self.Gen, grad=False, num_freeze_layers=-1, is_stylegan=self.is_stylegan)
        misc.toggle_grad(model=self.Dis, grad=True, num_freeze_layers=self.RUN.freezeD, is_stylegan=self.is_stylegan)
        self.Gen.apply(misc.untrack_bn_statistics)
        real_image_basket, real_label_basket = self.sample_data_basket()
        batch_counter = 0
        for step_index in range(self.OPTIMIZATION.d_updates_per_step):
            self.OPTIMIZATION.d_optimizer.zero_grad()
            for _ in range(self.OPTIMIZATION.acml_steps):
                with self.autocast():
                    real_images, real_labels = real_image_basket[batch_counter], real_label_basket[batch_counter]
                    fake_images, fake_labels, fake_images_eps, *_ = self.fake_images(self.OPTIMIZATION.batch_size, True)
                    real_dict = self.Dis(self.AUG.series_augment(real_images), real_labels)
                    # Not detached: the generator's parameters are frozen.
                    fake_dict = self.Dis(self.AUG.series_augment(fake_images), fake_labels, adc_fake=False)
                    if self.LOSS.adv_loss == "MH":
                        dis_acml_loss = self.LOSS.d_loss(DDP=self.DDP, **real_dict)
                        dis_acml_loss += self.LOSS.d_loss(fake_dict["adv_output"], self.lossy, DDP=self.DDP)
                    else:
                        dis_acml_loss = self.LOSS.d_loss(real_dict["adv_output"], fake_dict["adv_output"], DDP=self.DDP)
                    if self.LOSS.apply_zcr:
                        fake_eps_dict = self.Dis(fake_images_eps, fake_labels, adc_fake=False)
                        zcr_loss = self.l2_loss(fake_dict["adv_output"], fake_eps_dict["adv_output"])
                        dis_acml_loss += self.LOSS.d_lambda * zcr_loss
                    if self.LOSS.apply_gp:
                        gp_loss = losses.cal_grad_penalty(
                            real_images=real_images, real_labels=real_labels, fake_images=fake_images,
                            discriminator=self.Dis, device=self.local_rank,
                        )  # fmt: skip
                        dis_acml_loss += self.LOSS.gp_lambda * gp_loss
                    dis_acml_loss = dis_acml_loss / self.OPTIMIZATION.acml_steps
                    batch_counter += 1
                self.backward_and_step(dis_acml_loss)
            self.backward_and_step(dis_acml_loss, self.OPTIMIZATION.d_optimizer)
            updates = self.OPTIMIZATION.d_updates_per_step * current_step + step_index
            if self.LOSS.apply_r1_reg and updates % self.STYLEGAN.d_reg_interval == 0:
                self.OPTIMIZATION.d_optimizer.zero_grad()
                real_images.requires_grad_(True)
                real_dict = self.Dis(self.AUG.series_augment(real_images), real_labels)
                penalty = losses.stylegan_cal_r1_reg(adv_output=real_dict["adv_output"], images=real_images)
                penalty = penalty + misc.enable_allreduce(real_dict)
                (penalty * self.STYLEGAN.d_reg_interval * self.LOSS.r1_lambda).backward()
                self.OPTIMIZATION.d_optimizer.step()
        return "N/A", dis_acml_loss

    def train_generator(self, current_step):
        misc.make_GAN_trainable(self.Gen, self.Gen_ema, self.Dis)
        misc.toggle_grad(model=self.Dis, grad=False, num_freeze_layers=-1, is_stylegan=self.is_stylegan)
        misc.toggle_grad(model=self.Gen, grad=True, num_freeze_layers=-1, is_stylegan=self.is_stylegan)
        self.Gen.apply(misc.track_bn_statistics)
        for step_index in range(self.OPTIMIZATION.g_updates_per_step):
            self.OPTIMIZATION.g_optimizer.zero_grad()
            for _ in range(self.OPTIMIZATION.acml_steps):
                with self.autocast():
                    fake_images, fake_labels, fake_images_eps, *_ = self.fake_images(
                        self.OPTIMIZATION.batch_size, False
                    )
                    fake_dict = self.Dis(self.AUG.series_augment(fake_images), fake_labels)
                    if self.LOSS.adv_loss == "MH":
                        gen_acml_loss = self.LOSS.mh_lambda * self.LOSS.g_loss(DDP=self.DDP, **fake_dict)
                    else:
                        gen_acml_loss = self.LOSS.g_loss(fake_dict["adv_output"], DDP=self.DDP)
                    if self.LOSS.apply_fm:
                        real_image_basket, real_label_basket = self.sample_data_basket()
                        real_images = self.AUG.series_augment(real_image_basket[0])
                        real_dict = self.Dis(real_images, real_label_basket[0])
                        gen_acml_loss += self.LOSS.fm_lambda * self.fm_loss(real_dict["h"].detach(), fake_dict["h"])
                    if self.LOSS.apply_zcr:
                        gen_acml_loss += self.LOSS.g_lambda * -1 * self.l2_loss(fake_images, fake_images_eps)
                    gen_acml_loss = gen_acml_loss / self.OPTIMIZATION.acml_steps
                self.backward_and_step(gen_acml_loss)
            self.backward_and_step(gen_acml_loss, self.OPTIMIZATION.g_optimizer)
            updates = self.OPTIMIZATION.g_updates_per_step * current_step + step_index
            if self.STYLEGAN.apply_pl_reg and updates % self.STYLEGAN.g_reg_interval == 0:
                # A second step of the same optimizer: half a batch, second-order gradients, and no g_loss.
                self.OPTIMIZATION.g_optimizer.zero_grad()
                for _ in range(self.OPTIMIZATION.acml_steps):
                    fake_images, _, _, _, ws, *_ = self.fake_images(self.OPTIMIZATION.batch_size // 2, False)
                    self.pl_reg_loss = self.pl_reg.cal_pl_reg(fake_images=fake_images, ws=ws)
                    self.pl_reg_loss = self.pl_reg_loss + fake_images[:, 0, 0, 0].mean() * 0
                    self.pl_reg_loss *= self.STYLEGAN.g_reg_interval / self.OPTIMIZATION.acml_steps
                    self.pl_reg_loss.backward()
                self.OPTIMIZATION.g_optimizer.step()
            if self.MODEL.apply_g_ema:
                self.ema.update(current_step)
        return gen_acml_loss

    def log_train_statistics(self, current_step, real_cond_loss, gen_acml_loss, dis_acml_loss):
        self.logger.info(
            LOG_FORMAT.format(
                step=current_step + 1, progress=(current_step + 1) / self.OPTIMIZATION.total_steps,
                gen_loss=gen_acml_loss.item(), dis_loss=dis_acml_loss.item(),
            )
        )  # fmt: skip

    def sample_for_evaluation(self, y_sampler="totally_random"):
        with torch.no_grad():
            misc.make_GAN_untrainable(self.Gen, self.Gen_ema, self.Dis)
            generator, generator_mapping, generator_synthesis = self.gen_ctlr.prepare_generator()
            fake_images, *_ = sample.generate_images(
                z_prior=self.MODEL.z_prior, truncation_factor=self.RUN.truncation_factor,
                batch_size=self.OPTIMIZATION.batch_size, z_dim=self.MODEL.z_dim, num_classes=self.DATA.num_classes,
                y_sampler=y_sampler, radius="N/A", generator=generator, discriminator=self.Dis, is_train=False,
                LOSS=self.LOSS, RUN=self.RUN, MODEL=self.MODEL, device=self.local_rank, is_stylegan=self.is_stylegan,
                generator_mapping=generator_mapping, generator_synthesis=generator_synthesis, style_mixing_p=0.0,
                stylegan_update_emas=False, cal_trsp_cost=False,
            )  # fmt: skip
        return fake_images.detach()

    def visualize_fake_images(self, num_cols, current_step):
        if self.gen_ctlr.standing_statistics:
            self.gen_ctlr.std_stat_counter += 1
        path = f"figures/{self.run_name}/generated_canvas_{current_step}.png"
        path = join(self.RUN.save_dir, path)
        sampler = "acending_all" if self.MODEL.d_cond_mtd != "W/O" else "totally_random"
        misc.plot_img_canvas(self.sample_for_evaluation(sampler), path, num_cols, self.logger)
        misc.make_GAN_trainable(self.Gen, self.Gen_ema, self.Dis)

    def evaluate(self, step, metrics, writing=True, training=False):
        if self.gen_ctlr.standing_statistics:
            self.gen_ctlr.std_stat_counter += 1
        is_best, seen = False, []
        while sum(map(len, seen)) < self.num_eval[self.RUN.ref_dataset]:
            seen.append(self.sample_for_evaluation())
        if "fid" in metrics:
            fid_score, _, _ = fid.calculate_fid(
                data_loader=self.eval_dataloader, eval_model=None, num_generate=self.num_eval[self.RUN.ref_dataset],
                cfgs=self.cfgs, pre_cal_mean=None, pre_cal_std=None, fake_feats=torch.cat(seen),
            )  # fmt: skip
            if self.global_rank == 0:
                self.logger.info(f"FID score (Step: {step}, Using {self.RUN.ref_dataset} moments): {fid_score}")
                if self.best_fid is None or fid_score <= self.best_fid:
                    self.best_fid, self.best_step, is_best = fid_score, step, True
        misc.make_GAN_trainable(self.Gen, self.Gen_ema, self.Dis)
        return is_best

    def save(self, step, is_best):
        misc.make_GAN_untrainable(self.Gen, self.Gen_ema, self.Dis)
        Gen, Gen_ema, Dis = misc.peel_models(self.Gen, self.Gen_ema, self.Dis)
        g_states = {"state_dict": Gen.state_dict(), "optimizer": self.OPTIMIZATION.g_optimizer.state_dict()}
        d_states = {
            "state_dict": Dis.state_dict(), "optimizer": self.OPTIMIZATION.d_optimizer.state_dict(),
            "seed": self.RUN.seed, "run_name": self.run_name, "step": step, "epoch": self.epoch_counter,
            "topk": self.topk, "aa_p": self.aa_p, "best_step": self.best_step, "best_fid": self.best_fid,
            "best_fid_ckpt": self.RUN.ckpt_dir, "lecam_emas": vars(self.lecam_ema),
        }  # fmt: skip
        states = {"G": g_states, "D": d_states}
        if Gen_ema is not None:
            states["G_ema"] = {"state_dict": Gen_ema.state_dict()}
        for when in ["best", "current"] if is_best is True else ["current"]:
            for model, content in states.items():
                misc.save_model(model=model, when=when, step=step, ckpt_dir=self.RUN.ckpt_dir, states=content)
        misc.make_GAN_trainable(self.Gen, self.Gen_ema, self.Dis)

    def save_fake_images(self, num_images):
        if self.gen_ctlr.standing_statistics:
            self.gen_ctlr.std_stat_counter += 1
        with torch.no_grad():
            misc.make_GAN_untrainable(self.Gen, self.Gen_ema, self.Dis)
            generator, generator_mapping, generator_synthesis = self.gen_ctlr.prepare_generator()
            misc.save_images_png(
                data_loader=self.eval_dataloader, generator=generator, discriminator=self.Dis, is_generate=True,
                num_images=num_images, y_sampler="totally_random", batch_size=self.OPTIMIZATION.batch_size,
                z_prior=self.MODEL.z_prior, truncation_factor=self.RUN.truncation_factor, z_dim=self.MODEL.z_dim,
                num_classes=self.DATA.num_classes, LOSS=self.LOSS, OPTIMIZATION=self.OPTIMIZATION, RUN=self.RUN,
                MODEL=self.MODEL, is_stylegan=self.is_stylegan, generator_mapping=generator_mapping,
                generator_synthesis=generator_synthesis, directory=join(self.RUN.save_dir, "samples", self.run_name),
                device=self.local_rank,
            )  # fmt: skip
        misc.make_GAN_trainable(self.Gen, self.Gen_ema, self.Dis)
