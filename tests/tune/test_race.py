"""The race itself, on runs that are made up: who goes on, what is said, what is not done twice."""

import json
import math
from dataclasses import dataclass, field

import pytest

from sparse_plugin.errors import ConfigError, DivergedError
from sparse_plugin.experiments.engine import FailedRun, attempt
from sparse_plugin.runs.rundir import BusyError
from sparse_plugin.tune import race
from sparse_plugin.tune.candidates import VANILLA_CANDIDATE
from sparse_plugin.tune.target import Goal, Target
from sparse_plugin.tune.trial import SCORES, Score, Trial
from sparse_plugin.tune.tune import tune

LEVEL = {"site": "out", "level": 1, "sparsity": 50.0, "atom_usage": [0.5] * 64, "needle_density": [[0.1, 0.9], [0.4, 0.5]]}
SEED = [0.0, 3.0, -2.0, 1.0, 4.0, -1.0, 2.0, -3.0, 0.5, 1.5]


@dataclass(frozen=True)
class MadeUp(Trial):
    target: object = field(hash=False)

    @property
    def protocol(self):
        return "made up"

    def scored(self, title, say):
        self.target.done.append((self.candidate.label, self.seed, self.share))
        value = self.target.value(self.candidate, self.seed, self.share)
        return Score(self.share, value, self.protocol, None, [LEVEL])


class Runs(Target):
    """value: by label, seed and share."""

    def __init__(self, value, lower=True, stops=True, steps=1000, ratio=True):
        super().__init__("made up", Goal("FD", lower, ratio), steps=steps, stops=stops)
        self.value, self.done = (lambda candidate, seed, share: value(candidate.label, seed, share)), []

    def identity(self):
        return {"target": "made up", "steps": self.steps}

    def trial(self, candidate, seed, share, out):
        return MadeUp(candidate, seed, share, out, self)

    def command(self, out, config):
        return f"train --config {config}"


def lower_is(gains):
    """Values that fall with the share; of each label some per cent off vanilla's."""
    return lambda label, seed, share: (100 + SEED[seed] + 50 * (1 - share)) * (1 + gains.get(label, 0.02))


GAINS = {"vanilla": 0, "l0_inf-k=0.25": -0.1, "l0_inf-k=0.375": -0.05, "l1-weight=10.0": 0.05}
ASKED = {"methods": ["l0_inf", "l1"], "sites": ["d1"]}


def test_the_best_wins_and_the_others_are_given_up(tmp_path):
    target = Runs(lower_is(GAINS))
    said, code = tune(target, tmp_path / "out", budget="0.5", seeds=2, **ASKED)
    assert code == 0 and "\n  1  l0_inf-k=0.25 " in said and "train with: train --config" in said
    found = json.loads((tmp_path / "out/ranking.json").read_text())
    assert found["chosen"] == "l0_inf-k=0.25"
    assert found["whole_runs"] <= 7 < len(found["standings"]) * 2
    spent = {}
    for label, seed, share in target.done:
        spent[label, seed] = max(share, spent.get((label, seed), 0))
    assert sum(spent.values()) == pytest.approx(found["whole_runs"])
    assert spent["vanilla", 0] == spent["vanilla", 1] == 1 and spent["l1-weight=1.0", 0] < 1
    best = found["standings"][0]["change"]
    assert best["mean"] == pytest.approx(-10, abs=0.01) and best["pairs"] == 2 and best["verdict"] == "not told apart"
    assert "2 pairs cannot tell any of 6 candidates apart" in said
    assert "k: 0.25" in (tmp_path / "out/sparse.yaml").read_text()


def test_with_enough_pairs_better_is_said(tmp_path):
    def value(label, seed, share):
        return lower_is(GAINS)(label, seed, share) * (1 + 0.001 * ((3 * seed) % 5))

    said, _ = tune(Runs(value), tmp_path / "out", budget="1", seeds=10, methods=["l0_inf:k=0.25"], sites=["d1"])
    assert "l0_inf-k=0.25 is better than vanilla, difference -10.0 %" in said and "cannot tell" not in said


@pytest.mark.parametrize("stops", [True, False])
def test_seeds_that_come_to_the_same_are_one(tmp_path, stops):
    """As of a trainer that does not take its seed: eight pairs of one and the same run prove nothing."""
    same = Runs(lambda label, seed, share: 90.0 if label == "l0_inf-k=0.25" else 100.0, stops=stops)
    said, _ = tune(same, tmp_path / "out", budget="1", seeds=8, methods=["l0_inf:k=0.25"], sites=["d1"])
    assert "difference -10.0 % (no interval, of one pair, p 1)" in said and "better" not in said.partition("\n\n")[2].partition("note")[0]
    assert "note: all 8 seeds came to the same numbers, so that their pairs count as one: see that the trainer takes its seed" in said
    (standing,) = json.loads((tmp_path / "out/ranking.json").read_text())["standings"]
    assert (standing["change"]["pairs"], standing["change"]["low"], standing["change"]["high"]) == (1, None, None)
    coarse = Runs(lambda label, seed, share: 100.0 if label == "vanilla" else 90.0 - (seed == 3), stops=stops)
    said, _ = tune(coarse, tmp_path / "coarse", budget="1", seeds=8, methods=["l0_inf:k=0.25"], sites=["d1"])
    assert "is better than vanilla" in said and "came to the same" not in said


