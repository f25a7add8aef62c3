"""A stack of trainings computes what each of its members computes alone."""

import dataclasses
import functools

import pytest
import torch
from tiny_training import EAGER, data, finished, rows, split, start, steps
from torch import nn

from vision_attn.data import augment
from vision_attn.data.base import Data, Stream
from vision_attn.models import (
    LSTM,
    ConvNeXt,
    ConvStack,
    DepthwiseConv,
    Model,
    PoolingMixer,
    RandomMixer,
    ResNet,
    SelfAttention,
    SpatialReduction,
    ViT,
    Window,
    ZeroMixer,
)
from vision_attn.training import Diverged, Recipe
from vision_attn.training.checkpoint import TrainState, from_bytes, to_bytes
from vision_attn.training.folded import FoldedConv2d, FoldedLinear, MemberByMember
from vision_attn.training.stacked import Stack, stackable

ATTENTION = ViT(dim=16, depth=2, mixer=SelfAttention(num_heads=2))
MODELS = {
    "attention": ATTENTION,
    "sines": ATTENTION.replace(position="sincos2d", pool="token"),
    "convolution": ATTENTION.replace(mixer=DepthwiseConv(kernel_size=3)),
    "batch norm": ResNet(width=4, blocks=1),
}
# Steps are small next to the noise that Adam makes of gradients that are 0 but for rounding, as of a bias of the keys.
RECIPE = Recipe(
    updates=12, batch_size=8, learning_rate=1e-3, weight_decay=0.5, warmup_fraction=0.3, clip_grad=0.2, history_rows=5
)
SEEDS = (0, 1, 2)
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def member_data(seed: int) -> Data:
    """Images of its own for each seed, with a mean and a deviation of their own."""
    made = data(val_size=20)
    return dataclasses.replace(made, train=split(40, seed=10 + seed), mean=(0.4 + 0.1 * seed,) * 3)


def begin(model: Model, recipe: Recipe, seed: int) -> TrainState:
    build = functools.partial(model.build, image_size=16, in_chans=3, num_classes=10)
    return start(build, recipe, seed=seed)


def stack_of(model: Model, recipe: Recipe, *, seeds=SEEDS, states=None, images=None) -> Stack:
    states = states or [begin(model, recipe, seed) for seed in seeds]
    choices = dataclasses.replace(EAGER, stacked=len(states))
    return Stack(states, data=images or [member_data(seed) for seed in seeds], recipe=recipe, choices=choices)


def assert_like_alone(stack: Stack, happened, recipe: Recipe, alone: dict[int, TrainState], images=None):
    """Every member that is named has the weights, statistics and history of its training alone."""
    for member, state in alone.items():
        of = images[member] if images else member_data(member)
        separate = rows(steps(state, recipe, of))
        together = stack.states[member]
        for name, tensor in state.model.state_dict().items():
            torch.testing.assert_close(together.model.state_dict()[name], tensor, **TOLERANCE)
        assert len(happened[member]) == len(separate) > 0
        for ours, theirs in zip(happened[member], separate, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)
        assert (together.update, together.window) == (state.update, state.window)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("name", list(MODELS))
def test_members_end_as_they_do_alone(name, optimizer):
    recipe = RECIPE.replace(optimizer=optimizer)
    stack = stack_of(MODELS[name], recipe)
    before = {key: tensor.clone() for key, tensor in stack.params.items()}
    happened = finished(stack)
    moved = max((stack.params[key] - tensor).abs().max().item() for key, tensor in before.items())
    assert moved > 100 * TOLERANCE["atol"], "a training that moves nothing shows nothing"
    assert_like_alone(stack, happened, recipe, {seed: begin(MODELS[name], recipe, seed) for seed in SEEDS})


