"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import copy

import torch
from sync_batchnorm.batchnorm import convert_model
from torch.nn import DataParallel
from torch.nn.parallel import DistributedDataParallel as DDP
from utils import misc
from utils.ema import Ema, EmaStylegan2


def load_generator_discriminator(DATA, OPTIMIZATION, MODEL, STYLEGAN, MODULES, RUN, device, logger):
    module = __import__(f"models.{MODEL.backbone}", fromlist=["something"])
    Gen_mapping = Gen_synthesis = Gen_ema = Gen_ema_mapping = Gen_ema_synthesis = ema = None
    if MODEL.backbone in ["stylegan2", "stylegan3"]:
        channel_base, channel_max = 512, 16  # 32768 and 512
        synthesis_kwargs = {
            "channel_base": channel_base,
            "channel_max": channel_max,
            "num_fp16_res": 0,
            "conv_clamp": None,
        }
        if MODEL.backbone == "stylegan3":
            radial = STYLEGAN.stylegan3_cfg == "stylegan3-r"
            if radial:
                synthesis_kwargs.update(channel_base=channel_base * 2, channel_max=channel_max * 2)
            beta = 0.5 ** (OPTIMIZATION.batch_size * OPTIMIZATION.acml_steps / (20 * 1e3))
            synthesis_kwargs.update(conv_kernel=1 if radial else 3, use_radial_filters=radial, magnitude_ema_beta=beta)
        Gen = module.Generator(
            z_dim=MODEL.z_dim, c_dim=DATA.num_classes if MODEL.g_cond_mtd == "cAdaIN" else 0, w_dim=MODEL.w_dim,
            img_resolution=DATA.img_size, img_channels=DATA.img_channels, MODEL=MODEL,
            mapping_kwargs={"num_layers": STYLEGAN.mapping_network}, synthesis_kwargs=synthesis_kwargs,
        ).to("cpu")  # fmt: skip
        Gen_mapping, Gen_synthesis = Gen.mapping, Gen.synthesis
        module = __import__("models.stylegan2", fromlist=["something"])  # for StyleGAN3 too
        Dis = module.Discriminator(
            c_dim=DATA.num_classes if MODEL.d_cond_mtd in STYLEGAN.cond_type else 0, img_resolution=DATA.img_size,
            img_channels=DATA.img_channels, architecture=STYLEGAN.d_architecture, channel_base=channel_base,
            channel_max=channel_max, d_cond_mtd=MODEL.d_cond_mtd, num_classes=DATA.num_classes, MODEL=MODEL,
        ).to("cpu")  # fmt: skip
        if MODEL.apply_g_ema:
            Gen_ema = copy.deepcopy(Gen)
            Gen_ema_mapping, Gen_ema_synthesis = Gen_ema.mapping, Gen_ema.synthesis
            ema = EmaStylegan2(
                source=Gen, target=Gen_ema, ema_kimg=STYLEGAN.g_ema_kimg, ema_rampup=STYLEGAN.g_ema_rampup,
                effective_batch_size=OPTIMIZATION.batch_size * OPTIMIZATION.acml_steps,
            )  # fmt: skip
    else:
        Gen = module.Generator(
            z_dim=MODEL.z_dim, g_shared_dim=MODEL.g_shared_dim, img_size=DATA.img_size, g_conv_dim=MODEL.g_conv_dim,
            apply_attn=MODEL.apply_attn, attn_g_loc=MODEL.attn_g_loc, g_cond_mtd=MODEL.g_cond_mtd,
            num_classes=DATA.num_classes, g_init=MODEL.g_init, g_depth=MODEL.g_depth,
            mixed_precision=RUN.mixed_precision, MODULES=MODULES, MODEL=MODEL,
        ).to("cpu")  # fmt: skip
        Dis = module.Discriminator(
            img_size=DATA.img_size, d_conv_dim=MODEL.d_conv_dim, apply_d_sn=MODEL.apply_d_sn,
            apply_attn=MODEL.apply_attn, attn_d_loc=MODEL.attn_d_loc, d_cond_mtd=MODEL.d_cond_mtd,
            aux_cls_type=MODEL.aux_cls_type, d_embed_dim=MODEL.d_embed_dim, num_classes=DATA.num_classes,
            normalize_d_embed=MODEL.normalize_d_embed, d_init=MODEL.d_init, d_depth=MODEL.d_depth,
            mixed_precision=RUN.mixed_precision, MODULES=MODULES, MODEL=MODEL,
        ).to("cpu")  # fmt: skip
        if MODEL.apply_g_ema:
            Gen_ema = copy.deepcopy(Gen)
            ema = Ema(source=Gen, target=Gen_ema, decay=MODEL.g_ema_decay, start_iter=MODEL.g_ema_start)
    if device == 0:
        logger.info(misc.count_parameters(Gen))
        logger.info(Gen)
    return Gen, Gen_mapping, Gen_synthesis, Dis, Gen_ema, Gen_ema_mapping, Gen_ema_synthesis, ema


def prepare_parallel_training(
    Gen, Gen_mapping, Gen_synthesis, Dis, Gen_ema, Gen_ema_mapping, Gen_ema_synthesis, MODEL, world_size,
    distributed_data_parallel, synchronized_bn, apply_g_ema, device,
):  # fmt: skip
    stylegan = MODEL.backbone in ["stylegan2", "stylegan3"]
    if distributed_data_parallel:
        if synchronized_bn:
            group = torch.distributed.new_group(list(range(world_size)))
            Gen, Dis = misc.sync_bn(Gen, group), misc.sync_bn(Dis, group)
            if apply_g_ema:
                Gen_ema = misc.sync_bn(Gen_ema, group)

        def parallel(net):
            return DDP(net, broadcast_buffers=False if stylegan else synchronized_bn)

    else:

        def parallel(net):
            return DataParallel(net, output_device=device)

    Dis = parallel(Dis)
    if stylegan:
        # Gen and Gen_ema themselves stay as they are.
        Gen_mapping, Gen_synthesis = parallel(Gen.mapping), parallel(Gen.synthesis)
        if apply_g_ema:
            Gen_ema_mapping, Gen_ema_synthesis = parallel(Gen_ema.mapping), parallel(Gen_ema.synthesis)
    else:
        Gen = parallel(Gen)
        if apply_g_ema:
            Gen_ema = parallel(Gen_ema)
    if synchronized_bn and not distributed_data_parallel:
        Gen, Dis = convert_model(Gen), convert_model(Dis)
        if apply_g_ema:
            Gen_ema = convert_model(Gen_ema)
    return Gen, Gen_mapping, Gen_synthesis, Dis, Gen_ema, Gen_ema_mapping, Gen_ema_synthesis
