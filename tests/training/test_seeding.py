import hashlib
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vision_attn.training.seeding import Order, Streams, derived


def test_a_derived_seed_is_the_head_of_a_sha256():
    assert derived("order", 3, 7) == int(hashlib.sha256(b"order:3:7").hexdigest()[:16], 16) // 2


def test_streams_differ_by_purpose_seed_and_index():
    seeds = [derived(p, s, i) for p in ("init", "order", "augmentation", "dropout") for s in range(5) for i in range(5)]
    assert len(set(seeds)) == 4 * 5 * 5


def test_initialisation_is_repeatable_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drawn, before = [], random.getstate()
    for seed in (0, 0, 1):
        with Streams(seed).initialising():
            drawn.append(torch.cat([torch.rand(3), torch.tensor([random.random(), np.random.rand()])]))  # noqa: NPY002
    assert torch.equal(torch.rand(3), expected)
    assert random.getstate() == before
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@given(train_size=st.integers(1, 50), batch_size=st.integers(1, 70), seed=st.integers(0, 3))
def test_batches_are_the_shuffled_epochs_one_after_another(train_size, batch_size, seed):
    order = Order(Streams(seed), train_size=train_size, batch_size=batch_size)
    batches = [order.batch(update) for update in range(1, 6)]
    assert all(batch.shape == (batch_size,) for batch in batches)
    stream = torch.cat(batches).tolist()
    for start in range(0, len(stream) - train_size + 1, train_size):
        assert sorted(stream[start : start + train_size]) == list(range(train_size))


@given(update=st.integers(1, 40))
def test_any_batch_can_be_had_without_those_before_it(update):
    fresh = Order(Streams(1), train_size=23, batch_size=9).batch(update)
    order = Order(Streams(1), train_size=23, batch_size=9)
    assert torch.equal([order.batch(u) for u in range(1, update + 1)][-1], fresh)


def test_epochs_and_seeds_have_different_orders():
    orders = [Streams(seed).epoch_order(epoch, 30) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order.tolist()) for order in orders}) == 4


@pytest.mark.parametrize("stream", ["augmentation", "dropout"])
def test_the_numbers_of_an_update_do_not_depend_on_what_was_drawn_before(stream):
    def draw(streams: Streams, update: int) -> torch.Tensor:
        if stream == "augmentation":
            return torch.rand(4, generator=streams.augmentation(update))
        streams.seed_dropout(update)
        return torch.tensor([*torch.rand(4), random.random(), np.random.rand()])  # noqa: NPY002

    streams = Streams(0)
    first = draw(streams, 1)
    torch.rand(7)
    assert not torch.equal(draw(streams, 2), first)
    assert torch.equal(draw(streams, 1), first)
    assert not torch.equal(draw(Streams(1), 1), first)
