"""Generators that class methods build and load: attached when these return, with what the checkpoint holds."""

import copy
import json
import logging
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import sparse_plugin
from sparse_plugin import Attachment
from sparse_plugin.errors import CheckpointError

K = 2


class Loaded(nn.Module):
    """Loads as large models are loaded: built without values, then given tensors by name, past load_state_dict."""

    read = staticmethod(load_file)

    def __init__(self, width=8):
        super().__init__()
        self.width = width
        self.up, self.out = nn.ConvTranspose2d(6, width, 4), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z):
        return self.out(torch.relu(self.up(z)))

    @classmethod
    def from_config(cls, file):
        with open(file) as f:
            return cls(**json.load(f))

    @classmethod
    def from_pretrained(cls, folder):
        with torch.device("meta"):
            made = cls.from_config(folder / "config.json")
        entries = cls.read(folder / "weights")
        unexpected = entries.keys() - made.state_dict().keys()
        assert not unexpected, unexpected
        for name, value in entries.items():
            path, _, last = name.rpartition(".")
            module = made.get_submodule(path)
            module._parameters[last] = nn.Parameter(value)
        return made, unexpected

    def save(self, folder, how=save_file):
        (folder / "config.json").write_text(json.dumps({"width": self.width}))
        how(self.state_dict(), folder / "weights")


class Pickled(Loaded):
    """The same in torch's own format."""

    @staticmethod
    def read(file):
        return torch.load(file)

    def save(self, folder):
        super().save(folder, torch.save)


KINDS = [Loaded, Pickled]


@pytest.fixture(autouse=True)
def off():
    yield
    sparse_plugin.disable()


def z():
    return torch.randn(3, 6, 1, 1)


def fullest(generator):
    seen = []
    handle = generator.out.register_forward_hook(lambda m, a, out: seen.append(int((a[0] != 0).sum(1).max())))
    generator(z())
    handle.remove()
    return max(seen)


def on(kind, name="l0_inf", **settings):
    return sparse_plugin.enable(None, name, generator=f"{__name__}:{kind.__name__}", **(settings or {"k": K}))


def trained(kind, folder, name="l0_inf", **settings):
    made = kind()
    sparse_plugin.attach(made, name, **(settings or {"k": K}))
    made(z())
    made.save(folder)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_settings_load(kind, tmp_path, caplog):
    original = trained(kind, tmp_path)
    on(kind)
    loaded, _ = kind.from_pretrained(tmp_path)
    assert Attachment.of(loaded) is not None and fullest(loaded) == K
    assert torch.equal(loaded.out.weight, original.out.weight) and "without sparse_plugin" not in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_other_settings_are_refused(kind, tmp_path):
    trained(kind, tmp_path, k=3)
    on(kind)
    with pytest.raises(CheckpointError, match=r"trained with l0_inf\(k=3\), and the generator is attached with l0_inf\(k=2\)"):
        kind.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_a_plain_one_load_and_are_said(kind, tmp_path, caplog):
    kind().save(tmp_path)
    on(kind)
    loaded, _ = kind.from_pretrained(tmp_path)
    assert fullest(loaded) == K and "trained without sparse_plugin" in caplog.text


def test_what_reads_nothing_says_nothing(tmp_path, caplog):
    Loaded().save(tmp_path)
    on(Loaded)
    built = Loaded.from_config(tmp_path / "config.json")
    assert fullest(built) == K and not caplog.records


def test_dictionaries_come_along(tmp_path):
    original = trained(Loaded, tmp_path, "ml_csc", k=[2, 1.0])
    with torch.no_grad():
        for p in Attachment.of(original).parameters():
            p.add_(torch.randn_like(p))
    original.save(tmp_path)
    on(Loaded, "ml_csc", k=[2, 1.0])
    loaded, _ = Loaded.from_pretrained(tmp_path)
    ours, theirs = (Attachment.of(g).parameters() for g in (loaded, original))
    assert ours and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    noise = z()
    torch.testing.assert_close(loaded(noise), original(noise))


def test_the_step_of_a_schedule_comes_along(tmp_path):
    original = Loaded()
    sparse_plugin.attach(original, "l0_inf", k={"start": 1.0, "end": 0.25, "steps": 2})
    optimizer = torch.optim.SGD(original.parameters(), 0.01)
    for _ in range(2):
        original(z()).mean().backward()
        optimizer.step()
    assert fullest(original) == 2
    original.save(tmp_path)
    on(Loaded, k={"start": 1.0, "end": 0.25, "steps": 2})
    assert fullest(Loaded.from_pretrained(tmp_path)[0]) == 2


def test_another_architecture_is_refused(tmp_path):
    made = Loaded()
    sparse_plugin.attach(made, "l0_inf", k=K, sites="up:output")
    made(z())
    made.save(tmp_path)
    entries = {key.replace("up.sparse_plugin", "stem.sparse_plugin"): value for key, value in load_file(tmp_path / "weights").items()}
    save_file(entries, tmp_path / "weights")
    on(Loaded)
    with pytest.raises(CheckpointError, match=r"added at stem\.sparse_plugin, and Loaded has no such module"):
        Loaded.from_pretrained(tmp_path)


