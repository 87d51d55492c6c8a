"""Figures are saved whatever the names in them are."""

import io
import re

import pytest
from matplotlib.figure import Figure

from sparse_plugin.support.plot_style import render


def drawing(text, title="", scale="linear"):
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([1, 10, 1000], label=text or "x")
    axes.set(title=title, xlabel=text, yscale=scale)
    figure.legend()
    return figure


def saved(figure, form="png"):
    stream = io.BytesIO()
    render(figure, stream, format=form)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
@pytest.mark.parametrize("name", ["\udc80 k 0.5", "a$b_c$d", "$\\frac$", "x$", "^_{"], ids=ascii)
def test_any_name_is_drawn(name, form):
    """Names of files that are no UTF-8 come as lone surrogates; two dollars would be a formula."""
    assert len(saved(drawing(name, title=name), form)) > 1000


def test_nothing_of_a_name_is_a_formula_and_numbers_of_axes_still_are():
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        svg = saved(drawing("a$b_c$d", scale="log"), "svg").decode()
    shown = re.sub("<!--.*?-->", "", svg)
    assert "a$b_c$d" in shown and "mathdefault" not in shown and "mathdefault{10^{3}}" in svg
