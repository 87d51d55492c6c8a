"""GANs: the nine of the paper's Table 1 and whatever else is registered, and one trainer for all of them.

Each built-in one is a file with its recipes, their sources, and its networks, registered by an entry point; `gan` says
what a registered GAN is. `train.train_run` trains and resumes; `trained.load_trained` gives a trained generator back,
ready to sample. No network knows of sparsity: the trainer attaches a regularizer from outside, as to anybody's generator.
"""

from sparse_plugin.gans.gan import Gan as Gan
from sparse_plugin.gans.gan import architectures as architectures
from sparse_plugin.gans.gan import recipe as recipe
from sparse_plugin.gans.gan import register_gan as register_gan
from sparse_plugin.gans.recipes import Recipe as Recipe
