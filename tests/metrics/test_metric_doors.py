"""Metrics and extractors of other people: one file and an entry point, a decorator, torch-fidelity's registry."""

import json
import sys
import textwrap

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from sparse_plugin.commands.cli import cli
from sparse_plugin.data import Images
from sparse_plugin.errors import ConfigError
from sparse_plugin.metrics import Evaluator, Extractor, Metric, MetricError, Score, tables
from sparse_plugin.metrics.tables import EXTRACTORS, METRICS

torch_fidelity = pytest.importorskip("torch_fidelity")

CODE = """
    import torch
    from sparse_plugin.metrics import Extractor, Metric, Score, Weights

    class Colours(Extractor):
        dimensions, protocol = 3, "mean colours"
        def forward(self, images):
            return images.float().mean((2, 3)), None

    class Scaled(Colours):
        weights = Weights("the scales", "scales.pt of their page")
        def __init__(self, path):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.load(path, weights_only=True), requires_grad=False)
            self.protocol = f"colours by {self.scale.item()}"
        def forward(self, images):
            return self.scale * images.float().mean((2, 3)), None

    class Shift(Metric):
        title, rows, over_steps = "shift", {"shift": "lower", "spread": "higher"}, True
        def least(self, dimensions):
            return dimensions, "one image a feature"
        def prepare(self, real):
            return real.mean(0)
        def measure(self, generated, real):
            return {"shift": Score(float((generated.mean(0) - real).norm())), "spread": Score(float(generated.std()), 0.5)}
        def protocol(self, generated, real):
            return {"shift": f"of {generated} and {real} means"}
"""
ENTRIES = """
    [sparse_plugin.metrics]
    shift = their_metrics:Shift
    [sparse_plugin.extractors]
    colours = their_metrics:Colours
    scaled = their_metrics:Scaled
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package that is one module, until the end of the test."""
    before = set(sys.modules)
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_PLUGIN_INCEPTION", raising=False)
    monkeypatch.syspath_prepend(place)
    for table in (METRICS, EXTRACTORS):
        monkeypatch.setattr(table, "_local", dict(table._local))

    def installed(code=CODE, entries=ENTRIES, name="their_metrics"):
        info = place / f"{name}-4.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 4.2\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(entries))
        (place / f"{name}.py").write_text(textwrap.dedent(code))
        for table in (METRICS, EXTRACTORS):
            for attribute, value in (("_installed", None), ("_warned", set()), ("_twice", [])):
                monkeypatch.setattr(table, attribute, value)

    yield installed
    for name in set(sys.modules) - before:
        if str(place) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    made = torch.randint(256, (24, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return made[:12], Images(made[12:], None, None, "noise")


def test_a_package_adds_a_metric_and_an_extractor(install, images):
    install()
    generated, real = images
    asked = ["shift-colours", "KID-colours", "SHIFT-Colours"]
    evaluator = Evaluator(asked, kid_subset=5, device="cpu")
    assert list(evaluator.metrics) == ["shift-colours", "KID-colours"] == evaluator.over_steps
    found = evaluator.score(generated, real)
    means = [each.float().mean((2, 3)) for each in (generated, real.images)]
    assert found["shift-colours"].value == pytest.approx(float((means[0].mean(0) - means[1].mean(0)).norm()))
    assert list(found) == ["shift-colours", "spread-colours", "KID-colours"] and found["spread-colours"].deviation == 0.5
    protocol = evaluator.protocol(12, real)
    assert protocol["features colours"] == "mean colours" and protocol["shift"] == "of 12 and 12 means"
    assert protocol["arithmetic"].startswith("their_metrics 4.2, torch-fidelity 0.4")
    assert [tables.better(name) for name in ("shift-colours", "spread-colours", "FD-colours")] == ["lower", "higher", "lower"]
    assert list(Evaluator().metrics) == ["FD-lite0", "KID-lite0", "PR-lite0"]  # a package changes nothing that was not asked
    with pytest.raises(MetricError, match="shift-colours needs 3 generated images and there are 2: one image a feature; give"):
        evaluator.check(2, 12)
    with pytest.raises(ConfigError, match="there is no metric 'IS-colours'; there are FD-colours, .*KID-colours"):
        Evaluator(["IS-colours"])


def test_weights_of_an_extractor_are_given(install, images, tmp_path, monkeypatch):
    install()
    torch.save(torch.tensor(2.0), tmp_path / "scales.pt")
    with pytest.raises(
        ConfigError,
        match=r"^shift-scaled needs the scales, which are not downloaded: give their file by --weights scaled=FILE "
        r"\(scales.pt of their page\) or set SPARSE_PLUGIN_WEIGHTS_SCALED;",
    ):
        Evaluator(["shift-scaled"])
    made = Evaluator(["shift-scaled", "shift-colours"], weights={"scaled": tmp_path / "scales.pt"}, device="cpu")
    found = made.score(*images)
    assert found["shift-scaled"].value == pytest.approx(2 * found["shift-colours"].value)
    monkeypatch.setenv("SPARSE_PLUGIN_WEIGHTS_SCALED", str(tmp_path / "scales.pt"))
    assert Evaluator(["shift-scaled"], device="cpu").score(*images)["shift-scaled"] == found["shift-scaled"]
    for files, said in (
        ({"scale": "x"}, "there is no extractor 'scale'; .*Did you mean 'scaled'"),
        ({"scaled": tmp_path / "none.pt"}, "the scales cannot be read from .*none.pt: No such file"),
        ({"lite0": "x"}, "weights of lite0, x are given, and what is measured is shift-scaled; leave them out"),
    ):
        with pytest.raises(ConfigError, match=said):
            Evaluator(["shift-scaled"], weights=files, device="cpu")
    with pytest.raises(ConfigError, match="weights of colours, x, are given, and it takes none"):
        Evaluator(["shift-colours"], weights={"colours": "x"}, device="cpu")


def test_the_command_line_says_and_takes_them(install, tmp_path):
    install()
    shown = " ".join(CliRunner().invoke(cli, ["evaluate", "--help"]).output.split())
    assert "FD-colours, KID-colours, PR-colours, shift-colours, FID," in shown
    assert "[default: FID, KID, IS, PR-inception with --inception, else FD-lite0, KID-lite0, PR-lite0]" in shown
    rows = json.loads(CliRunner().invoke(cli, ["list", "--json"]).output)
    kinds = {(row["kind"], row["name"]): row["from"] for row in rows}
    assert kinds["metric", "shift"] == kinds["extractor", "colours"] == "their_metrics 4.2"
    assert kinds["metric", "frechet"].startswith("sparse-plugin")
    torch.save(torch.tensor(2.0), tmp_path / "s.pt")
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (8, 8), (40 * i, 0, 9)).save(folder / f"{i}.png")
    call = ["evaluate", str(folder), "--data", str(folder), "--metric", "shift-scaled", "--device", "cpu"]
    done = CliRunner().invoke(cli, [*call, "--weights", f"scaled={tmp_path / 's.pt'}", "--json"])
    assert done.exit_code == 0 and json.loads(done.output)["scores"]["shift-scaled"]["value"] == 0
    for text in ("scaled", "=x", "scaled="):
        assert "write it as NAME=FILE" in CliRunner().invoke(cli, [*call, "--weights", text]).output


def test_broken_ones_concern_who_asks_for_them(install, images, caplog):
    install("1 / 0")
    assert list(Evaluator(["KID-lite0"]).metrics) == ["KID-lite0"]
    said = [record.getMessage() for record in caplog.records]
    assert said == ["metric 'shift' from their_metrics 4.2 (entry point their_metrics:Shift) does not import: ZeroDivisionError: division by zero; it is left out"]
    with pytest.raises(ConfigError, match="extractor 'colours' from their_metrics 4.2 .* does not import: ZeroDivisionError"):
        Evaluator(["KID-colours"])


def test_two_metrics_of_one_title(install, caplog):
    install(CODE.replace('title, rows, over_steps = "shift"', 'title, rows, over_steps = "KID"'))
    assert tables.named(["KID-lite0"])["KID-lite0"].plugin == "kernel"
    assert "metric 'shift' from their_metrics 4.2 (entry point their_metrics:Shift) is called KID-" in caplog.text


def test_decorators(install, images):
    @tables.register_extractor("corner")
    class Corner(Extractor):
        dimensions, protocol = 3, "one pixel"

        def forward(self, images):
            return images[:, :, 0, 0].float(), None

    @tables.register_metric("logit")
    class Logit(Metric):
        title, rows, of_logits = "logit", {"logit": "higher"}, True

        def measure(self, generated, real):
            return {"logit": Score(1.0)}

    with pytest.raises(MetricError, match="logit-corner is of logits, and corner has none; ask for other metrics"):
        Evaluator(["logit-corner"], device="cpu").score(*images)
    made = Evaluator(["KID-corner"], kid_subset=4, device="cpu")
    assert "torch-fidelity" in made.protocol(12, images[1])["arithmetic"] and made.score(*images)["KID-corner"].deviation
    Corner.dimensions = 4
    with pytest.raises(ConfigError, match=r"Corner makes features \(12, 3\) of 12 images, and its class says 4 dimensions"):
        Evaluator(["KID-corner"], kid_subset=4, device="cpu", cache=None).score(*images)
    for cls in (object, type("Untitled", (Metric,), {"rows": {}}), 3):
        with pytest.raises(ConfigError, match="cannot be registered as 'x': it must be a class derived from Metric"):
            tables.register_metric("x")(cls)


class Theirs(torch_fidelity.FeatureExtractorBase):
    """As torch-fidelity's page on extending it has one."""

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)
        self.layer = nn.Identity()

    @staticmethod
    def get_provided_features_list():
        return ("mean",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "mean"

    def forward(self, x):
        return (x.float().mean((2, 3)),)


def test_what_is_registered_in_torch_fidelity(install, images, monkeypatch):
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "their-mean", Theirs)
    made = Evaluator(["fd-THEIR-mean", "KID-their-mean"], kid_subset=4, device="cpu")
    theirs = torch_fidelity.calculate_metrics(
        input1=_Set(images[0]), input2=_Set(images[1].images), kid=True, fid=True, feature_extractor="their-mean", kid_subset_size=4,
        batch_size=12, cuda=False, cache=False, verbose=False,
    )  # fmt: skip
    found = made.score(*images)
    assert found["FD-their-mean"].value == theirs["frechet_inception_distance"]
    assert found["KID-their-mean"].value == theirs["kernel_inception_distance_mean"]
    assert made.protocol(12, images[1])["features their-mean"].startswith("their-mean by torch-fidelity 0.4")


