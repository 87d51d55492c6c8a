"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import copy
import importlib
from functools import partial

from models.common import Discriminator
from torch import nn
from utils import ema

PLAYERS = ("Gen", "Gen_mapping", "Gen_synthesis", "Dis", "Gen_ema", "Gen_ema_mapping", "Gen_ema_synthesis")


def load_generator_discriminator(DATA, OPTIMIZATION, MODEL, STYLEGAN, MODULES, RUN, device, logger):
    """The players in their order, and what updates Gen_ema; None for those that there are not."""
    kind = importlib.import_module(f"models.{MODEL.backbone}").Generator
    styled = MODEL.backbone.startswith("stylegan")
    if styled:
        synthesis_kwargs = {"radial": STYLEGAN.stylegan3_cfg.endswith("-r")} if MODEL.backbone[-1] == "3" else {}
        Gen = kind(
            MODEL.z_dim, c_dim=DATA.num_classes if MODEL.g_cond_mtd == "cAdaIN" else 0, w_dim=MODEL.w_dim,
            img_resolution=DATA.img_size, mapping_kwargs={"num_layers": STYLEGAN.mapping_network},
            synthesis_kwargs=synthesis_kwargs,
        )  # fmt: skip
    else:
        Gen = kind(DATA.num_classes, mixed_precision=RUN.mixed_precision, MODULES=MODULES, MODEL=MODEL)
    Dis = Discriminator(DATA.num_classes, RUN.mixed_precision and not styled, MODULES, MODEL)
    if not MODEL.apply_g_ema:
        return *_with_halves(Gen), Dis, *_with_halves(None), None
    twin = copy.deepcopy(Gen)
    if styled:
        batch = OPTIMIZATION.batch_size * OPTIMIZATION.acml_steps
        updating = ema.EmaStylegan2(Gen, twin, STYLEGAN.g_ema_kimg, STYLEGAN.g_ema_rampup, batch)
    else:
        updating = ema.Ema(Gen, twin, MODEL.g_ema_decay, MODEL.g_ema_start)
    return *_with_halves(Gen), Dis, *_with_halves(twin), updating


def _with_halves(generator):
    """The generator, and the two of its modules that a StyleGAN is called by."""
    return generator, getattr(generator, "mapping", None), getattr(generator, "synthesis", None)


def prepare_parallel_training(distributed_data_parallel, **players):
    """Each player in a wrapper of its own; of a StyleGAN the halves, and not the whole."""
    across_processes = partial(nn.parallel.DistributedDataParallel, broadcast_buffers=False)
    wrap = across_processes if distributed_data_parallel else nn.DataParallel
    bare = {"Gen", "Gen_ema"} if players["Gen_mapping"] is not None else set()
    return {name: net if net is None or name in bare else wrap(net) for name, net in players.items()}
