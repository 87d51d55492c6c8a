"""Numbers that a trainer writes."""

import json

import pytest

from sparse_plugin.errors import ConfigError
from sparse_plugin.tune.metric import InLines, InOutput, InTensorboard, MetricMissing, parse


def test_what_is_read(tmp_path):
    assert parse("FD-lite0") is None and parse("") is None
    assert parse("jsonl:logs/a.jsonl:eval.fid") == InLines("jsonl:logs/a.jsonl:eval.fid", "logs/a.jsonl", "eval.fid")
    assert parse(r"regex:FID: ([\d.]+)").pattern == r"FID: ([\d.]+)"
    assert parse("tensorboard:eval/fid:ema").tag == "eval/fid:ema"


@pytest.mark.parametrize("text", ["jsonl:", "jsonl:a.jsonl", "jsonl::fid", "regex:", "tensorboard:", "regex:("])
def test_what_cannot_be_read(text):
    with pytest.raises(ConfigError, match="--metric"):
        parse(text)


def test_json_lines(tmp_path):
    records = [{"step": 1, "fid": 30}, {"eval": {"fid": 2.5}}, {"fid": True}, {"fid": "x"}, {"fid": 20.5}, {"eval.fid": 2}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)) + '\n{"fid": 1')
    run, output = tmp_path, tmp_path / "none"
    assert parse("jsonl:a.jsonl:fid").values(run, output) == [30, 20.5]
    assert parse("jsonl:a.jsonl:eval.fid").values(run, output) == [2.5, 2]
    with pytest.raises(MetricMissing, match="no number 'kid' stands in a line of .*the keys there are eval, eval.fid, fid, step"):
        parse("jsonl:a.jsonl:kid").values(run, output)
    with pytest.raises(MetricMissing, match="b.jsonl cannot be read: No such file.*the files there are a.jsonl"):
        parse("jsonl:b.jsonl:fid").values(run, output)
    with pytest.raises(MetricMissing, match="there are no files"):
        parse("jsonl:b.jsonl:fid").values(tmp_path / "nowhere", output)


def test_a_pattern_in_the_output(tmp_path):
    output = tmp_path / "output.log"
    output.write_text("step 1 FID: 30.5\nnoise \xff\nstep 2 FID: 2e1\nFID: nan\n")
    assert str(parse(r"regex:FID: (\S+)").values(tmp_path, output)) == "[30.5, 20.0, nan]"
    assert parse(r"regex:^\d+$|(?<=step )\d").values(tmp_path, output) == [1, 2]
    with pytest.raises(MetricMissing, match="is found nowhere in"):
        parse("regex:KID: (.*)").values(tmp_path, output)
    with pytest.raises(MetricMissing, match=r"finds 'FID: 30.5'.*is no number; put the number in parentheses"):
        parse(r"regex:FID: \S+").values(tmp_path, output)
    with pytest.raises(MetricMissing, match="is found nowhere"):
        parse("regex:x").values(tmp_path, tmp_path / "nowhere")


def test_tensorboard(tmp_path):
    writer = pytest.importorskip("torch.utils.tensorboard").SummaryWriter
    with writer(tmp_path / "logs/a") as log:
        for step in (1, 2):
            log.add_scalar("fid", 30 - step, step)
    with writer(tmp_path / "logs/b") as log:  # a resumed run has a file of its own
        log.add_scalar("fid", 25, 3)
        log.add_scalar("new style", 7, 3, new_style=True)
    metric = parse("tensorboard:fid")
    assert isinstance(metric, InTensorboard) and metric.values(tmp_path, tmp_path) == [29, 28, 25]
    assert parse("tensorboard:new style").values(tmp_path, tmp_path) == [7]
    with pytest.raises(MetricMissing, match="no scalar 'kid' was written to TensorBoard below .*the scalars there are logs/a/fid, logs/b/fid, logs/b/new style"):
        parse("tensorboard:kid").values(tmp_path, tmp_path)
    with pytest.raises(MetricMissing, match="no event file of TensorBoard was written"):
        metric.values(tmp_path / "nowhere", tmp_path)
    with writer(tmp_path / "logs/a") as log:
        log.add_scalars("loss", {"g": 1.5, "d": 2.5}, 4)
    with pytest.raises(MetricMissing, match="'loss' is several scalars below .*name one: logs/a/loss_d/loss, logs/a/loss_g/loss"):
        parse("tensorboard:loss").values(tmp_path, tmp_path)
    assert parse("tensorboard:logs/a/loss_d/loss").values(tmp_path, tmp_path) == [2.5]
    assert isinstance(parse("regex:a"), InOutput)


def test_a_number_that_no_float_holds_is_none(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"fid": 2}\n{"fid": 1' + "0" * 400 + "}\n")
    assert parse("jsonl:a.jsonl:fid").values(tmp_path, tmp_path / "none") == [2]
