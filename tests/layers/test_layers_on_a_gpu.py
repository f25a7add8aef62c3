"""The attention layer on a pretended GPU: no tensor is left on the CPU, nothing is waited for, all is repeatable."""

import pytest
import torch
from pretended_gpu import PretendedGpu, deterministic_algorithms

from vision_attn.layers import Attention
from vision_attn.layers.named import PATTERNS, POSITIONS, WITHOUT_SIZE
from vision_attn.layers.similarity import SIMILARITIES

ALONE = [name for name in POSITIONS if name != "relative_with_prefix"]
"""Positions of layers whose tokens all lie in the grid."""
KINDS = [
    *(("full", position, similarity) for position in ("none", "relative") for similarity in SIMILARITIES),
    *((pattern, position, "dot") for pattern in PATTERNS[1:] for position in ALONE if pattern != "reduced"),
    *(("reduced", position, "dot") for position in ("none", "learned", "rotary")),
]


def size_of(pattern):
    return None if pattern in WITHOUT_SIZE else 2


@pytest.mark.parametrize(("pattern", "position", "similarity"), KINDS)
def test_it_computes_there_what_it_does_here_and_keeps_nobody_waiting(pattern, position, similarity):
    torch.manual_seed(0)
    options = {"position": position, "similarity": similarity, "grid": (4, 4)}
    layer, x = Attention(8, 2, pattern=pattern, pattern_size=size_of(pattern), **options), torch.randn(2, 16, 8)
    expected = layer(x).detach()
    with PretendedGpu() as gpu, deterministic_algorithms():
        there, tokens = layer.to("cuda"), x.to("cuda").requires_grad_()
        gpu.waits.clear()
        found = there(tokens)
        found.square().sum().backward()
        waits = gpu.waits.copy()
        assert tokens.grad is not None
        torch.testing.assert_close(found.detach().cpu(), expected, rtol=1e-4, atol=1e-5)
        assert waits == []


@pytest.mark.parametrize("pattern", ["neighbourhood", "axial", "shifted_window"])
def test_nobody_waits_where_tokens_are_cut_into_groups(pattern):
    torch.manual_seed(0)
    layer, x = (
        Attention(8, 1, pattern=pattern, pattern_size=size_of(pattern), grid=(33, 32)),
        torch.randn(1, 33 * 32, 8),
    )
    expected = layer(x).detach()
    with PretendedGpu() as gpu, deterministic_algorithms():
        there, tokens = layer.to("cuda"), x.to("cuda").requires_grad_()
        gpu.waits.clear()
        found = there(tokens)
        found.square().sum().backward()
        waits = gpu.waits.copy()
        torch.testing.assert_close(found.detach().cpu(), expected, rtol=1e-4, atol=1e-5)
        assert waits == []
