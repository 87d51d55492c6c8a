"""`k: auto` at work: what is measured, chosen, and travels."""

import copy

import pytest
import torch
from generators import Domains, Plain, Residual, noise
from scheduled import QUICK, attached, average, dense, kept, train

import sparse_plugin
from sparse_plugin.attachment.events import chosen
from sparse_plugin.attachment.training_step import TrainingStep
from sparse_plugin.measurements.log import FILE, read


class TestAuto:
    def test_half_of_what_is_there_by_itself(self, tmp_path, caplog):
        torch.manual_seed(0)
        generator = Residual()
        handle = sparse_plugin.attach(generator, "l0_inf", k=QUICK, example_input=noise(), run_dir=tmp_path, measure_every=1)
        told = []
        end = chosen.subscribe(lambda hook: told.append(hook.site.path))
        other = copy.deepcopy(generator)
        natural = []
        for step in range(9):
            if step == 0:
                optimizer = torch.optim.SGD(generator.parameters(), 1e-3)
            train(generator, 1, optimizer)
        end()
        lines = list(read(tmp_path / FILE))
        natural = sum(line["sparsity_before"] for line in lines[:4]) / 400
        assert [line["k"] for line in lines[:5]] == [1.0] * 5
        assert lines[5]["k"] == pytest.approx((1 + natural / 2) / 2, rel=1e-4)
        assert [line["k"] for line in lines[6:]] == pytest.approx([natural / 2] * 3, rel=1e-4)
        assert told == ["out"] and f"by itself {100 * natural:.1f} % non-zeros" in caplog.text
        del other, handle

    def test_what_was_chosen_travels(self):
        torch.manual_seed(0)
        generator = Residual()
        sparse_plugin.attach(generator, "l0_inf", k=QUICK, example_input=noise())
        ema = copy.deepcopy(generator)
        train(generator, 9, then=lambda: average(ema, generator))
        sampled = Residual()
        sparse_plugin.attach(sampled, "l0_inf", k=QUICK, example_input=noise())
        sampled.load_state_dict(generator.state_dict())
        ks = {net: sparse_plugin.Attachment.of(net).measure(noise())[0].settings["k"] for net in (generator, ema, sampled)}
        assert len(set(ks.values())) == 1 and 0.1 < ks[generator] < 0.5

    def test_a_copy_that_is_trained_itself_measures_its_own(self, caplog):
        torch.manual_seed(0)
        generator = Residual()
        sparse_plugin.attach(generator, "l0_inf", k=QUICK, example_input=noise())
        twin = copy.deepcopy(generator)
        train(twin, 6)
        ks = [sparse_plugin.Attachment.of(net).measure(noise())[0].settings["k"] for net in (generator, twin)]
        assert ks[0] == 1.0 and 0.1 < ks[1] < 0.5 and "dense by nature" not in caplog.text

    def test_dense_by_nature(self, caplog):
        generator, handle = attached(k=QUICK)
        train(generator, 8)
        assert handle.measure(noise())[0].settings["k"] == 0.25
        assert "so dense by nature that a share of it says nothing: k goes to the default, 0.25," in caplog.text

    def test_without_training_all_is_kept(self):
        generator, handle = attached(k="auto")
        assert kept(generator) == 8 and handle.measure(noise())[0].settings["k"] == 1.0

    @pytest.mark.parametrize("name", ["l0", "l0_inf", "l0_channel", "l0_batch", "ml_csc"])
    def test_every_regularizer_with_a_k(self, name):
        if name not in sparse_plugin.registry.available():
            pytest.skip("not there yet")
        torch.manual_seed(0)
        generator = Plain()
        handle = sparse_plugin.attach(generator, name, k=QUICK, example_input=noise())
        train(generator, 8)
        (k,) = {measured.settings["k"] for measured in handle.measure(noise())}
        assert 0.1 < k < 0.6

    def test_a_gamma_of_few_non_zeros_keeps_one(self, caplog):
        generator = dense()
        generator.bn3.bias.data.fill_(-2.0)
        sparse_plugin.attach(generator, "l0_inf", k=QUICK, example_input=noise())
        train(generator, 8)
        assert 0 < float(caplog.text.partition("by itself ")[2].partition(" %")[0]) < 12.5  # half of it is less than one of 8
        assert kept(generator) == 1
        k = sparse_plugin.Attachment.of(generator).measure(noise())[0].settings["k"]
        assert type(k) is float and 0 < k < 1 / 8

    @pytest.mark.parametrize("first", [5, 9])
    def test_a_head_that_was_not_used_yet_is_measured_when_it_is(self, caplog, first):
        """Nothing is known of it after `measure` steps, and nothing is said."""
        torch.manual_seed(0)
        generator = Domains()
        sparse_plugin.attach(generator, "l0_inf", k=QUICK, sites=["a", "b"])
        optimizer = torch.optim.SGD(generator.parameters(), 1e-3)
        for step in range(12):
            optimizer.zero_grad()
            generator(noise(), step >= first).square().mean().backward()
            optimizer.step()
            assert caplog.text.count("by itself") == (step >= 3) + (step >= first)
        assert "100.0 %" not in caplog.text and "dense by nature" not in caplog.text
        assert all(0.3 < child.training_step.density < 0.7 for child in sparse_plugin.Attachment.of(generator).inserted())

    @pytest.mark.parametrize(("ours", "theirs", "density"), [([0.5], None, 0.5), ([], 0.25, 0.25), ([0.5], 0.25, 0.375), ([], None, None)])
    def test_a_process_that_counted_nothing_does_not_count(self, monkeypatch, ours, theirs, density):
        def all_reduce(tensor):
            tensor += torch.tensor([0.0, 0.0] if theirs is None else [theirs, 1.0])

        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
        step = TrainingStep()
        step._counted = [torch.tensor(value) for value in ours]
        buffer = torch.zeros(3)
        assert step.measured(buffer, torch.full((4,), -1.0)) == step.density == density
        assert buffer.tolist() == ([0.0, 0.0, 0.0] if density is None else [0.0, density, 1.0])
