"""Schedules at work: everything that stands for a step of training projects with the k of that step."""

import copy
import io
import pickle

import pytest
import torch
from generators import Residual, noise
from scheduled import LINEAR, attached, average, dense, kept, train

import sparse_plugin
from sparse_plugin.attachment.child import SCHEDULE, strip
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.measurements.log import FILE, read


def test_every_step_has_its_k():
    generator, _ = attached()
    seen, optimizer = [kept(generator)], None
    for _ in range(5):
        optimizer = train(generator, 1, optimizer)
        seen.append(kept(generator))
    assert seen == [8, 6, 4, 2, 2, 2]


@pytest.mark.parametrize("name", ["l0", "l0_inf", "ml_csc"])
def test_before_it_binds_nothing_is_other_than_without(name):
    late = {"points": [[4, 1.0], [5, 0.25]]}
    generator, _ = attached(name, k=late) if name != "ml_csc" else attached(name, k=late, levels=2)
    other = dense()
    if name == "ml_csc":  # whose dictionaries are trained from the first step on
        sparse_plugin.attach(other, name, k=1.0, levels=2, example_input=noise())
    for net in (generator, other):
        train(net, 4)
    ours, theirs = dict(generator.named_parameters()), dict(other.named_parameters())
    assert all(torch.equal(p, ours[name]) for name, p in theirs.items())
    for net in (generator, other):
        train(net, 2)
    assert not all(torch.equal(p, ours[name]) for name, p in theirs.items())


@pytest.mark.parametrize("buffers", [None, "copied", "averaged"])
@pytest.mark.parametrize("built", ["copied", "anew"])
def test_an_average_stands_where_it_has_followed_to(buffers, built):
    generator, _ = attached()
    if built == "copied":
        ema = copy.deepcopy(generator)
    else:  # and loaded with the generator's weights, as BigGAN's is
        ema, _ = attached()
        ema.load_state_dict(generator.state_dict())
    optimizer = train(generator, 2)
    assert kept(ema) == 8  # its weights are still those of the first step
    for _ in range(6):
        average(ema, generator, buffers)
    assert kept(ema) == 4
    train(generator, 6, optimizer, lambda: average(ema, generator, buffers))
    assert kept(ema) == 2
    again, _ = attached()
    again.load_state_dict(ema.state_dict())
    assert kept(again) == 2


def test_averages_of_two_generators_of_one_kind(caplog):
    """As of a CycleGAN's, built on their own: each follows the one whose weights it has."""
    both = []
    for seed in range(2):
        generator, ema = dense(seed=seed), dense(seed=seed + 2)
        for net in (generator, ema):
            sparse_plugin.attach(net, "l0_inf", k=LINEAR, example_input=noise())
        ema.load_state_dict(generator.state_dict())
        both.append((generator, ema))
    for steps, (generator, ema) in zip((1, 3), both, strict=True):
        train(generator, steps, then=lambda generator=generator, ema=ema: average(ema, generator))
    assert [(kept(generator), kept(ema)) for generator, ema in both] == [(6, 6), (2, 2)] and "cannot be told" not in caplog.text
    one, other, ema = (attached()[0] for _ in range(3))  # of the same weights
    for net in (one, other):
        train(net, 2)
    average(ema, one)
    assert kept(ema) == 8 and "told which one it follows: it projects as at step 0; make it by copy.deepcopy" in caplog.text


def loaded(ema):
    again, _ = attached()
    again.load_state_dict(ema.state_dict())
    return again


def pickled(ema):
    return pickle.loads(pickle.dumps(ema))


@pytest.mark.parametrize("how", [loaded, copy.deepcopy, pickled, lambda ema: pickled(copy.deepcopy(ema)), lambda ema: loaded(copy.deepcopy(ema))])
@pytest.mark.parametrize("built", ["copied", "anew"])
def test_an_average_that_never_ran_is_saved_and_copied_where_it_stands(built, how):
    generator, _ = attached()
    ema = copy.deepcopy(generator) if built == "copied" else attached()[0]
    train(generator, 5, then=lambda: average(ema, generator))
    assert kept(how(ema)) == 2


def test_a_run_after_another_begins_at_its_own_start():
    first, _ = attached()
    train(first, 3)
    second, _ = attached()
    second.out.weight.data.mul_(0.5)  # as where a host initialises after it was built
    assert kept(second) == 8
    train(second, 1)
    assert (kept(first), kept(second)) == (2, 6)


