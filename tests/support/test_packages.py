"""Packages of other people, by their entry points: broken ones, and one that registers by its decorator too."""

import logging
import sys
import textwrap

import pytest
import torch
from torch import nn

import sparse_plugin
from sparse_plugin.errors import ConfigError
from sparse_plugin.hosts.host import HOSTS
from sparse_plugin.network.adapters import ADAPTERS
from sparse_plugin.registry import REGULARIZERS

TABLES = (REGULARIZERS, ADAPTERS, HOSTS)


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package that is one module, with these lines of entry points, until the end of the test."""
    before = set(sys.modules)

    def forget():
        for table in TABLES:
            monkeypatch.setattr(table, "_installed", None)
            monkeypatch.setattr(table, "_warned", set())
            monkeypatch.setattr(table, "_twice", [])

    def installed(name, code, entries, metadata="Metadata-Version: 2.1\nName: {name}\nVersion: 4.2\n"):
        info = tmp_path / f"{name}-4.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata.format(name=name))
        (info / "entry_points.txt").write_text(textwrap.dedent(entries))
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
        forget()

    monkeypatch.syspath_prepend(tmp_path)
    local = [dict(table._local) for table in TABLES]
    yield installed
    for table, names in zip(TABLES, local, strict=True):
        table._local.clear()
        table._local.update(names)
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


ENTRIES = """
    [sparse_plugin.adapters]
    theirs = their_sparsity:ADAPTER
    [sparse_plugin.hosts]
    theirs = their_sparsity:HOST
    [sparse_plugin.regularizers]
    theirs = their_sparsity:Soft
"""
BROKEN = {
    "import": "import a_package_that_is_not_there",
    "attribute": "x = 1",
    "syntax": "def f(:",
    "exit": "raise SystemExit(3)",
    "exit 0": "import sys; sys.exit()",
    "own error": "class Odd(BaseException): pass\nraise Odd('odd')",
    "zero division": "1 / 0",
    "class": "class ADAPTER: pass\nHOST = Soft = ADAPTER",
    "nothing": "ADAPTER = HOST = Soft = None",
    "module": "import os as ADAPTER, os as HOST, os as Soft",
}


@pytest.mark.parametrize("code", BROKEN.values(), ids=BROKEN)
def test_a_broken_package_costs_a_warning(install, code, caplog):
    install("their_sparsity", code, ENTRIES)
    for _ in range(2):
        sparse_plugin.attach(Net(), "l0_inf", k=2, example_input=torch.randn(2, 4, 9, 9))
        sparse_plugin.enable(None, "l0_inf", k=2)
        sparse_plugin.disable()
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 2, warned
    for kind, entry in (("adapter", "ADAPTER"), ("host", "HOST")):
        (said,) = [text for text in warned if text.startswith(kind)]
        assert f"{kind} 'theirs' from their_sparsity 4.2 (entry point their_sparsity:{entry})" in said
        assert said.endswith("it is left out")
    for asked in (
        lambda: sparse_plugin.attach(Net(), "theirs"),
        lambda: sparse_plugin.attach(Net(), "l0_inf", k=2, adapter="theirs"),
        lambda: sparse_plugin.enable("theirs", "l0_inf", k=2),
    ):
        with pytest.raises(ConfigError, match="'theirs' from their_sparsity 4.2 .entry point their_sparsity:"):
            asked()


WORKING = """
    import sparse_plugin
    class Picky(sparse_plugin.Adapter):
        def matches(self, generator):
            return generator.no_such_attribute
    class Fragile(sparse_plugin.Host):
        def prepare(self, session):
            session.undo.append(lambda: undone.append(1))
        def patch(self, session):
            raise KeyError("moved")
    undone = []
    ADAPTER = Picky("theirs", {})
    HOST = Fragile("theirs", generators=["nowhere:Nothing"])
