"""The paper's tables as commands: grids of runs, and what they came to beside the paper's numbers.

experiment.py  what is registered as an experiment, tables.py the four of the paper, paper.py the numbers of 1 to 3
engine.py      going through a grid of runs, of any kind
grid.py        the runs of a table of GANs, gan_run.py one of them, gan_grid.py all, elsewhere.py those that need not be made
table.py       mean ± standard deviation beside the paper's numbers, files.py tables as Markdown, CSV and JSON
table4.py      Deep Image Prior, and table4_report.py what it came to
statistics.py  paired comparisons and the rule of their words
records.py     finished runs as lines of a file, comparison.py their groups and pairs, page.py what is written of them
restored.py    finished restorations as lines, and restored_page.py their comparisons
"""