def test_a_copy_that_is_kept_stays_where_it_was():
    generator, _ = attached()
    optimizer = train(generator, 1)
    best = copy.deepcopy(generator)
    train(generator, 5, optimizer)
    assert (kept(best), kept(generator)) == (6, 2)


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
@pytest.mark.parametrize("before", [0, 1])
def test_one_that_is_trained_itself_goes_on(travel, before):
    generator, _ = attached()
    train(generator, before)
    twin, seen = travel(generator), []
    train(twin, 2, then=lambda: seen.append(kept(twin)))
    assert seen == [[6, 4], [4, 2]][before] and kept(generator) == 8 - 2 * before


def test_a_penalty_that_came_out_of_another_process_grows_too():
    generator = dense()
    sparse_plugin.attach(generator, "l1", weight={"start": 0.0, "end": 4.0, "steps": 4}, example_input=noise())
    twin = pickle.loads(pickle.dumps(generator))
    train(twin, 3)
    assert sparse_plugin.Attachment.of(twin).measure(noise())[0].settings == {"weight": 3.0}


@pytest.mark.parametrize("travel", [lambda net: net, copy.deepcopy], ids=["itself", "copy"])
def test_a_replaced_head_goes_on(travel):
    generator, _ = attached()
    optimizer = train(generator, 2)
    generator = travel(generator)
    generator(noise())
    generator.out = torch.nn.Conv2d(8, 3, 3, padding=1)
    generator(noise())  # which finds it
    assert kept(generator) == 4
    if travel is not copy.deepcopy:
        train(generator, 1, optimizer)
        assert kept(generator) == 2


def test_a_pickled_one_too():
    generator, _ = attached()
    train(generator, 1)
    assert kept(pickle.loads(pickle.dumps(generator))) == 6
    file = io.BytesIO()
    torch.save(generator, file)
    file.seek(0)
    assert kept(torch.load(file, weights_only=False)) == 6


@pytest.mark.parametrize("name", ["l0_inf", "l0", "ml_csc"])
@pytest.mark.parametrize("deferred", [False, True], ids=["known", "deferred"])
def test_a_resumed_run_is_the_same_to_the_bit(name, deferred):
    def steps(generator, count, state=None):
        optimizer = torch.optim.Adam(generator.parameters(), 1e-3)
        if state is not None:
            generator.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        train(generator, count, optimizer)
        return copy.deepcopy(generator.state_dict()), copy.deepcopy(optimizer.state_dict())

    whole, _ = steps(attached(name)[0], 5)
    half = steps(attached(name)[0], 2)
    resumed = dense(seed=1)
    if deferred and name != "ml_csc":
        sparse_plugin.attach(resumed, name, k=LINEAR)
    else:
        sparse_plugin.attach(resumed, name, k=LINEAR, example_input=noise())
    again, _ = steps(resumed, 3, half)
    assert whole.keys() == again.keys() and all(torch.equal(whole[key], again[key]) for key in whole)


def test_a_site_found_at_the_first_call_begins_where_the_checkpoint_was():
    class Late(Residual):
        """Whose head cannot be told from its modules."""

        def __init__(self):
            super().__init__()
            self.other = torch.nn.Conv2d(8, 3, 1)

    generator = dense(Late)
    sparse_plugin.attach(generator, "l0_inf", k=LINEAR, example_input=noise())
    train(generator, 2)
    twin = Late()
    sparse_plugin.attach(twin, "l0_inf", k=LINEAR)
    twin.load_state_dict(generator.state_dict())
    twin(noise())
    assert kept(twin) == 4


def test_what_a_checkpoint_with_other_settings_says():
    generator, _ = attached()
    other, _ = attached(k={**LINEAR, "end": 0.5})
    with pytest.raises(CheckpointError, match="trained with l0_inf"):
        other.load_state_dict(generator.state_dict())
    plain, settings = strip(generator.state_dict())
    assert settings == {"regularizer": "l0_inf", "k": {**LINEAR, "shape": "linear"}}
    dense().load_state_dict(plain)


def test_the_step_is_exact_in_half_precision():
    generator, handle = attached()
    train(generator, 2)
    (child,) = handle.inserted()
    generator.half()
    assert getattr(child, SCHEDULE).dtype == torch.float32 and getattr(child, SCHEDULE)[0] == 2


