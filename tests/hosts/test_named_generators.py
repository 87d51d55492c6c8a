"""Generators that are named by the module that hands them on, by a function that builds them, and used through their parts."""

import sys
import textwrap
import threading
from importlib.machinery import ModuleSpec

import pytest
import torch
from torch import nn

import sparse_plugin
from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError, SiteError
from sparse_plugin.hosts import current, instances
from sparse_plugin.hosts.host import HOSTS
from sparse_plugin.hosts.session import Session
from sparse_plugin.support import advice

IMPL = """
    import torch
    from torch import nn

    class Painter(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.out = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        def forward(self, z):
            return self.out(torch.relu(self.body(z)))

    class _Hidden(Painter):
        pass

    def build():
        return nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))
"""
LAZY = """
    import importlib, sys, types

    class Lazy(types.ModuleType):
        def __getattr__(self, name):
            if name not in ("Painter", "Fast"):
                raise AttributeError(name)
            value = getattr(importlib.import_module(self.__name__ + ".impl"), "Painter")
            setattr(self, name, value)
            return value

    module = Lazy(__name__)
    vars(module).update(__path__=__path__, __spec__=__spec__, __file__=__file__)
    sys.modules[__name__] = module
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a package `their_art` with these lines in its __init__, which stands until the end of the test."""

    def write(init):
        folder = tmp_path / "their_art"
        folder.mkdir()
        (folder / "__init__.py").write_text(textwrap.dedent(init))
        (folder / "impl.py").write_text(textwrap.dedent(IMPL))

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    sparse_plugin.disable()
    for name in [name for name in sys.modules if name.partition(".")[0] == "their_art"]:
        del sys.modules[name]


def on(generator):
    sparse_plugin.enable(None, "l0_inf", k=2, generator=generator)


def attached(generator):
    handle = sparse_plugin.Attachment.of(generator)
    return handle is not None and str(handle.regularizer) == "l0_inf(k=2)"


@pytest.mark.parametrize(
    ("init", "name"),
    [
        ("from their_art.impl import Painter", "Painter"),
        ("from their_art.impl import _Hidden as Generator", "Generator"),
        ("from their_art.impl import build", "build"),
        ("from their_art.impl import build as make_generator", "make_generator"),
        (LAZY, "Painter"),
    ],
    ids=["class", "renamed class", "function", "renamed function", "lazy"],
)
@pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
def test_named_by_the_module_that_hands_it_on(package, init, name, early):
    package(init)
    if early:
        on(f"their_art:{name}")
    import their_art

    getattr(their_art, name)
    if not early:
        on(f"their_art:{name}")
    generator = getattr(their_art, name)()
    assert attached(generator)
    assert not attached(nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3)))
    sparse_plugin.disable()
    assert not attached(getattr(their_art, name)())


