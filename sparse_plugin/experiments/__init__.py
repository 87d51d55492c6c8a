"""The paper's tables as commands: grids of runs, and what they came to beside the paper's numbers.

paper.py     the paper's numbers
methods.py   what is compared, and each architecture's k and λ
grid.py      the runs of a table
outcome.py   what one run came to
run.py       going through a grid
table.py     mean ± standard deviation, as Markdown, CSV and JSON
"""
