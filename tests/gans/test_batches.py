"""Batches: every epoch another permutation, pixels as a recipe says."""

from types import SimpleNamespace

import torch
from gan_runs import dataset

from sparse_plugin.gans import recipe
from sparse_plugin.gans.batches import Batches


def batches(n=23, batch=4, shards=2, seed=0, arch="cgan", data=None):
    return Batches(data or dataset(n), recipe(arch), batch, shards, seed, torch.device("cpu"))


def test_each_epoch_is_another_permutation_and_parts_do_not_overlap():
    data = SimpleNamespace(images=torch.zeros(23, 3, 32, 32, dtype=torch.uint8), labels=torch.arange(23))
    made = batches(data=data)
    epochs = [[made.get(e * 5 + b, shard).labels.tolist() for b in range(5) for shard in range(2)] for e in range(3)]
    flat = [[label for part in parts for label in part] for parts in epochs]
    assert all(len(set(seen)) == 20 for seen in flat) and flat[0] != flat[1] != flat[2]
    assert set(flat[0] + flat[1] + flat[2]) == set(range(23))  # what one epoch leaves out, another has
    again = batches(data=data)
    assert [again.get(12, 1).labels.tolist(), again.get(3, 0).labels.tolist()] == [epochs[2][5], epochs[0][6]]
    assert batches(data=data, seed=1).get(0, 0).labels.tolist() != epochs[0][0]
    assert batches(data=data, shards=1).get(0, 0).labels.tolist() == epochs[0][0] + epochs[0][1]


def test_pixels_are_scaled_and_flipped_as_the_recipe_says():
    images = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    images[..., 0] = 255
    data = SimpleNamespace(images=images, labels=torch.zeros(8, dtype=torch.int64))
    for arch, low in (("dcgan", -1), ("ssgan", 0)):
        pixels = batches(data=data, shards=1, batch=8, arch=arch).get(0, 0).images
        assert pixels[..., 0].unique().tolist() == [1.0] and pixels[..., 1:].unique().tolist() == [low]
    torch.manual_seed(0)
    pixels = batches(data=data, shards=1, batch=8, arch="diffcrbiggan").get(0, 0).images
    assert 0 < (pixels[:, 0, 0, 0] == 1).sum() < 8
    assert batches(data=data, shards=1, batch=8, arch="dcgan").get(0, 0).labels is None
