"""`sparse-plugin tune`: which regularizer helps a trainer, how much of it and where, raced within a budget.

candidates.py  what is raced: regularizers, levels around the natural density of Γ, sites
budget.py      the rungs of a race that a budget allows
trial.py       one candidate and seed, trained up to a rung and scored, in a directory of its own
target.py      what is tuned
race.py        successive halving, over pairs by seed
gans.py, launched.py, restorations.py  the three targets: GANs by `train`, trainers of others, Deep Image Prior
metric.py      numbers that a trainer writes by itself; sampled.py: scores of images drawn from its checkpoints
matched.py     the k of other sites that distorts images as much as that of D1
report.py, page.py, curves.py  the ranking, the recommended settings, the page
"""
