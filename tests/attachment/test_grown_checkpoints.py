"""Checkpoints of generators that grew, or that are to grow, after they were attached."""

import io

import pytest
import torch
from growing import Grown, fullest, latent

import sparse_plugin
from sparse_plugin.errors import CheckpointError

K = 2


class TestCheckpoints:
    def grown(self, depth=2, **settings):
        generator = Grown()
        attachment = sparse_plugin.attach(generator, "l0_inf", **{"k": K, **settings})
        for at in range(depth + 1):
            generator(latent(), at)
        return generator, attachment

    def saved(self, generator):
        buffer = io.BytesIO()
        torch.save(generator.state_dict(), buffer)
        buffer.seek(0)
        return torch.load(buffer, weights_only=True)

    @pytest.mark.parametrize("example", [None, latent()], ids=["deferred", "known"])
    def test_of_a_grown_generator_load_into_a_fresh_one(self, example):
        trained, _ = self.grown()
        fresh = Grown()
        sparse_plugin.attach(fresh, "l0_inf", k=K, example_input=example)
        fresh.load_state_dict(self.saved(trained))
        for depth in (2, 0):
            assert fullest(fresh, lambda depth=depth: fresh(latent(), depth))[f"rgb.{depth}"] <= K

    def test_of_a_fresh_one_load_into_a_grown_one(self, caplog):
        trained, _ = self.grown()
        for fresh in (self.grown(0)[0], self.grown(-1)[0]):
            trained.load_state_dict(self.saved(fresh))
        assert "without sparse_plugin" not in caplog.text

    @pytest.mark.parametrize("depth", [-1, 0, 1])
    @pytest.mark.parametrize("other", [-1, 0, 2])
    def test_other_settings_are_refused(self, depth, other):
        theirs = self.saved(self.grown(other, k=7)[0])
        with pytest.raises(CheckpointError, match="k=7.*k=2"):
            self.grown(depth)[0].load_state_dict(theirs, strict=False)

    def test_a_plain_one_says_so(self, caplog):
        for depth in (-1, 0, 1):
            caplog.clear()
            self.grown(depth)[0].load_state_dict(Grown().state_dict())
            assert "without sparse_plugin" in caplog.text

    def test_without_the_plugin_it_is_loud(self):
        for depth in (-1, 0, 2):
            with pytest.raises(RuntimeError, match="sparse_plugin"):
                Grown().load_state_dict(self.saved(self.grown(depth)[0]))