@pytest.mark.parametrize(
    "change",
    [
        {"mixup": 0.8, "cutmix": 1.0},
        {"label_smoothing": 0.1, "clip_grad": None},
        {"schedule": "constant", "rand_augment": 9},
    ],
    ids=str,
)
def test_every_switch_of_the_recipe_does_in_a_stack_what_it_does_alone(change):
    recipe = RECIPE.replace(**change)
    stack = stack_of(MODELS["convolution"], recipe)
    happened = finished(stack)
    alone = {seed: begin(MODELS["convolution"], recipe, seed) for seed in SEEDS}
    assert_like_alone(stack, happened, recipe, alone)


def test_the_gradient_of_each_member_is_clipped_by_its_own_norm():
    recipe = RECIPE.replace(clip_grad=0.5)
    stack = stack_of(MODELS["batch norm"], recipe)
    wanted = []
    generator = torch.Generator().manual_seed(0)
    for parameter in stack.params.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        parameter.grad[0] *= 1e-4  # the first member stays below the bound
    for member in range(3):
        flat = torch.cat([p.grad[member].flatten() for p in stack.params.values()]).double()
        wanted.append(flat / max(1.0, flat.norm().item() / 0.5))
    norms = stack._clip()
    assert norms[0] < 0.5 < norms[1]
    for member in range(3):
        clipped = torch.cat([p.grad[member].flatten() for p in stack.params.values()]).double()
        torch.testing.assert_close(clipped, wanted[member], rtol=1e-4, atol=1e-7)


def test_weights_that_are_not_decayed_alone_are_not_decayed_in_a_stack():
    recipe = RECIPE.replace(weight_decay=0.5)
    stack = stack_of(ATTENTION, recipe)
    alone = begin(ATTENTION, recipe, 0)
    names = {parameter: name for name, parameter in alone.model.named_parameters()}
    stacked_names = {parameter: name for name, parameter in stack.params.items()}
    groups = [(g["weight_decay"], {names[p] for p in g["params"]}) for g in alone.optimizer.param_groups]
    ours = [(g["weight_decay"], {stacked_names[p] for p in g["params"]}) for g in stack.optimizer.param_groups]
    assert ours == groups
    assert {decay for decay, _ in ours} == {0.0, 0.5}


@pytest.mark.parametrize("name", ["attention", "batch norm"])
def test_a_member_that_diverges_ends_where_it_ends_alone_and_disturbs_no_other(name):
    def poisoned(state: TrainState) -> TrainState:
        # a value that overflows in a square: finite weights, no finite loss
        with torch.no_grad():
            next(state.model.parameters()).fill_(3e38)
        return state

    states = [begin(MODELS[name], RECIPE, seed) for seed in SEEDS]
    poisoned(states[1])
    stack = stack_of(MODELS[name], RECIPE, states=states)
    happened = finished(stack)
    assert stack.members == [0, 2]
    with pytest.raises(Diverged) as alone:
        list(steps(poisoned(begin(MODELS[name], RECIPE, 1)), RECIPE, member_data(1)))
    (end,) = happened[1]
    assert isinstance(end, Diverged)
    assert (end.update, states[1].update) == (alone.value.update, alone.value.update - 1)
    assert_like_alone(stack, happened, RECIPE, {seed: begin(MODELS[name], RECIPE, seed) for seed in (0, 2)})


def test_a_divergence_in_the_middle_leaves_the_rows_of_the_others_whole():
    recipe = RECIPE.replace(updates=10, history_rows=2)
    stack = stack_of(MODELS["convolution"], recipe)
    happened = {0: [], 1: [], 2: []}
    for found in stack.train():
        for member, what in found.items():
            happened[member].append(what)
        if stack.update == 3:
            with torch.no_grad():
                next(iter(stack.params.values()))[1] = float("nan")
    stack.write_back()
    assert [type(what) for what in happened[1]] == [Diverged]
    assert happened[1][0].update == 4
    alone = {seed: begin(MODELS["convolution"], recipe, seed) for seed in (0, 2)}
    assert_like_alone(stack, happened, recipe, alone)