def test_nothing_helps(tmp_path):
    target = Runs(lower_is({"vanilla": 0, "l0_inf-k=0.25": 0.01}))
    said, code = tune(target, tmp_path / "out", budget="0.6", seeds=2, **ASKED)
    assert code == 0
    assert "No regularizer helps here: the best, l0_inf-k=0.25, is no better than vanilla, difference +1.0 %" in said
    assert "95 % interval" in said
    assert "enabled: false" in (tmp_path / "out/sparse.yaml").read_text()
    page = (tmp_path / "out/page.html").read_text()
    assert "No regularizer helps here" in page and "<script" not in page and "http" not in page


def test_where_higher_is_better_the_highest_wins(tmp_path):
    said, _ = tune(Runs(lower_is(GAINS), lower=False), tmp_path / "out", budget="1", seeds=2, **ASKED)
    assert "\n  1  l1-weight=10.0 " in said


def test_values_that_are_not_above_zero_are_compared_in_their_own_unit(tmp_path):
    target = Runs(lambda label, seed, share: -1.0 - (label == "l0_inf-k=0.25") + 0.1 * seed)
    said, _ = tune(target, tmp_path / "out", budget="1", seeds=2, **ASKED)
    assert "difference -1.0 (95 % interval" in said


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("when", [0, 1, 5, 8])
def test_a_race_that_was_killed_goes_on(tmp_path, stops, when):
    whole = Runs(lower_is(GAINS), stops=stops)
    tune(whole, tmp_path / "whole", budget="0.7", **ASKED)
    target = Runs(lower_is(GAINS), stops=stops)
    value = target.value

    def dies(*args):
        if len(target.done) > when:
            raise KeyboardInterrupt
        return value(*args)

    target.value = dies
    with pytest.raises(KeyboardInterrupt):
        tune(target, tmp_path / "out", budget="0.7", **ASKED)
    cut = target.done.pop()  # which has to be done again: it left no score
    target.value = value
    tune(target, tmp_path / "out", budget="0.7", **ASKED)
    assert target.done == whole.done and cut in target.done
    assert (tmp_path / "out/ranking.json").read_text() == (tmp_path / "whole/ranking.json").read_text().replace("whole/", "out/")
    tune(target, tmp_path / "out", budget="0.7", **ASKED)
    assert target.done == whole.done


def test_whole_runs_are_raced_over_seeds(tmp_path):
    target = Runs(lower_is(GAINS), stops=False, steps=None)
    tune(target, tmp_path / "out", budget="0.7", seeds=3, **ASKED)
    assert {share for _, _, share in target.done} == {1.0}
    seeds = [sum(label == which for label, _, _ in target.done) for which in ("vanilla", "l0_inf-k=0.25", "l1-weight=1.0")]
    assert seeds[:2] == [3, 3] and seeds[2] < 3


@pytest.mark.parametrize("error", [FailedRun("it fell over"), DivergedError("a loss is NaN")])
def test_a_candidate_that_fails_is_told_at_the_end(tmp_path, error):
    value = lower_is(GAINS)

    def failing(label, seed, share):
        if label == "l0_inf-k=0.25" and seed == 1:
            raise error
        return value(label, seed, share)

    said, code = tune(Runs(failing), tmp_path / "out", budget="0.8", **ASKED)
    assert code == 1 and f"note: l0_inf-k=0.25 failed: {error}" in said and "\n  1  l0_inf-k=0.375 " in said
    assert str(error) in (tmp_path / "out/page.html").read_text()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_no_number(tmp_path, bad):
    value = lower_is(GAINS)
    said, code = tune(
        Runs(lambda label, seed, share: bad if label == "l1-weight=1.0" else value(label, seed, share)), tmp_path / "out", budget="1", **ASKED
    )
    assert code == 1 and f"its score is {bad}, which is no number to compare" in said
    with pytest.raises(FailedRun, match="vanilla cannot be compared with: vanilla, seed 0.*which is no number") as told:
        tune(Runs(lambda *_: bad), tmp_path / "other", budget="1", **ASKED)
    assert told.value.exit_code == 1


def test_all_fail(tmp_path):
    def failing(label, seed, share):
        if label != "vanilla":
            raise FailedRun("no")
        return 1.0

    said, code = tune(Runs(failing), tmp_path / "out", budget="1", **ASKED)
    assert code == 1 and "all of them failed" in said and not (tmp_path / "out/sparse.yaml").exists()