def test_another_class_of_that_name_is_left_alone(package):
    package(LAZY)
    on("their_art:Painter")
    import their_art

    class Painter(their_art.Painter):  # the same name, and not what their_art hands on
        pass

    assert attached(Painter())  # for what it derives from

    class Painter(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Conv2d(8, 3, 3)

    assert not attached(Painter())


def test_a_host_names_its_generators_so_too(package):
    package("from their_art.impl import Painter")
    sparse_plugin.register_host(sparse_plugin.Host("their_art", generators=["their_art:Painter"]))
    try:
        sparse_plugin.enable("their_art", "l0_inf", k=2)
        import their_art

        assert attached(their_art.Painter())
    finally:
        HOSTS.unregister("their_art")


def test_the_script_by_its_own_name(monkeypatch, tmp_path):
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", str(tmp_path / "train_art.py"), raising=False)
    mine = type("Mine", (nn.Module,), {"__module__": "__main__"})
    assert instances.named("train_art:Mine", mine) and instances.named("__main__:Mine", mine)
    assert not instances.named("other:Mine", mine) and not instances.named("train_art:Other", mine)
    monkeypatch.setattr(main, "__spec__", ModuleSpec("art.train_art", None))  # as of `python -m art.train_art`
    assert instances.named("art.train_art:Mine", mine) and not instances.named("art:Mine", mine)


def test_generators_that_threads_build_at_the_same_time(package):
    """Each is the outermost of its own thread, and no part of what another builds."""
    sparse_plugin.enable(None, "l0_inf", k=2)
    together = threading.Barrier(3, timeout=200)
    made = []

    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            together.wait()
            self.out = nn.Conv2d(8, 3, 3)
            together.wait()

    threads = [threading.Thread(target=lambda: made.append(Generator())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 3 and all(map(attached, made))


@pytest.mark.parametrize("wrap", ["nn.DataParallel", "torch.compile", "lambda g: torch.compile(nn.DataParallel(g))"])
@pytest.mark.parametrize("sites", [{}, {"sites": "module.out"}, {"sites": "out"}], ids=["found", "wrapped", "plain"])
def test_a_function_that_wraps_what_it_builds(package, tmp_path, monkeypatch, capfd, wrap, sites):
    """It is attached, said to be, and its measurements are logged as those of any other."""
    package(f"import torch\nfrom torch import nn\nfrom their_art.impl import Painter\nwrap = {wrap}\ndef build(): return wrap(Painter())")
    monkeypatch.chdir(tmp_path)
    session = sparse_plugin.enable(None, "l0_inf", k=2, generator="their_art:build", **sites)
    import their_art

    wrapped = their_art.build()
    (handle,) = session.attachments()
    generator = handle.generator
    assert type(generator).__name__ == "Painter" and attached(wrapped)
    generator(torch.randn(2, 6, 9, 9)).mean().backward()
    torch.optim.SGD(generator.parameters(), 0.1).step()
    assert "attached to Painter at the input of out" in capfd.readouterr().err
    assert [event["attached"] for event in session.journal.events if "attached" in event]
    assert len(list(tmp_path.glob("sparse_runs/*/sparsity.jsonl"))) == 1


@pytest.mark.parametrize("returned", ["(Painter(), 3)", "None", "{'g': Painter()}", "Painter"])
def test_a_function_that_returns_no_generator(package, returned):
    package(f"from their_art.impl import Painter\ndef build(): return {returned}")
    on("their_art:build")
    import their_art

    with pytest.raises(ConfigError, match="their_art:build returns .*, and no generator; name the generator's class with"):
        their_art.build()


def test_a_wrapped_generator_takes_what_a_checkpoint_was_trained_with(package):
    package("from torch import nn\nfrom their_art.impl import Painter\ndef build(): return nn.DataParallel(Painter())")
    on("their_art:build")
    import their_art

    trained = their_art.build()
    sparse_plugin.disable()
    session = Session(SparsityConfig(generator="their_art:build"))
    session.start()
    before = current.put(session)
    try:
        generator = their_art.build()
        assert not attached(generator)
        generator.load_state_dict(trained.state_dict())
        assert attached(generator)
    finally:
        current.put(before)
        session.stop()


class Parts(nn.Module):
    """Two convolutions make images, so that only a call tells D1; and hosts call its parts."""

    def __init__(self, channels=6):
        super().__init__()
        self.mapping = nn.Linear(6, 6)
        self.decoder = nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))
        self.preview = nn.Conv2d(channels, 3, 1)

    def decode(self, z):
        return self.decoder(z)

    def forward(self, z):
        return self.decode(z), self.preview(z)


def test_a_part_that_nothing_tells_says_what_helps():
    generator = Parts()
    with advice.speaking_to("command"):
        sparse_plugin.attach(generator, "l0_inf", k=2)
        with pytest.raises(SiteError) as told:
            generator.preview(torch.randn(2, 6, 9, 9))
    assert '--set "sparse.sites=[decoder.2]" or --set "sparse.sites=[preview]"' in str(told.value)


@pytest.mark.parametrize("sites", [(), "decoder.2"])
@pytest.mark.parametrize("call", [lambda g, z: g.decode(z), lambda g, z: g.decoder(z)], ids=["method", "part"])
def test_parts_that_are_called(call, sites):
    """Whose image is a little smaller than what they are given."""
    for channels in (6, 4):
        generator = Parts(channels)
        sparse_plugin.attach(generator, "l0_inf", k=2, sites=sites)
        seen = []
        generator.decoder[2].register_forward_hook(lambda m, args, out, seen=seen: seen.append(int((args[0] != 0).sum(1).max())))
        for _ in range(3):
            call(generator, torch.randn(2, channels, 9, 9))
        assert seen == [2, 2, 2]


def test_autoencoders_of_diffusers_through_their_decoder():
    diffusers = pytest.importorskip("diffusers")
    small = {"block_out_channels": (8, 16), "norm_num_groups": 4, "latent_channels": 4}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    on("diffusers:AutoencoderKL")
    vae = diffusers.AutoencoderKL(**small, **blocks)
    assert attached(vae) and sparse_plugin.Attachment.of(vae).sites[0].path == "decoder.conv_out"
    sparse_plugin.disable()
    tiny = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)
    )
    sparse_plugin.attach(tiny, "l0_inf", k=2)
    for network in (vae, tiny):
        seen = []
        d1 = network.get_submodule(sparse_plugin.Attachment.of(network).sites[0].path)
        d1.register_forward_hook(lambda m, args, out, seen=seen: seen.append(int((args[0] != 0).sum(1).max())))
        for _ in range(2):
            network.encode(torch.randn(1, 3, 16, 16))
            image = network.decode(torch.randn(1, 4, 8, 8)).sample
        assert seen == [2, 2] and image.shape[1] == 3