def test_a_stack_of_which_all_diverge_ends():
    states = [begin(ATTENTION, RECIPE, seed) for seed in SEEDS]
    for state in states:
        with torch.no_grad():
            state.model.head.weight.fill_(float("nan"))
    assert {type(what) for (what,) in finished(stack_of(ATTENTION, RECIPE, states=states)).values()} == {Diverged}


@pytest.mark.parametrize("name", ["attention", "batch norm"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stop", [5, 11])
def test_a_stack_resumed_from_the_checkpoints_of_its_members_ends_in_the_same_bits(name, optimizer, stop):
    recipe = RECIPE.replace(optimizer=optimizer)
    whole = stack_of(MODELS[name], recipe)
    undisturbed = finished(whole)
    first = stack_of(MODELS[name], recipe)
    before = finished(first, stop=stop)
    states = []
    for seed in SEEDS:
        state = begin(MODELS[name], recipe, seed)
        state.load_state_dict(from_bytes(to_bytes(first.states[seed].state_dict())))
        states.append(state)
    second = stack_of(MODELS[name], recipe, states=states)
    after = finished(second)
    for seed in SEEDS:
        assert before[seed] + after[seed] == undisturbed[seed]
        for ours, theirs in zip(
            second.states[seed].model.state_dict().values(), whole.states[seed].model.state_dict().values(), strict=True
        ):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["attention", "batch norm"])
def test_a_member_of_a_stack_continues_alone_and_a_run_begun_alone_in_a_stack(name):
    model = MODELS[name]
    first = stack_of(model, RECIPE)
    begun = finished(first, stop=7)
    alone = {seed: begin(model, RECIPE, seed) for seed in SEEDS}
    whole = {seed: rows(steps(state, RECIPE, member_data(seed))) for seed, state in alone.items()}
    state = begin(model, RECIPE, 1)
    state.load_state_dict(from_bytes(to_bytes(first.states[1].state_dict())))
    ends = begun[1] + rows(steps(state, RECIPE, member_data(1)))
    halves = []
    for seed in SEEDS:
        half = begin(model, RECIPE, seed)
        for _ in steps(half, RECIPE, member_data(seed)):
            if half.update == 7:
                break
        halves.append(half)
    second = stack_of(model, RECIPE, states=halves)
    finished(second)
    assert [row["train_loss"] for row in ends] == pytest.approx([row["train_loss"] for row in whole[1]], rel=1e-4)
    for tensors in ((state, alone[1]), *((second.states[seed], alone[seed]) for seed in SEEDS)):
        ours, theirs = (each.model.state_dict() for each in tensors)
        for key, tensor in theirs.items():
            torch.testing.assert_close(ours[key], tensor, **TOLERANCE)


def test_a_state_written_back_holds_no_more_than_its_own_member():
    stack = stack_of(ATTENTION, RECIPE)
    finished(stack, stop=3)
    alone = begin(ATTENTION, RECIPE, 0)
    next(steps(alone, RECIPE, member_data(0)))
    assert len(to_bytes(stack.states[0].state_dict())) < 1.05 * len(to_bytes(alone.state_dict()))


def test_members_that_draw_fresh_images_draw_those_they_draw_alone():
    def drawn(number: int, *, generator: torch.Generator):
        made = split(number)
        return dataclasses.replace(made, images=augment.flip(made.images, generator=generator))

    images = [dataclasses.replace(member_data(seed), train=Stream(drawn, split(8))) for seed in SEEDS]
    stack = stack_of(MODELS["convolution"], RECIPE, images=images)
    happened = finished(stack)
    assert "epoch" not in happened[0][0]
    alone = {seed: begin(MODELS["convolution"], RECIPE, seed) for seed in SEEDS}
    assert_like_alone(stack, happened, RECIPE, alone, images)


@pytest.mark.parametrize("name", list(MODELS))
def test_bf16_is_bf16_in_a_stack_too(name):
    bf16 = dataclasses.replace(EAGER, precision="bf16")
    types = {}

    def noted(place: str):
        def hook(module: nn.Module, args: object, output: torch.Tensor) -> None:
            if isinstance(module, nn.Linear | nn.Conv2d | FoldedLinear | FoldedConv2d) and module.training:
                types.setdefault(place, []).append(output.dtype)

        return hook

    recipe, losses = RECIPE.replace(updates=2, history_rows=2), {}
    for place in ("alone", "together"):
        states = [begin(MODELS[name], recipe, seed) for seed in SEEDS]
        images = [member_data(seed) for seed in SEEDS]
        stack = Stack(states, data=images, recipe=recipe, choices=bf16)
        for module in (states[0].model if place == "alone" else stack.model).modules():
            module.register_forward_hook(noted(place))
        if place == "alone":
            losses[place] = rows(steps(states[0], recipe, member_data(0), bf16))
        else:
            losses[place] = finished(stack)[0]
    assert types["alone"] == types["together"]
    assert torch.bfloat16 in types["alone"]
    for alone, together in zip(losses["alone"], losses["together"], strict=True):
        assert together["train_loss"] == pytest.approx(alone["train_loss"], rel=5e-3)


@pytest.mark.parametrize(
    ("recipe", "model", "reason"),
    [
        (RECIPE, ATTENTION, None),
        (RECIPE, MODELS["batch norm"], None),
        (RECIPE.replace(compile="on"), ATTENTION, "compilation"),
        (RECIPE.replace(optimizer="nadamuon"), ATTENTION, "whole matrices"),
        (RECIPE.replace(schedule="constant", patience=2), ATTENTION, None),
        (RECIPE, ATTENTION.replace(drop_path=0.1), None),
        (RECIPE, ATTENTION.replace(mixer=LSTM()), None),
    ],
)
def test_what_cannot_be_stacked_is_named(recipe, model, reason):
    with torch.device("meta"):
        found = stackable(recipe, model.build(image_size=16, in_chans=3, num_classes=10))
    assert found is None if reason is None else reason in found


OTHERS = {
    "dropout": ATTENTION.replace(drop_path=0.3, drop_rate=0.2, mixer=SelfAttention(num_heads=2, attn_drop=0.2)),
    "LSTM": ATTENTION.replace(mixer=LSTM()),
    "pooling": ATTENTION.replace(mixer=PoolingMixer()),
    "random": ATTENTION.replace(mixer=RandomMixer(), reg_tokens=2),
    "zero": ATTENTION.replace(mixer=ZeroMixer()),
    "stem": ATTENTION.replace(stem="convolution", merge_after=(1,), position="none"),
    "local stem": ATTENTION.replace(stem="local", mixer=ZeroMixer(), position="none"),
    "relative": ATTENTION.replace(mixer=SelfAttention(num_heads=2, position="relative", pattern=Window(size=2))),
    "learned in the layer": ATTENTION.replace(mixer=SelfAttention(num_heads=2, position="learned", q_bias=False)),
    "cosine": ATTENTION.replace(mixer=SelfAttention(num_heads=2, similarity="cosine", qk_norm=True)),
    "rotary, reduced": ATTENTION.replace(
        mixer=SelfAttention(num_heads=2, position="rotary", pattern=SpatialReduction(ratio=2))
    ),
    "ConvStack": ConvStack(width=8, kernels=(3, 1), depthwise=True),
    "ConvNeXt": ConvNeXt(width=4, blocks=1),
    "drop path": ResNet(width=4, blocks=1, drop_path=0.3, drop_rate=0.2),
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_every_kind_of_model_ends_as_it_does_alone(name):
    recipe = RECIPE.replace(updates=5, history_rows=2, optimizer="sgd", learning_rate=0.05)
    stack = stack_of(OTHERS[name], recipe)
    happened = finished(stack)
    assert_like_alone(stack, happened, recipe, {seed: begin(OTHERS[name], recipe, seed) for seed in SEEDS})


@pytest.mark.parametrize("name", ["attention", "convolution", "stem", "rotary, reduced"])
def test_what_costs_time_is_not_computed_member_by_member(name):
    stack = stack_of({**MODELS, **OTHERS}[name], RECIPE)
    assert not any(isinstance(module, MemberByMember) for module in stack.model.modules())


def test_members_that_stall_end_where_they_end_alone():
    recipe = RECIPE.replace(updates=60, history_rows=30, schedule="constant", patience=4, learning_rate=1e-2)
    stack = stack_of(ATTENTION, recipe)
    happened = finished(stack)
    alone = {seed: begin(ATTENTION, recipe, seed) for seed in SEEDS}
    assert_like_alone(stack, happened, recipe, alone)
    ends = [state.update for state in stack.states]
    assert all(state.stalled for state in stack.states)
    assert len(set(ends)) > 1
    assert max(ends) < 60


def test_pixels_in_an_order_of_their_own_are_those_that_a_run_alone_gets():
    orders = [torch.randperm(256, generator=torch.Generator().manual_seed(seed)) for seed in SEEDS]
    images = [dataclasses.replace(member_data(seed), order=orders[seed], flip=seed > 0) for seed in SEEDS]
    stack = stack_of(MODELS["convolution"], RECIPE, images=images)
    happened = finished(stack)
    alone = {seed: begin(MODELS["convolution"], RECIPE, seed) for seed in SEEDS}
    assert_like_alone(stack, happened, RECIPE, alone, images)


def test_batches_drawn_in_several_chunks_are_those_drawn_one_by_one(monkeypatch):
    monkeypatch.setattr("vision_attn.training.stacked.CHUNK", 5)
    stack = stack_of(MODELS["convolution"], RECIPE)
    happened = finished(stack)
    alone = {seed: begin(MODELS["convolution"], RECIPE, seed) for seed in SEEDS}
    assert_like_alone(stack, happened, RECIPE, alone)


def test_a_stack_of_one_is_a_run_alone():
    stack = stack_of(OTHERS["dropout"], RECIPE, seeds=(1,), images=[member_data(1)])
    happened = finished(stack)
    assert_like_alone(stack, {1: happened[0]}, RECIPE, {}, None)
    alone = begin(OTHERS["dropout"], RECIPE, 1)
    separate = rows(steps(alone, RECIPE, member_data(1)))
    for ours, theirs in zip(happened[0], separate, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


class Mean(nn.Module):
    """Takes the mean over the batch off, without parameters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


def test_a_model_that_mixes_the_images_of_a_batch_is_computed_member_by_member():
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), Mean(), nn.Linear(768, 10))

    states = [start(build, RECIPE, seed=seed) for seed in SEEDS]
    stack = stack_of(None, RECIPE, states=states)
    happened = finished(stack)
    assert_like_alone(stack, happened, RECIPE, {seed: start(build, RECIPE, seed=seed) for seed in SEEDS})


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("shared", ["layer", "matrix"])
def test_what_stands_in_a_model_twice_is_one_in_a_stack_too(shared, apart):
    def build() -> nn.Module:
        twice = nn.Sequential(nn.Linear(16, 16), nn.ReLU())
        again = twice if shared == "layer" else nn.Sequential(nn.Linear(16, 16), nn.ReLU())
        again[0].weight = twice[0].weight
        first = [nn.Flatten(), *[Mean()] * apart, nn.Linear(768, 16)]
        return nn.Sequential(*first, twice, again, nn.Linear(16, 10))

    states = [start(build, RECIPE, seed=seed) for seed in SEEDS]
    stack = stack_of(None, RECIPE, states=states)
    assert any(isinstance(module, MemberByMember) for module in stack.model.modules()) is apart
    happened = finished(stack)
    assert_like_alone(stack, happened, RECIPE, {seed: start(build, RECIPE, seed=seed) for seed in SEEDS})