class _Set(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


def test_clip_takes_its_file_alone(install, tmp_path, monkeypatch):
    (tmp_path / "x.pt").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"FD-clip-vit-b-32 needs the weights, which .* by --weights clip-vit-b-32=FILE \(ViT-B-32.pt of OpenAI's CLIP\) or set SPARSE_PLUGIN_WEIGHTS_CLIP_VIT_B_32"):
        Evaluator(["FD-clip-vit-b-32"])
    with pytest.raises(ConfigError, match="x.pt is not the weights of clip-vit-b-32: its SHA-256 starts with 2d711642, theirs with 40d36571"):
        Evaluator(["FD-clip-vit-b-32"], weights={"clip-vit-b-32": tmp_path / "x.pt"})


class _Clip(nn.Module):
    """What OpenAI's archives hold, small: the entries of a vision transformer and those that torch-fidelity leaves out."""

    def __init__(self):
        super().__init__()
        from torch_fidelity.feature_extractor_clip import CLIPVisual

        self.visual = CLIPVisual(6, 32, 2, 64, 16).visual
        self.text_projection = nn.Parameter(torch.zeros(4, 6))
        self.ln_final = nn.LayerNorm(4)

    def forward(self, x):
        return x


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:FutureWarning")
def test_clip_with_weights_of_its_form(install, images, tmp_path, monkeypatch):
    import hashlib

    from torch_fidelity import feature_extractor_clip as module

    torch.manual_seed(0)
    path = tmp_path / "clip.pt"
    torch.jit.trace(_Clip(), torch.zeros(1)).save(path)
    metadata = {"clip-vit-b-32": {"hash": hashlib.sha256(path.read_bytes()).hexdigest(), "filename": "ViT-B-32"}}
    monkeypatch.setattr(module, "MODEL_METADATA", metadata)
    made = Evaluator(["KID-clip-vit-b-32"], weights={"clip-vit-b-32": path}, kid_subset=4, device="cpu")
    extractor = made.extractors["clip-vit-b-32"]
    assert extractor.dimensions == 6 and "6 features of its layer clip" in extractor.protocol
    theirs = module.FeatureExtractorCLIP("clip-vit-b-32", ["clip"], feature_extractor_weights_path=str(path))(images[0])[0]
    with torch.no_grad():
        assert extractor(images[0])[0].equal(theirs) and theirs.std() > 0


