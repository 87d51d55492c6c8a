"""Restoration of single images by Deep Image Prior: noise removal, inpainting, super-resolution.

    result = restore(image, Inpaint(mask), sparse=SparsityConfig.from_mapping({"regularizer": "l0", "k": 0.5}))

Nothing is learned from other images. The network knows of no sparsity: a regularizer is attached to its encoder's scales
from outside, as to anybody's generator.
"""

from sparse_plugin.restore.iterating import Interrupted as Interrupted
from sparse_plugin.restore.result import Choice as Choice
from sparse_plugin.restore.result import Curves as Curves
from sparse_plugin.restore.result import RestorationResult as RestorationResult
from sparse_plugin.restore.run import restore as restore
from sparse_plugin.restore.tasks import Denoise as Denoise
from sparse_plugin.restore.tasks import Inpaint as Inpaint
from sparse_plugin.restore.tasks import Task as Task
from sparse_plugin.restore.tasks import Upscale as Upscale
from sparse_plugin.restore.tasks import add_noise as add_noise
