"""What is asked for happens, or is refused: every setting of every door that takes settings, one row each."""

import inspect
import pickle
import sys

import pytest
import torch
from torch import nn

import sparse_plugin
from sparse_plugin import Adapter, Attachment, Constraint, Penalty, Site, SparsityConfig, attach, registry
from sparse_plugin.errors import AttachmentError, ConfigError
from sparse_plugin.hosts.request import Request
from sparse_plugin.network.adapters import ADAPTERS
from sparse_plugin.registry import REGULARIZERS, owners_of_fields
from sparse_plugin.registry.base import RESERVED
from sparse_plugin.support.plugins import Plugin
from sparse_plugin.support.user_files import import_named


class Net(nn.Module):
    """Named so that no session takes it for a generator; two convolutions, the second makes the image."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        return torch.tanh(self.head(torch.relu(self.body(x))))


INPUT = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))


def trained(generator, steps=3):
    """Everything that can be seen of a run: weights, image, files and the log."""
    optimizer = torch.optim.SGD(generator.parameters(), 0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        generator(INPUT).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in generator.parameters()]), generator(INPUT).detach()


def by_config(own):
    generator = Net()
    attach(generator, SparsityConfig.from_mapping(own))
    return generator


def by_keywords(own):
    generator, own = Net(), dict(own)
    attach(generator, own.pop("regularizer"), **own)
    return generator


def by_enable(own):
    own = dict(own) if "host" in own else {"generator": "test_asked:Net", **own}
    sparse_plugin.enable(own.pop("host", None), own.pop("regularizer"), **own)
    try:
        return Net()
    finally:
        sparse_plugin.disable()


def seen(door, own, folder, caplog):
    """What a run with these settings shows; ConfigError where they are refused."""
    caplog.clear()
    weights, image = trained(door({key: value for key, value in own.items() if value is not None}))
    files = {str(f.relative_to(folder)): len(f.read_text().splitlines()) for f in folder.rglob("sparsity*.jsonl")}
    files = {name.split("/")[0].partition("sparse_runs")[0] or "by time": lines for name, lines in files.items()}
    for file in folder.rglob("sparsity*.jsonl"):
        file.unlink()
    said = [r.getMessage() for r in caplog.records]
    return [x.numpy().tobytes() for x in (weights, image)], files, [s for s in said if "times before one step" not in s]


L1, L0 = {"regularizer": "l1", "weight": 0.5}, {"regularizer": "l0_inf", "k": 3}
# By field: settings to begin with, those that differ in this field alone, and which doors take it.
DOORS = {"config": by_config, "keywords": by_keywords, "enable": by_enable}
EVERY = ("config", "keywords", "enable")
FIELDS = {
    "regularizer": [(L0, {**L0, "regularizer": "l0"}, EVERY)],
    "settings": [
        (L0, {**L0, "k": 2}, EVERY),
        (L1, {**L1, "weight": 0.25}, EVERY),
        (L1, {**L1, "reduction": "sum"}, EVERY),
    ],
    "enabled": [
        (L0, {**L0, "enabled": False}, ("config", "enable")),
        (L1, {**L1, "enabled": False}, ("config", "enable")),
    ],
    "host": [(L0, {**L0, "host": "mimicry"}, EVERY)],
    "generator": [(L0, {**L0, "generator": "elsewhere:Other"}, EVERY)],
    "role": [(L0, {**L0, "role": "discriminator"}, EVERY)],
    "discriminator": [(L0, {**L0, "discriminator": "elsewhere:Other"}, EVERY)],
    "beside": [(L0, {**L0, "beside": {"role": "discriminator", "regularizer": "l1"}}, ("config", "keywords"))],
    "sites": [(L0, {**L0, "sites": ["body:output"]}, EVERY)],
    "adapter": [(L0, {**L0, "adapter": "of_the_body"}, EVERY)],
    "delivery": [(L1, {**L1, "delivery": "loss"}, EVERY), (L0, {**L0, "delivery": "loss"}, EVERY)],
    "accumulation": [(L1, {**L1, "accumulation": 2}, EVERY), (L0, {**L0, "accumulation": 2}, EVERY)],
    "measure_every": [
        ({**L0, "run_dir": "here"}, {**L0, "run_dir": "here", "measure_every": 2}, EVERY),
        (L0, {**L0, "measure_every": 2}, EVERY),
    ],
    "run_dir": [(L0, {**L0, "run_dir": "here"}, EVERY)],
    "log": [
        ({**L0, "run_dir": "here"}, {**L0, "run_dir": "here", "log": ["jsonl", "tensorboard"]}, EVERY),
        (L0, {**L0, "log": "tensorboard"}, EVERY),
        (L0, {**L0, "log": ["jsonl", "tensorboard"]}, EVERY),
        ({**L0, "run_dir": "here"}, {**L0, "run_dir": "here", "log": ["tensorboard"]}, EVERY),
    ],
    "imports": [(L0, {**L0, "regularizer": "half", "imports": ["half.py"]}, ("config", "enable"))],
}
ROWS = [(field, i, door) for field, rows in FIELDS.items() for i, row in enumerate(rows) for door in row[2]]


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    ADAPTERS.register("of_the_body", Adapter("of_the_body", {"Net": "body:output"}), __file__)
    monkeypatch.setattr(Adapter, "matches", lambda self, generator: False)  # by name only
    (tmp_path / "half.py").write_text(
        "import sparse_plugin\n@sparse_plugin.register('half')\nclass Half(sparse_plugin.Constraint):\n"
        "    k: int\n    def project(self, gamma):\n        return gamma / 2\n"
    )
    yield tmp_path
    ADAPTERS.unregister("of_the_body")
    REGULARIZERS.unregister("half")
    sys.modules.pop("sparse_plugin_user_half", None)


def test_every_setting_has_a_row():
    assert FIELDS.keys() == SparsityConfig.model_fields.keys()
    asked = set(inspect.signature(attach).parameters) | set(inspect.signature(sparse_plugin.enable).parameters)
    assert FIELDS.keys() | asked == RESERVED, "a regularizer's field may not be called like any of these"
    keywords = {name for name, parameter in inspect.signature(attach).parameters.items() if parameter.kind == 3}
    taken = {field for field, rows in FIELDS.items() if "keywords" in rows[0][2]}
    assert keywords <= taken | {"example_input"}


@pytest.mark.parametrize(("field", "row", "door"), ROWS, ids=[f"{f}{i}-{d}" for f, i, d in ROWS])
def test_a_setting_has_an_effect_or_is_refused(field, row, door, place, caplog):
    before, after, _ = FIELDS[field][row]
    usual = seen(DOORS[door], before, place, caplog)
    assert usual == seen(DOORS[door], before, place, caplog)  # what differs below, differs because of the setting
    try:
        now = seen(DOORS[door], after, place, caplog)
    except sparse_plugin.SparsePluginError as error:
        assert field in str(error) or "penalty" in str(error)
    else:
        assert now != usual


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"k": 1}, "k is given beside a SparsityConfig"),
        ({"sites": ["head"]}, "sites is given beside"),
        ({"sites": "head", "delivery": "loss"}, "sites, delivery are given beside"),
        ({"adapter": "of_the_body"}, "adapter is given beside"),
        ({"accumulation": 1}, "accumulation is given beside"),
        ({"run_dir": "x"}, "run_dir is given beside"),
        ({"measure_every": 0}, "measure_every is given beside"),
        ({"log": ["jsonl"]}, "log is given beside"),
        ({"weight": None}, "weight is given beside"),
    ],
)
def test_keywords_beside_a_config_are_refused(given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        attach(Net(), SparsityConfig.from_mapping(L0), **given)


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({**L0, "delivery": "loss"}, "delivery is 'loss', which says how a penalty"),
        ({**L0, "accumulation": 4}, "accumulation is 4, which"),
        ({"regularizer": "ml_csc", "k": 3, "sites": ["head"], "accumulation": 4}, "accumulation is 4, which"),
        ({**L0, "adapter": "of_the_body", "sites": ["head"]}, "both say where Γ is"),
        ({**L0, "host": "mimicry"}, "the config's host, 'mimicry'"),
        ({**L0, "generator": "a:B"}, "the config's generator, 'a:B'"),
        ({**L0, "measure_every": 5}, "there is no run_dir"),
        ({**L0, "log": ["jsonl", "tensorboard"]}, "there is no run_dir for the JSON lines"),
        ({**L0, "log": ["tensorboard"], "run_dir": "here"}, "the place of the JSON lines, and log is"),
        ({**L0, "log": ["tensorboard"], "measure_every": 0}, "measure_every is 0, so that there is nothing to log"),
        ({**L0, "k": [3, 3]}, "lists 2 values, and this network has 1"),
    ],
)
def test_what_would_do_nothing_is_refused(own, sentence):
    for door in (by_config, by_keywords):
        if door is by_keywords and own.keys() & {"host", "generator"}:
            continue
        with pytest.raises(ConfigError, match=sentence):
            door(own)


@pytest.mark.parametrize("what", [L0, L1])
def test_disabled_is_the_run_without_it(what, caplog):
    """And everything that a script does with an attachment goes on working."""
    generator = Net()
    attachment = attach(generator, SparsityConfig.from_mapping({**what, "enabled": False}), example_input=INPUT)
    assert "is not attached to Net: its config says enabled: false" in caplog.text
    assert (attachment.enabled, attachment.sites, attachment.parameters()) == (False, (), [])
    assert str(attachment.regularizer) in repr(attachment) and "off" in repr(attachment)
    assert all(torch.equal(a, b) for a, b in zip(trained(generator), trained(Net()), strict=True))
    assert generator.state_dict().keys() == Net().state_dict().keys()
    if what is L1:
        assert float(attachment.penalty()) == 0
    for look in (lambda: attachment.measure(INPUT), lambda: attachment.log_to("x", 1), attachment.kernel):
        with pytest.raises(AttachmentError, match="is not attached"):
            look()
    attachment.detach()
    attach(generator, "l0_inf", k=2)
    with pytest.raises(AttachmentError, match="already has l0_inf"):
        attach(generator, SparsityConfig.from_mapping({**what, "enabled": False}))


def test_sites_in_order():
    generator = Net()
    attach(generator, "l0_inf", k=2, sites=Site("head"))
    assert Attachment.of(generator).sites == (Site("head"),)
    with pytest.raises(ConfigError, match="of level 2, stands at place 1"):
        attach(Net(), "l0_inf", k=2, sites=[Site("head", level=2), Site("body")])


def test_accumulated_losses_without_their_penalty_are_said(caplog):
    generator = Net()
    attachment = attach(generator, "l1", weight=0.5, delivery="loss", accumulation=2)
    optimizer = torch.optim.SGD(generator.parameters(), 0.5)
    for taken in (2, 1):
        assert not caplog.records
        for part in range(2):
            loss = generator(INPUT).mean()
            ((loss + attachment.penalty() if part < taken else loss) / 2).backward()
        optimizer.step()
    assert "the penalty was taken 1 times before one step" in caplog.text


@pytest.mark.parametrize("field", sorted(RESERVED - {"settings"}))
def test_a_field_named_like_a_key_is_refused_at_registration(field):
    kind = type("Gate", (Constraint,), {"__annotations__": {field: int}, field: 7, "__module__": __name__})
    with pytest.raises(ConfigError, match=rf"Gate has the field {field}, and a config"):
        sparse_plugin.register("gate")(kind)


@pytest.mark.filterwarnings("ignore:Field name")
@pytest.mark.parametrize("field", ["name", "settings", "holds", "copy"])
def test_a_field_that_hides_what_it_inherits_is_refused(field, monkeypatch):
    kind = type("Gate", (Penalty,), {"__annotations__": {field: str}, field: "x", "__module__": __name__})
    with pytest.raises(ConfigError, match=f"Gate has the field {field}"):
        sparse_plugin.register("gate")(kind)
    with pytest.raises(ConfigError, match=f"Gate has the field {field}"):
        REGULARIZERS.register("gate", kind, __file__)
    assert "gate" not in registry.available()
    # An installed package need not use the decorator.
    monkeypatch.setitem(REGULARIZERS._discovered(), "gate", Plugin("gate", "theirs 1.0", lambda: kind, "theirs:Gate"))
    with pytest.raises(ConfigError, match=rf"'gate' from theirs 1.0 \(entry point theirs:Gate\): Gate has the field {field}"):
        registry.get("gate")
    assert not {field} & owners_of_fields().keys()


def test_a_users_file_with_a_field_named_like_a_key_is_refused(tmp_path):
    (tmp_path / "gate.py").write_text(
        "import sparse_plugin\n@sparse_plugin.register('gate')\nclass Gate(sparse_plugin.Constraint):\n    run_dir: str = ''\n"
    )
    with pytest.raises(ConfigError, match="Gate has the field run_dir, and a config"):
        SparsityConfig.from_mapping({"regularizer": "gate", "imports": [str(tmp_path / "gate.py")]}).build()
    assert "gate" not in registry.available()


def test_what_a_host_configures_is_laid_beside_what_the_launcher_was_given():
    def configured(ours, theirs):
        request = Request(SparsityConfig.from_mapping(ours, waiting=True), None)
        request.configure(theirs, "theirs.yaml")
        return request.config

    full = configured({"measure_every": 5, "run_dir": "here"}, {**L0, "host": "msgan", "measure_every": 5})
    assert (full.said(), full.settings) == (
        {"regularizer": "l0_inf", "host": "msgan", "measure_every": 5, "run_dir": "here"},
        {"k": L0["k"]},
    )
    for ours, theirs, key in (
        ({"measure_every": 5}, {**L0, "measure_every": 6}, "measure_every: 6 and 5"),
        (L0, {**L0, "k": 7}, f"k: 7 and {L0['k']}"),
        (L0, {"regularizer": "l1", "weight": 1.0}, "regularizer: 'l1' and 'l0_inf'"),
        ({"regularizer": "l1"}, {"regularizer": "l1", "weight": 1.0}, r"settings: \{'weight': 1.0\} and \{\}"),
        ({"run_dir": "a", "host": "msgan"}, {**L0, "run_dir": "b", "host": "biggan"}, "host: 'biggan' and 'msgan'"),
    ):
        with pytest.raises(ConfigError, match=f"^theirs.yaml and the command that launched this run differ in {key}; give it"):
            configured(ours, theirs)
    with pytest.raises(ConfigError, match="^theirs.yaml: adapter 'msgan' and the sites out both say"):
        configured({"sites": ["out"]}, {**L0, "adapter": "msgan"})


def test_settings_are_changed_beside_keys_of_the_same_config():
    config = SparsityConfig.from_mapping({**L1, "host": "msgan", "sites": "out"})
    changed = config.with_settings(weight=3.0, reduction="sum")
    assert changed.settings == {**config.settings, "weight": 3.0, "reduction": "sum"} and changed.said() == config.said()


def test_a_config_says_what_is_wrong_however_it_is_made():
    with pytest.raises(ConfigError, match="no key 'k'.*stand in settings="):
        SparsityConfig(regularizer="l0_inf", k=16)
    with pytest.raises(ConfigError, match=r"sparse\.accumulation is 0"):
        SparsityConfig.from_mapping(L1).with_(accumulation=0)
    with pytest.raises(ConfigError, match="no key 'weight'"):
        SparsityConfig.from_mapping(L1).with_(weight=3)


def test_an_object_keeps_its_own_settings():
    """Nothing of it passes through a namespace that it shares with the config."""

    class Own(Constraint):
        scale: float = 1.0
        accumulation: int = 7  # no key of a config is meant: it was never registered

        def project(self, gamma):
            return gamma * self.scale

    config = SparsityConfig.of(Own(scale=0.5, accumulation=3))
    assert (config.accumulation, config.settings) == (1, {"scale": 0.5, "accumulation": 3})
    generator = Net()
    attach(generator, Own(scale=0.0, accumulation=3), example_input=INPUT)
    assert Attachment.of(generator).regularizer.accumulation == 3
    assert torch.equal(generator(INPUT), torch.tanh(generator.head.bias)[None, :, None, None].expand(2, 3, 6, 6))


def test_enable_takes_one_host_and_any_path(tmp_path):
    config = SparsityConfig.from_mapping({**L0, "host": "mimicry"})
    with pytest.raises(ConfigError, match="the host is 'studiogan', and the config names 'mimicry'"):
        sparse_plugin.enable("studiogan", config=config)
    with pytest.raises(ConfigError, match="give a file's path or a SparsityConfig"):
        sparse_plugin.enable(config={"regularizer": "l0_inf"})
    (tmp_path / "sparse.yaml").write_text("sparse: {regularizer: l0_inf, k: 2}")
    assert sparse_plugin.enable(config=tmp_path / "sparse.yaml").config.settings == {"k": 2}


def test_a_plan_waits_in_a_pickle():
    generator = nn.Sequential(nn.Conv2d(4, 3, 1), nn.Conv2d(3, 3, 3))
    attach(generator, "l0_inf", k=1)
    twin = pickle.loads(pickle.dumps(generator))
    assert Attachment.of(twin).regularizer == Attachment.of(generator).regularizer
    twin(INPUT)
    assert Attachment.of(twin).sites


def test_two_files_of_one_name_are_both_imported(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(
            f"import sparse_plugin\n@sparse_plugin.register('of_{folder}')\nclass Own(sparse_plugin.Constraint):\n    pass\n"
        )
    try:
        for folder in ("a", "b", "a", "b"):
            import_named(str(tmp_path / folder / "same.py"))
            assert registry.get(f"of_{folder}").__name__ == "Own"
    finally:
        for folder in ("a", "b"):
            REGULARIZERS.unregister(f"of_{folder}")