"""


def test_a_package_that_breaks_when_it_is_used_costs_a_warning_too(install, caplog):
    install("their_sparsity", WORKING, ENTRIES)
    sparse_plugin.attach(Net(), "l0_inf", k=2, example_input=torch.randn(2, 4, 9, 9))
    assert "adapter 'theirs' from their_sparsity 4.2 (entry point their_sparsity:ADAPTER) fails on a Net" in caplog.text
    sparse_plugin.enable(None, "l0_inf", k=2)
    assert "host 'theirs' from their_sparsity 4.2 (entry point their_sparsity:HOST) fails: KeyError" in caplog.text
    assert sys.modules["their_sparsity"].undone == [1]
    sparse_plugin.disable()
    with pytest.raises(KeyError):
        sparse_plugin.enable("theirs", "l0_inf", k=2)
    assert sys.modules["their_sparsity"].undone == [1, 1]


def test_two_packages_of_one_name_concern_who_asks_for_it(install, caplog):
    for name in ("one", "other"):
        install(name, WORKING, f"[sparse_plugin.adapters]\nmimicry = {name}:ADAPTER\n[sparse_plugin.regularizers]\nl9 = {name}:ADAPTER\n")
    sparse_plugin.attach(Net(), "l0_inf", k=2, example_input=torch.randn(2, 4, 9, 9))
    assert "there are two adapters 'mimicry'" in caplog.text
    with pytest.raises(ConfigError, match=r"two regularizers 'l9', one from (one|other) 4.2 and one from (one|other) 4.2"):
        sparse_plugin.attach(Net(), "l9")
    with pytest.raises(ConfigError, match="two adapters 'mimicry'"):
        ADAPTERS.check()


def test_metadata_that_cannot_be_read_concern_nobody_else(install, caplog):
    install("nameless", "", ENTRIES.replace("their_sparsity", "nameless"), metadata="")
    install("mangled", "", "[sparse_plugin.adapters]\n= = =\nno equals sign\n[[[\n")
    install("fine", "from sparse_plugin import Adapter\nADAPTER = Adapter('fine', {})", "[sparse_plugin.adapters]\nfine = fine:ADAPTER\n")
    sparse_plugin.attach(Net(), "l0_inf", k=2, example_input=torch.randn(2, 4, 9, 9))
    assert ADAPTERS.get("fine").name == "fine" and "mimicry" in ADAPTERS.all()


SOFT = """
    import sparse_plugin

    @sparse_plugin.register("soft")
    class Soft(sparse_plugin.Constraint):
        threshold: float = 0.1

        def project(self, gamma):
            return gamma.sign() * (gamma.abs() - self.threshold).clamp(min=0)

    ADAPTER = sparse_plugin.register_adapter(sparse_plugin.Adapter("soft_nets", {"soft_nets:G": "out"}))
    HOST = sparse_plugin.register_host(sparse_plugin.Host("soft_nets", generators=["soft_nets:G"]))
"""
PUBLISHED = """
    [sparse_plugin.regularizers]
    soft = {0}:Soft
    [sparse_plugin.adapters]
    soft_nets = {0}:ADAPTER
    [sparse_plugin.hosts]
    soft_nets = {0}:HOST
"""


def test_a_name_that_means_none_is_left_out(install, caplog):
    code = """
        from sparse_plugin.registry.base import Constraint
        class Soft(Constraint):
            def project(self, gamma):
                return gamma
    """
    install("their_sparsity", code, "[sparse_plugin.regularizers]\nvanilla = their_sparsity:Soft\n")
    with pytest.raises(ConfigError, match=r"their_sparsity.*'vanilla' is no name for a regularizer"):
        sparse_plugin.attach(Net(), "vanilla", example_input=torch.rand(1, 4, 8, 8))
    assert "vanilla" not in dict(REGULARIZERS.usable()) and "it is left out" in caplog.text


@pytest.mark.parametrize("first", ["entry point", "import", "file"])
def test_what_is_published_with_its_decorator_is_one(install, first, tmp_path, caplog):
    install("soft_package", SOFT, PUBLISHED.format("soft_package"))
    if first == "import":
        import soft_package  # noqa: F401
    elif first == "file":
        from sparse_plugin.support.user_files import import_named

        import_named(str(tmp_path / "soft_package.py"))
    for _ in range(2):
        made = sparse_plugin.attach(Net(), "soft", threshold=0.5, example_input=torch.randn(2, 4, 9, 9)).regularizer
    assert str(made) == "soft(threshold=0.5)"
    assert REGULARIZERS.all()["soft"].origin == "soft_package 4.2"
    sparse_plugin.enable(None, "soft")
    assert not caplog.records and HOSTS.get("soft_nets") and ADAPTERS.get("soft_nets")


def test_a_package_that_registers_below_is_one_and_another_owner_is_not(install, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "__init__.py").write_text("from deep.inside import Soft, ADAPTER, HOST\n")
    (tmp_path / "deep" / "inside.py").write_text(textwrap.dedent(SOFT))
    install("deep_package", "", PUBLISHED.format("deep"))
    sparse_plugin.attach(Net(), "soft", example_input=torch.randn(2, 4, 9, 9))
    with pytest.raises(ConfigError, match=r"two regularizers 'soft', one from .* and one from .*test_packages.py"):

        @sparse_plugin.register("soft")
        class Other(sparse_plugin.Constraint):
            pass

    # In the package itself, but not what its entry point leads to.
    (tmp_path / "deep" / "more.py").write_text(textwrap.dedent(SOFT).replace("0.1", "0.9"))
    with pytest.raises(ConfigError, match="two regularizers 'soft'"):
        import deep.more  # noqa: F401

        sparse_plugin.attach(Net(), "soft")


def test_adapters_of_one_name_from_two_files_are_two(install, tmp_path):
    code = "import sparse_plugin\nsparse_plugin.register_adapter(sparse_plugin.Adapter('mine', {}))\n"
    from sparse_plugin.support.user_files import import_named

    for name in ("a", "b"):
        (tmp_path / f"{name}_adapters.py").write_text(code)
    import_named(str(tmp_path / "a_adapters.py"))
    with pytest.raises(ConfigError, match=r"two adapters 'mine', one from .*a_adapters.py and one from .*b_adapters.py"):
        import_named(str(tmp_path / "b_adapters.py"))
