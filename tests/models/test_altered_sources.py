"""Models of timm that were altered by hand, by LoRA, pruning, norms of weights or quantisation: exact, or refused."""

import copy

import pytest
import torch
from timm_sources import images, theirs
from torch import nn
from torch.nn.utils import parametrizations, prune

from vision_attn.layers import Attention
from vision_attn.models import from_timm, replace_attention
from vision_attn.spec import InputError


class LoRA(nn.Module):
    """A linear map with a low-rank map beside it; `sized` says whether it shows the sizes, as that of PEFT does."""

    def __init__(self, base, *, sized=True):
        super().__init__()
        self.base_layer, rank = base, 2
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        if sized:
            self.in_features, self.out_features, self.bias = base.in_features, base.out_features, base.bias

    def forward(self, x):
        return self.base_layer(x) + self.up(self.down(x))


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def doubled(module):
    other = Doubled(module.in_features, module.out_features)
    other.load_state_dict(module.state_dict())
    return other


def put(place, change):
    """A change that puts another module in the place of one in a block."""

    def changed(model):
        parent, _, last = f"blocks.1.{place}".rpartition(".")
        module = model.get_submodule(parent)
        setattr(module, last, change(getattr(module, last)))

    return changed


def forward_by_hand(place):
    def changed(model):
        module = model.get_submodule(place)
        before = module.forward
        module.forward = lambda x, **options: 2 * before(x, **options)

    return changed


def without_scale(model):
    model.blocks[1].attn.scale, model.blocks[1].attn.fused_attn = 1.0, False


CHANGES = {
    "LoRA of qkv": put("attn.qkv", LoRA),
    "LoRA of proj": put("attn.proj", LoRA),
    "LoRA of qkv without sizes": put("attn.qkv", lambda linear: LoRA(linear, sized=False)),
    "LoRA of proj without sizes": put("attn.proj", lambda linear: LoRA(linear, sized=False)),
    "LoRA of fc1": put("mlp.fc1", LoRA),
    "subclass of qkv": put("attn.qkv", doubled),
    "subclass of proj": put("attn.proj", doubled),
    "subclass of fc2": put("mlp.fc2", doubled),
    "weight norm of qkv": put("attn.qkv", parametrizations.weight_norm),
    "weight norm of proj": put("attn.proj", parametrizations.weight_norm),
    "spectral norm of proj by hooks": put("attn.proj", nn.utils.spectral_norm),
    "pruned weight of qkv": put("attn.qkv", lambda linear: prune.random_unstructured(linear, "weight", 0.5)),
    "pruned bias of qkv": put("attn.qkv", lambda linear: prune.random_unstructured(linear, "bias", 0.5)),
    "pruned weight of proj": put("attn.proj", lambda linear: prune.random_unstructured(linear, "weight", 0.5)),
    "no module for dropout": put("attn.attn_drop", lambda drop: nn.Identity()),
    "norm of queries alone": put("attn.q_norm", lambda norm: nn.LayerNorm(16)),
    "norm of keys without weights": put("attn.k_norm", lambda norm: nn.LayerNorm(16, elementwise_affine=False)),
    "quantised": lambda model: torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, inplace=True),
    "quantised qkv": lambda model: torch.ao.quantization.quantize_dynamic(model, {"blocks.1.attn.qkv"}, inplace=True),
    "hook on qkv": lambda model: model.blocks[1].attn.qkv.register_forward_hook(lambda *given: 2 * given[2]),
    "hook on the block": lambda model: model.blocks[1].register_forward_hook(lambda *given: 2 * given[2]),
    "forward of attention by hand": forward_by_hand("blocks.1.attn"),
    "forward of qkv by hand": forward_by_hand("blocks.1.attn.qkv"),
    "forward of the model by hand": forward_by_hand("norm"),
    "another scale": without_scale,
}
BRIDGES = {
    "replace_attention": replace_attention,
    "replace_attention, biases split": lambda model: replace_attention(model, k_bias=False),
    "replace_attention, narrower": lambda model: replace_attention(model, key_dim=24, value_dim=24),
    "from_timm": from_timm,
}
EXACT = ("replace_attention", "from_timm")


def altered(change):
    torch.manual_seed(0)
    model = theirs()
    CHANGES[change](model)
    return model.eval()


def crossed(bridge, model):
    """What the bridge makes of it, and the sentence where it refuses it."""
    try:
        return bridge(model), ""
    except InputError as error:
        return None, str(error)


@pytest.mark.parametrize("bridge", BRIDGES)
@pytest.mark.parametrize("change", CHANGES)
def test_it_is_exact_or_refused_with_the_place_and_nothing_changed(change, bridge):
    model = altered(change)
    expected, before = model(images()), [id(module) for module in model.modules()]
    ours, refused = crossed(BRIDGES[bridge], model)
    if ours is None:
        assert any(words in refused for words in ("blocks.0", "blocks.1", "at norm", "qk_norm", "head"))
        assert [id(module) for module in model.modules()] == before
        return
    out = ours(images())
    assert out.isfinite().all()
    if bridge in EXACT:
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


TAKEN = [
    "LoRA of qkv",
    "LoRA of proj",
    "subclass of proj",
    "weight norm of proj",
    "spectral norm of proj by hooks",
    "pruned bias of qkv",
    "no module for dropout",
    "norm of queries alone",
    "norm of keys without weights",
    "quantised",
    "hook on qkv",
]


@pytest.mark.parametrize("change", TAKEN)
def test_what_is_a_module_of_the_layer_is_kept_by_a_swap(change):
    model = altered(change)
    kept = {name: module for name, module in model.blocks[1].attn.named_children() if name in ("qkv", "proj", "q_norm")}
    replace_attention(model)
    assert isinstance(model.blocks[1].attn, Attention)
    for name, module in kept.items():
        assert getattr(model.blocks[1].attn, name) is module
    if not any(word in change for word in ("hook", "pruned")):  # PyTorch copies no tensors that hooks computed
        torch.testing.assert_close(copy.deepcopy(model)(images()), model(images()), rtol=1e-6, atol=1e-6)