def test_the_log_shows_k(tmp_path):
    generator, handle = attached(run_dir=tmp_path, measure_every=1)
    train(generator, 4)
    assert [line["k"] for line in read(tmp_path / FILE)] == [1.0, 0.75, 0.5, 0.25]
    assert [measured.settings for measured in handle.measure(noise())] == [{"k": 0.25}]


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
def test_a_weight_that_grows(delivery):
    def gradient(weight, steps, **more):
        generator = dense()
        handle = sparse_plugin.attach(generator, "l1", weight=weight, delivery=delivery, example_input=noise())
        optimizer = torch.optim.SGD(generator.parameters(), 0.0)
        for _ in range(steps + 1):
            optimizer.zero_grad()
            loss = generator(noise()).square().mean()
            (loss + handle.penalty() if delivery == "loss" else loss).backward()
            optimizer.step()
        return generator.bn3.bias.grad

    scheduled = {"start": 0.0, "end": 4.0, "steps": 4}
    for step in (0, 1, 3, 6):
        # Batch normalisation has other statistics in no forward: it trains.
        assert torch.equal(gradient(scheduled, step), gradient(float(min(step, 4)), step))


def test_a_compiled_generator_follows():
    generator, _ = attached()
    compiled = torch.compile(generator, backend="eager")
    optimizer, seen = torch.optim.SGD(generator.parameters(), 1e-3), []
    generator.out.register_forward_hook(lambda module, args, out: seen.append(int((args[0] != 0).sum(1).max())))
    train(compiled, 5, optimizer)
    assert seen == [8, 6, 4, 2, 2]


@pytest.mark.parametrize("strict", [True, False])
def test_what_is_exported_in_the_middle_of_a_schedule(strict):
    """Each of its own step: one that was trained further since its last forward, one that was loaded, an average, one at the start."""
    if strict and torch.__version__.startswith("2.6."):
        pytest.skip("torch 2.6 exports no module with a hook strictly")
    generator, _ = attached()
    train(generator)
    other, _ = attached()
    other.load_state_dict(generator.state_dict())
    for net in (generator, other, copy.deepcopy(generator), attached()[0]):
        net.eval()
        program = torch.export.export(net, (noise(),), strict=strict).module()
        assert torch.equal(program(noise()), net(noise()))


def test_a_call_with_the_weights_of_another_step_has_its_k():
    """`functional_call` takes weights and buffers from outside, and leaves nothing behind."""
    generator, _ = attached()
    states = []
    optimizer = None
    for _ in range(5):
        state = {key: value for key, value in generator.state_dict().items() if not key.endswith("_extra_state")}
        states.append({key: value.clone() for key, value in state.items()})
        optimizer = train(generator, 1, optimizer)
    seen = []
    for net in (generator, attached()[0], pickle.loads(pickle.dumps(generator)), copy.deepcopy(generator)):
        first = kept(net)
        net.out.register_forward_hook(lambda module, args, out: seen.append(int((args[0] != 0).sum(1).max())))
        for state in reversed(states):
            torch.func.functional_call(net, state, (noise(),))
        assert seen[-5:] == [2, 2, 4, 6, 8] and kept(net) == first


def test_several_at_once():
    """Of an ensemble under vmap each member has the k of the one that is called, and that one can be trained after."""
    nets = [dense(seed=seed) for seed in range(2)]
    for net in nets:
        sparse_plugin.attach(net.eval(), "l0_inf", k=LINEAR, example_input=noise())
    parameters, buffers = torch.func.stack_module_state(nets)
    parameters = {name: p.detach() for name, p in parameters.items()}
    images = torch.func.vmap(lambda p, b, z: torch.func.functional_call(nets[0], (p, b), (z,)), (0, 0, None))(parameters, buffers, noise())
    assert all(torch.allclose(image, net(noise()), atol=1e-6) for image, net in zip(images, nets, strict=True))
    train(nets[0], 3)
    assert kept(nets[0]) == 2


def test_a_fraction_that_will_be_less_than_one_coefficient_is_told_at_once():
    with pytest.raises(ConfigError, match="less than one"):
        attached(k={"start": 1.0, "end": 0.05, "steps": 1000})