def test_a_class_below_with_a_loader_of_its_own(tmp_path):
    trained(Loaded, tmp_path)
    on(Loaded)

    class Below(Loaded):
        @classmethod
        def from_pretrained(cls, folder):
            made, _ = super().from_pretrained(folder)
            assert Attachment.of(made) is None  # the outer one is not done yet
            return made

    assert fullest(Below.from_pretrained(tmp_path)) == K


def test_a_method_that_trains_is_no_loader(tmp_path):
    class Trainer(Loaded):
        @classmethod
        def main(cls):
            return fullest(cls())

    on(Loaded)
    assert Trainer.main() == K


def test_a_loader_that_fails_attaches_nothing_and_the_next_one_does(tmp_path):
    trained(Loaded, tmp_path)
    on(Loaded)
    (tmp_path / "weights").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        Loaded.from_pretrained(tmp_path)
    (tmp_path / "away").rename(tmp_path / "weights")
    assert fullest(Loaded.from_pretrained(tmp_path)[0]) == K


def test_disabling_gives_all_of_it_back(tmp_path):
    before = Loaded.__dict__["from_pretrained"], torch.load
    on(Loaded)
    assert torch.load is not before[1]
    sparse_plugin.disable()
    assert (Loaded.__dict__["from_pretrained"], torch.load) == before


def test_of_a_package_of_pypi(tmp_path, caplog):
    """huggingface_hub's mixin, which loads without being strict."""
    hub = pytest.importorskip("huggingface_hub")

    class Hub(nn.Module, hub.PyTorchModelHubMixin):
        def __init__(self):
            super().__init__()
            self.up, self.out = nn.ConvTranspose2d(6, 8, 4), nn.Conv2d(8, 3, 3, padding=1)

        def forward(self, z):
            return self.out(torch.relu(self.up(z)))

    globals()["Hub"] = Hub
    Hub.__qualname__ = "Hub"
    caplog.set_level(logging.WARNING)
    on(Hub)
    Hub().save_pretrained(tmp_path)
    assert fullest(Hub.from_pretrained(tmp_path)) == K
    sparse_plugin.disable()
    on(Hub, k=3)
    with pytest.raises(CheckpointError, match="attach the same"):
        Hub.from_pretrained(tmp_path)


class Nested(Loaded):
    """Loads by load_state_dict, out of what its file holds beside the weights."""

    inside = ("networks", "generator")
    prefix = ""

    @classmethod
    def from_checkpoint(cls, folder, strict=True):
        made, found = cls(), cls.open(folder / "weights")
        for name in cls.inside:
            found = found[name]
        made.load_state_dict({key.removeprefix(cls.prefix): value for key, value in found.items()}, strict)
        return made

    @staticmethod
    def open(file):
        return torch.load(file)

    def save(self, folder):
        found = {self.prefix + key: value for key, value in self.state_dict().items()}
        for name in reversed(self.inside):
            found = {name: found, "step": 3}
        torch.save(found, folder / "weights")


class Opened(Nested):
    """Read by what nobody watches."""

    @staticmethod
    def open(file):
        return pickle.loads(file.read_bytes())

    def save(self, folder):
        found = dict(self.state_dict())
        for name in reversed(self.inside):
            found = {name: found}
        (folder / "weights").write_bytes(pickle.dumps(found))


class Wrapped(Nested):
    """A flat file of what was trained in DataParallel."""

    inside, prefix = (), "module."


@pytest.mark.parametrize("kind", [Nested, Opened, Wrapped])
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("name", "settings"), [("l0_inf", {"k": K}), ("ml_csc", {"k": [K, 1.0]})])
def test_whatever_way_the_entries_come(kind, strict, name, settings, tmp_path, caplog):
    original = trained(kind, tmp_path, name, **settings)
    with torch.no_grad():
        for p in Attachment.of(original).parameters():
            p.add_(torch.randn_like(p))
    original.save(tmp_path)
    on(kind, name, **settings)
    loaded = kind.from_checkpoint(tmp_path, strict)
    noise = z()
    torch.testing.assert_close(loaded(noise), original(noise))
    assert fullest(loaded) == K and "without sparse_plugin" not in caplog.text


@pytest.mark.parametrize("kind", [Nested, Opened, Wrapped])
def test_other_settings_are_refused_whatever_way_they_come(kind, tmp_path):
    trained(kind, tmp_path, k=3)
    on(kind)
    with pytest.raises(CheckpointError, match="attach the same"):
        kind.from_checkpoint(tmp_path)


@pytest.mark.parametrize("kind", [Nested, Opened])
def test_a_nested_plain_one_is_said(kind, tmp_path, caplog):
    kind().save(tmp_path)
    on(kind)
    assert fullest(kind.from_checkpoint(tmp_path)) == K and "trained without sparse_plugin" in caplog.text


def test_a_copy_made_while_loading_takes_nothing_away_later(tmp_path):
    class Averaged(Nested):
        @classmethod
        def from_checkpoint(cls, folder, strict=True):
            made = super().from_checkpoint(folder, strict)
            made.__dict__["average"] = copy.deepcopy(made)
            return made

    trained(Nested, tmp_path)
    on(Nested)
    loaded = Averaged.from_checkpoint(tmp_path)
    average = loaded.__dict__["average"]
    with pytest.raises(RuntimeError, match="Unexpected key"):
        average.load_state_dict(torch.load(tmp_path / "weights")["networks"]["generator"])
    assert not [hook for hook in loaded._load_state_dict_pre_hooks.values() if "_Takes" in repr(hook.hook)]
