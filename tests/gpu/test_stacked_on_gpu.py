"""On a GPU a stack, its updates recorded as one CUDA graph, computes what each of its members computes alone."""

import dataclasses
import functools

import pytest
import torch
from tiny_training import data, finished, rows, split, steps

from vision_attn.data.base import Data
from vision_attn.models import (
    DepthwiseConv,
    IdentityMixer,
    Model,
    PoolingMixer,
    RandomMixer,
    ResNet,
    SelfAttention,
    ViT,
    Window,
    ZeroMixer,
)
from vision_attn.training import Recipe
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.compute import ComputeSettings, choose, deterministic
from vision_attn.training.seeding import Streams
from vision_attn.training.stacked import Stack

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]
SEEDS = (0, 1, 2)
ATTENTION = ViT(dim=16, depth=2, mixer=SelfAttention(num_heads=2))
MODELS = {
    "attention": ATTENTION,
    "mimetic": ATTENTION.replace(position="sincos2d", init="mimetic"),
    "stem": ATTENTION.replace(stem="convolution"),
    "convolution": ATTENTION.replace(mixer=DepthwiseConv(kernel_size=3)),
    "pooling": ATTENTION.replace(mixer=PoolingMixer()),
    "random": ATTENTION.replace(mixer=RandomMixer()),
    "zero": ATTENTION.replace(mixer=ZeroMixer()),
    "identity": ATTENTION.replace(mixer=IdentityMixer()),
    "window": ATTENTION.replace(mixer=SelfAttention(num_heads=2, pattern=Window(size=2))),
    "ResNet": ResNet(width=8, blocks=1),
}
RECIPE = Recipe(updates=12, batch_size=8, learning_rate=1e-3, clip_grad=0.2, history_rows=5, precision="fp32")


@functools.cache
def device() -> torch.device:
    deterministic(1)
    return torch.device("cuda")


def member_data(seed: int) -> Data:
    made = dataclasses.replace(data(val_size=20), train=split(40, seed=10 + seed), mean=(0.4 + 0.1 * seed,) * 3)
    return made.to(device())


def begin(model: Model, seed: int, recipe: Recipe = RECIPE) -> TrainState:
    streams = Streams(seed, device())
    with streams.initialising():
        made = model.build(image_size=16, in_chans=3, num_classes=10)
    return TrainState(made.to(device()), recipe=recipe, streams=streams, num_updates=recipe.num_updates(40))


def choices_of(state: TrainState, recipe: Recipe = RECIPE) -> ComputeSettings:
    return choose(recipe, state.model, data=member_data(0), device=device(), threads=1)


def stack_of(model: Model, *, seeds=SEEDS, states=None, recipe: Recipe = RECIPE) -> Stack:
    states = states or [begin(model, seed, recipe) for seed in seeds]
    choices = choices_of(states[0], recipe)
    return Stack(states, data=[member_data(seed) for seed in seeds], recipe=recipe, choices=choices)


@pytest.mark.parametrize("seeds", [SEEDS, (1,)], ids=["stack", "one"])
@pytest.mark.parametrize("name", list(MODELS))
def test_recorded_updates_are_those_of_a_run_alone(name, seeds):
    stack = stack_of(MODELS[name], seeds=seeds)
    happened = finished(stack)
    assert stack.choices.graph, stack.choices.graph_reason
    for place, seed in enumerate(seeds):
        alone = begin(MODELS[name], seed)
        eager = dataclasses.replace(stack.choices, graph=False)
        separate = rows(steps(alone, RECIPE, member_data(seed), eager))
        assert len(happened[place]) == len(separate) == 5
        for ours, theirs in zip(happened[place], separate, strict=True):
            assert ours["learning_rate"] == theirs["learning_rate"]
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=2e-3)


@pytest.mark.parametrize("name", ["mimetic", "convolution", "ResNet"])
def test_weights_move_as_those_of_a_run_alone(name):
    stack = stack_of(MODELS[name])
    finished(stack)
    eager = dataclasses.replace(stack.choices, graph=False)
    for place, seed in enumerate(SEEDS):
        alone, before = begin(MODELS[name], seed), begin(MODELS[name], seed)
        rows(steps(alone, RECIPE, member_data(seed), eager))
        ours, theirs, first = (
            torch.cat([p.detach().flatten() for p in state.model.parameters()])
            for state in (stack.states[place], alone, before)
        )
        assert (ours - theirs).norm() < 0.05 * (theirs - first).norm()


@pytest.mark.parametrize("name", ["attention", "ResNet"])
def test_a_recorded_stack_goes_on_from_its_checkpoints_to_the_same_bits(name):
    whole, first = stack_of(MODELS[name]), stack_of(MODELS[name])
    undisturbed, before = finished(whole), finished(first, stop=7)
    states = []
    for seed in SEEDS:
        state = begin(MODELS[name], seed)
        state.load_state_dict(first.states[seed].state_dict())
        states.append(state)
    second = stack_of(MODELS[name], states=states)
    after = finished(second)
    for seed in SEEDS:
        assert before[seed] + after[seed] == undisturbed[seed]
        for ours, theirs in zip(*(stack.states[seed].model.parameters() for stack in (second, whole)), strict=True):
            assert torch.equal(ours, theirs)


def test_what_draws_in_training_is_trained_as_it_is_and_says_why():
    stack = stack_of(ATTENTION.replace(drop_path=0.2))
    happened = finished(stack)
    assert not stack.choices.graph
    assert "dropout" in stack.choices.graph_reason
    assert all(len(found) == 5 for found in happened.values())


def test_bf16_learns_as_fp32_does():
    losses = {}
    for precision in ("fp32", "bf16"):
        happened = finished(stack_of(MODELS["mimetic"], recipe=RECIPE.replace(precision=precision)))
        losses[precision] = [row["train_loss"] for row in happened[0]]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.03)


def test_a_member_that_diverges_ends_and_disturbs_no_other():
    states = [begin(ATTENTION, seed) for seed in SEEDS]
    with torch.no_grad():
        states[1].model.head.weight.fill_(float("nan"))
    happened = finished(stack_of(ATTENTION, states=states))
    undisturbed = finished(stack_of(ATTENTION))
    assert [type(what).__name__ for what in happened[1]] == ["Diverged"]
    assert happened[1][0].update == 1
    assert happened[0] == undisturbed[0]
