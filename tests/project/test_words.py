"""What README and docs say of results goes no further than the runs: no word beyond the rule, no bare percentage."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RESULTS = [ROOT / "README.md", ROOT / "docs" / "results.md"]
# Of no use to anybody who measures.
LOUD = re.compile(
    r"\b(clearly|obvious(ly)?|significant(ly)?|substantial(ly)?|dramatic(ally)?|outperform\w*|superior\w*|pro(ve[ds]?|ven)|"
    r"consistently|remarkabl[ey]|impressive\w*|state[- ]of[- ]the[- ]art|undoubtedly|convincing(ly)?)\b",
    re.I,
)
# Words of a comparison, which only the rule may say; "best single" and "best averaged output" are the paper's measures.
VERDICT = re.compile(
    r"\b(better|worse|worsens?|beat(s|en)?|improve[sd]?|improv(ing|ements?)|gain(s|ed)?|helps?|helped|wins?|won|hurts?|harms?|"
    r"best(?! (single|averaged?)\b))\b",
    re.I,
)
# A change, or a share beside the name of a distance.
CHANGE = re.compile(r"[-+−±]\s?\d+(\.\d+)? ?%|\b\d+(\.\d+)? ?%(?=[^.|\n]*\b(FID|FD-lite0|KID|distance|PSNR)\b)")
SEEDS = re.compile(
    r"\b(one|two|three|\d+) (fresh )?(seeds?|runs?)\b|\bseeds? \d|\d seeds|one run\b|\bpaired by seed \(", re.I
)
STEPS = re.compile(r"\d+ (steps|iterations)\b")


def plain(text):
    """Without code, comments, quoted words and titles, and what `make results` wrote."""
    text = re.sub(r"<!-- made by `make results`.*?<!-- end -->", "", text, flags=re.S)
    text = re.sub(r"```.*?```|^    .*$|`[^`\n]*`|\]\([^)]*\)", "", text, flags=re.S | re.M)
    return re.sub(r'"(better|worse)"|\*Improved Image Generation via Sparsity\*', "", text)


def sections(text):
    """The parts between headings."""
    return re.split(r"(?m)^#+ ", text)


def faults(text, results):
    """What a page says that no run supports."""
    bare = plain(text)
    found = [m[0] for m in LOUD.finditer(bare)]
    if results:
        found += [m[0] for m in VERDICT.finditer(bare)]
    whole = re.sub(r"<!-- made by `make results`.*?<!-- end -->", "", text, flags=re.S)
    for part in sections(whole):
        changes = [m[0] for m in CHANGE.finditer(plain(part))]
        if results and changes and not (SEEDS.search(part) and STEPS.search(part)):
            found.append(f"{changes[0]} without seeds and steps")
    return found


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_word_goes_beyond_the_rule(path):
    assert faults(path.read_text(encoding="utf-8"), path in RESULTS) == []


@pytest.mark.parametrize(
    "claim",
    [
        "L0 is clearly below vanilla.",
        "ML-CSC outperforms vanilla.",
        "All regularized means are better.",
        "The averaged output gains nothing.",
        "**neither method beats vanilla here**",
        "It improves the distance.",
        "k = 0.25 is the best for all three.",
        "A DCGAN's distance changes by -8 %.",
        "A DCGAN's distance changes by −8.5 % (3000 steps).",
        "| | -10.6 % |\n\ntwo seeds",
        "an 8 % lower FD-lite0",
        "That helps an SNGAN.",
    ],
)
def test_a_claim_is_found(claim):
    assert faults(f"# Results\n\n{claim}\n", results=True)


@pytest.mark.parametrize(
    "said",
    [
        'A method is called "better" or "worse" by the rule.',
        "-8 % at two seeds, 3000 steps.",
        "| | -10.6 % |\n\nseeds 0, 1; 3000 steps of 64 images",
        "best single output 29.1, best averaged output 30.1",
        "`--help` says more",
        "<!-- made by `make results`: tables -->\nbetter by -8 %\n<!-- end -->",
        "The sparsity level falls to 25 %.",
    ],
)
def test_what_the_rule_allows_is_not(said):
    assert faults(f"# Results\n\n{said}\n", results=True) == []


def test_pages_have_the_blocks_that_are_filled():
    from sparse_plugin.figures.pages import BLOCK

    assert [name for path in RESULTS for _, name, _ in BLOCK.findall(path.read_text())] == ["summary", "tables", "table4"]


def test_pages_say_what_the_recorded_runs_say(tmp_path):
    """What is committed is what `make results` makes of the committed runs."""
    pytest.importorskip("scipy")
    pytest.importorskip("matplotlib")
    from sparse_plugin.figures import pages

    (tmp_path / "docs" / "results").mkdir(parents=True)
    for name in ("README.md", "docs/results.md", "docs/results/runs.jsonl"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    targets = [tmp_path / "README.md", tmp_path / "docs" / "results.md"]
    pages.make(tmp_path / "docs" / "results" / "runs.jsonl", targets)
    for path in targets:
        assert path.read_text() == (ROOT / path.relative_to(tmp_path)).read_text(), "run `make results`"
    for picture in (tmp_path / "docs" / "results").glob("*.png"):
        assert (ROOT / picture.relative_to(tmp_path)).is_file(), "run `make results`"
