"""The paper's tables as commands: grids of runs, and what they came to beside the paper's numbers.

paper.py     the paper's numbers of tables 1 to 3
methods.py   what is compared
grid.py      the runs of a table
outcome.py   what one run came to
run.py       going through a grid
table.py     mean ± standard deviation, as Markdown, CSV and JSON
statistics.py  paired comparisons and the rule of their words
records.py   finished runs as lines of a file, comparison.py their groups and pairs, page.py and pages.py what is written
files.py     tables as Markdown, CSV and JSON
table4.py    Deep Image Prior, and table4_report.py what it came to
restored.py  finished restorations as lines, and restored_page.py their comparisons
"""