@pytest.mark.parametrize("gated", [False, True])
def test_dinov2_with_weights_of_its_form(install, images, tmp_path, monkeypatch, gated):
    """Against the formulas of facebookresearch/dinov2, spelt out here, on a small network of the family."""
    import torch.nn.functional as F

    from sparse_plugin.metrics import dinov2

    small = dinov2.Size("dinov2_vits14_pretrain.pth", 128, 2, gated)
    monkeypatch.setitem(dinov2.NAMES, "dinov2-vit-s-14", small)
    torch.manual_seed(0)
    w = {key: 0.3 * torch.randn_like(value) for key, value in dinov2.VisionTransformer(small).state_dict().items()}
    path = tmp_path / small.file
    torch.save(w, path)
    made = Evaluator(["KID-dinov2-vit-s-14"], weights={"dinov2-vit-s-14": path}, kid_subset=4, device="cpu")
    extractor = made.extractors["dinov2-vit-s-14"]
    pixels = torch.randn(2, 3, 224, 224)
    x = F.conv2d(pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=14).flatten(2).transpose(1, 2)
    table = w["pos_embed"][:, 1:].reshape(1, 37, 37, 128).permute(0, 3, 1, 2)
    table = F.interpolate(table, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 256, 128)
    x = torch.cat([w["cls_token"].expand(2, -1, -1), x], 1) + torch.cat([w["pos_embed"][:, :1], table], 1)
    norm = lambda x, name: F.layer_norm(x, (128,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)  # noqa: E731
    line = lambda x, name: F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])  # noqa: E731
    for i in range(2):
        qkv = line(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").reshape(2, 257, 3, 2, 64).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in qkv)
        heads = (q @ k.transpose(2, 3) / 8).softmax(-1) @ v
        x = x + w[f"blocks.{i}.ls1.gamma"] * line(heads.transpose(1, 2).reshape(2, 257, 128), f"blocks.{i}.attn.proj")
        y = norm(x, f"blocks.{i}.norm2")
        if gated:
            one, two = line(y, f"blocks.{i}.mlp.w12").chunk(2, -1)
            y = line(F.silu(one) * two, f"blocks.{i}.mlp.w3")
        else:
            y = line(F.gelu(line(y, f"blocks.{i}.mlp.fc1")), f"blocks.{i}.mlp.fc2")
        x = x + w[f"blocks.{i}.ls2.gamma"] * y
    with torch.no_grad():
        torch.testing.assert_close(extractor.network.model(pixels), norm(x, "norm")[:, 0], rtol=1e-3, atol=1e-3)
        assert extractor(images[0][:2])[0].shape == (2, extractor.dimensions) == (2, 128)
    torch.save({**w, "norm.weight": torch.zeros(3)}, path)
    with pytest.raises(ConfigError, match=r"cannot be used as the weights of dinov2-vit-s-14: .*; give dinov2_vits14_pretrain.pth of DINOv2"):
        Evaluator(["KID-dinov2-vit-s-14"], weights={"dinov2-vit-s-14": path}, device="cpu")


def test_weights_that_would_run_something_are_not_loaded(install, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"x": Evil()}, tmp_path / "w.pth")
    for name in ("vgg16", "dinov2-vit-b-14"):
        with pytest.raises(ConfigError, match="w.pth cannot be used as the weights of"):
            Evaluator([f"FD-{name}"], weights={name: tmp_path / "w.pth"}, device="cpu")
    assert not (tmp_path / "ran").exists()
