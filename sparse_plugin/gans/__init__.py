"""Reference implementations of the nine GANs of the paper's Table 1, and one trainer for all of them.

`recipes` has the official hyperparameters, each with its source; `networks` builds generators and discriminators;
`train.run` trains and resumes; `trained.load` gives a trained generator back, ready to sample. No network knows of
sparsity: the trainer attaches a regularizer from outside, as to anybody's generator.
"""

from sparse_plugin.gans.recipes import ARCHITECTURES as ARCHITECTURES
from sparse_plugin.gans.recipes import Recipe as Recipe
from sparse_plugin.gans.recipes import recipe as recipe