def test_another_race_in_one_directory_is_refused(tmp_path):
    tune(Runs(lower_is(GAINS)), tmp_path / "out", budget="1", **ASKED)
    with pytest.raises(ConfigError, match="holds another race: steps is 1000 there and 500 here"):
        tune(Runs(lower_is(GAINS), steps=500), tmp_path / "out", budget="1", **ASKED)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").touch()
    with pytest.raises(ConfigError, match="is there and holds no race"):
        tune(Runs(lower_is(GAINS)), tmp_path / "full", budget="1", **ASKED)


def test_more_seeds_and_methods_go_on_from_what_is_there(tmp_path):
    target = Runs(lower_is(GAINS))
    tune(target, tmp_path / "out", budget="1", seeds=2, methods=["l0_inf"], sites=["d1"])
    before = list(target.done)
    tune(target, tmp_path / "out", budget="1", seeds=3, methods=["l0_inf", "l1"], sites=["d1"])
    assert len(set(target.done)) == len(target.done) == 3 * 7 and target.done[: len(before)] == before


def test_other_rungs_are_refused_and_whole_runs_go_on(tmp_path):
    target = Runs(lower_is(GAINS))
    tune(target, tmp_path / "out", budget="0.5", **ASKED)
    before = len(target.done)
    with pytest.raises(ConfigError, match=r"holds a race with rungs at [\d., ]+ % of a run, and one at"):
        tune(target, tmp_path / "out", budget="0.7", **ASKED)
    assert len(target.done) == before
    tune(target, tmp_path / "out", budget="1", **ASKED)
    whole = {(label, seed) for label, seed, share in target.done if share == 1}
    assert len(whole) == 14 and len(set(target.done)) == len(target.done)


def test_a_run_at_which_another_process_is_at_work_is_waited_for(tmp_path, monkeypatch):
    target = Runs(lower_is(GAINS))
    monkeypatch.setattr(race, "PATIENCE", 0.0)
    taken = []

    def engine(runs, done):
        for run in runs:
            if run.candidate is VANILLA_CANDIDATE and run.seed == 1 and len(taken) < 2:
                taken.append(run)
                monkeypatch.setattr(MadeUp, "perform", busy)
                yield attempt(run, "", lambda text: None)
                monkeypatch.undo()
                monkeypatch.setattr(race, "PATIENCE", 0.0)
            else:
                yield attempt(run, "", lambda text: None)

    def busy(self, title, say):
        raise BusyError("taken")

    _, code = tune(target, tmp_path / "out", budget="1", engine=engine, **ASKED)
    assert code == 0 and len(taken) == 2 and len(target.done) == 14


def test_a_line_that_is_none_and_scores_of_another_protocol_are_left(tmp_path):
    target = Runs(lower_is(GAINS))
    trial = target.trial(VANILLA_CANDIDATE, 0, 1.0, tmp_path)
    trial.directory.mkdir(parents=True)
    good = {"share": 1.0, "value": 3.0, "protocol": "made up"}
    lines = ['{"share": 1.0}', json.dumps({**good, "protocol": "other"}), "half a li", json.dumps({**good, "value": float("nan")})]
    (trial.directory / SCORES).write_text("\n".join(lines))
    assert trial.collect() is None and trial.state() == "not begun"
    (trial.directory / SCORES).write_text("\n".join([*lines, json.dumps(good)]))
    assert trial.collect().value == 3.0 and trial.state() == "finished"


def test_levels_that_come_to_one_k_are_raced_once(tmp_path):
    target = Runs(lambda label, seed, share: 1.0)
    said, _ = tune(target, tmp_path / "out", budget="1", methods=["l0_inf"], shares=[0.01, 0.02, 0.5], sites=["d1"])
    assert {label for label, _, _ in target.done} == {"vanilla", "l0_inf-k=0.0157", "l0_inf-k=0.25"}
    assert "2 candidates and vanilla, 2 seeds; 6 whole runs of 6" in said


def test_torchrun_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="a race does not run under torchrun"):
        tune(Runs(lower_is(GAINS)), tmp_path / "out", **ASKED)


def test_dry_run(tmp_path):
    target = Runs(lower_is(GAINS))
    said, _ = tune(target, tmp_path / "out", budget="0.5", dry_run=True, **ASKED)
    assert "6 candidates and vanilla, 2 seeds" in said and "rung 1: 6 candidates" in said
    assert not target.done and not (tmp_path / "out").exists()


def test_sites_that_cannot_be_raced(tmp_path):
    for sites, why in ((["auto", "a"], "names auto beside others"), (["a"], "further sites here are none whose k could be matched")):
        with pytest.raises(ConfigError, match=why):
            tune(Runs(lower_is(GAINS)), tmp_path / "out", budget="1", methods=["l0"], sites=sites)
