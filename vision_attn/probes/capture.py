"""Capture: what happens inside a model. The only module with hooks; they are gone when a function returns.

B batch, N tokens, M keys, C channels, H heads.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vision_attn.layers import Attention
from vision_attn.models.base import Model
from vision_attn.models.fitted import FittedModel
from vision_attn.spec import InputError

STEMS = ("patch_embed", "stem", "conv_stem")
BLOCKS = ("blocks", "stages")


@dataclasses.dataclass(frozen=True)
class Call:
    """What a module was given and gave: `others` names its arguments behind the first. The output is a copy, as what
    follows may work in place."""

    inputs: tuple[Any, ...]
    options: dict[str, Any]
    output: Tensor

    @property
    def tokens(self) -> Tensor:
        return self.inputs[0]

    @property
    def others(self) -> list[str]:
        given = [key for key, value in self.options.items() if value is not None and value is not False]
        return [*(type(other).__name__ for other in self.inputs[1:]), *given]


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers of a model by name, in order of depth; the first is the patch embedding or the stem.

    Those of this package: every block. Of a timm model: its blocks where they are in one row, else the stages of
    its `feature_info`. Raises `InputError` where neither is found.
    """
    names = _blocks(model) or _stages(model)
    if not names:
        allowed = "one with blocks, stages or a feature_info"
        raise InputError(f"layers of {type(model).__name__} must be {allowed}. Got a model without them instead.")
    stem = next((name for name in STEMS if isinstance(getattr(model, name, None), nn.Module)), None)
    first = [stem] if stem is not None and not names[0].startswith(stem) else []
    return {name: model.get_submodule(name) for name in (*first, *names)}


def without_layers(model: Model) -> str | None:
    """Why a model has no layers to look into, where it is no network; None for all others."""
    return f"{type(model).__name__} is no network of layers" if isinstance(model, FittedModel) else None


def grids(model: nn.Module, x: Tensor, names: list[str]) -> dict[str, Tensor]:
    """The outputs of the named layers for images x, each (B, C, rows, columns), from one forward pass.

    The graph is kept. Tokens that lie nowhere (class token, registers) are dropped; tokens in raster order and images
    with the channels last are brought to that shape. Raises `InputError` where a layer's tokens form no grid.
    """
    modules = {name: model.get_submodule(name) for name in names}
    with _recording(modules) as calls:
        model(x)
    idle = [name for name in names if name not in calls]
    if idle:
        raise InputError(f"layers of {type(model).__name__} must run in a forward pass. Got {idle[0]} instead.")
    return {name: _grid(model, name, calls[name].output, ratio=x.shape[2] / x.shape[3]) for name in names}


def grid_shapes(model: nn.Module, x: Tensor, names: list[str]) -> dict[str, tuple[int, int]]:
    """The grid (rows, columns) of each of the named layers for images x."""
    with torch.no_grad():
        return {name: (z.shape[2], z.shape[3]) for name, z in grids(model, x[:1], names).items()}


def mixer_outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What the mixer of every block gives for images x, in order of depth, from one forward pass."""
    modules = {name: module for name, module in model.named_modules() if name.endswith(".mixer")}
    with _recording(modules) as calls:
        model(x)
    return [call.output for call in calls.values()]


def attention_inputs(model: nn.Module, x: Tensor) -> dict[str, tuple[nn.Module, Tensor]]:
    """Every self-attention that ran for images x, by name, with its true input; empty where there is none.

    Raises `InputError` where one got more than its input, such as a mask: its weights would not be those of `x`.
    """
    modules = {name: module for name, module in model.named_modules() if has_weights(module)}
    with _recording(modules) as calls:
        model(x)
    for name, call in calls.items():
        if call.others:
            raise InputError(f"input of {name} must be tokens alone. Got {', '.join(call.others)} beside them instead.")
    return {name: (modules[name], call.tokens) for name, call in calls.items()}


def has_weights(module: nn.Module) -> bool:
    """Whether `attention_weights` knows the module: self-attention of this package or `timm.layers.Attention`."""
    if isinstance(module, Attention):
        return module.context_dim is None
    return any(
        kind.__name__ == "Attention" and kind.__module__ == "timm.layers.attention" for kind in type(module).__mro__
    )


def attention_weights(module: nn.Module, x: Tensor) -> Tensor:
    """The attention (B, H, N, M) of a module for its input: softmax(scale q k^T), as its forward pass uses it.

    Computed again from q and k, so that fused kernels, which never form it, are no obstacle.
    """
    if isinstance(module, Attention):
        return module.weights(x)
    assert has_weights(module)
    theirs: Any = module
    packed = theirs.qkv(x).unflatten(2, (3, theirs.num_heads, -1))
    q, k, _ = packed.permute(2, 0, 3, 1, 4)
    q, k = theirs.q_norm(q), theirs.k_norm(k)
    return (q * theirs.scale @ k.transpose(-2, -1)).softmax(dim=-1)


def calls_of(modules: dict[str, nn.Module], run: Callable[[], Any]) -> dict[str, Call]:
    """The first call of each of the modules that is called while `run` runs, in order of the calls."""
    with _recording(modules) as calls:
        run()
    return calls


@contextlib.contextmanager
def _recording(modules: dict[str, nn.Module]) -> Iterator[dict[str, Call]]:
    """Inside, forward passes write down the first call of each module, in order of the calls."""
    calls: dict[str, Call] = {}
    handles = [module.register_forward_hook(_writer(calls, name), with_kwargs=True) for name, module in modules.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _writer(calls: dict[str, Call], name: str) -> Any:
    def write(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
        output = output[0] if isinstance(output, tuple | list) else output
        if name not in calls:
            calls[name] = Call(inputs, options, output.clone())

    return write


def _blocks(model: nn.Module) -> list[str]:
    """The names of the blocks that follow each other in `blocks`, or in rows of blocks in `blocks` or `stages`."""
    for name in BLOCKS:
        inner = getattr(model, name, None)
        if not isinstance(inner, nn.Sequential | nn.ModuleList) or len(inner) == 0:
            continue
        rows = [_row(part) for part in inner]
        if all(rows):
            return [f"{name}.{i}.{j}" for i, length in enumerate(rows) for j in range(length)]
        if not any(rows) and name == "blocks":
            return [f"{name}.{i}" for i in range(len(inner))]
    return []


def _row(part: nn.Module) -> int:
    """The number of blocks in a row of blocks; 0 for anything else, such as a block that is itself a sequence."""
    listed = isinstance(part, nn.Sequential | nn.ModuleList)
    return len(list(part.children())) if listed and all(list(inner.children()) for inner in part.children()) else 0


def _stages(model: nn.Module) -> list[str]:
    """The names of the modules in timm's `feature_info`, as far as they exist."""
    info = getattr(model, "feature_info", None) or []
    known = dict(model.named_modules())
    entries = [str(entry.get("module")) for entry in getattr(info, "info", info) if isinstance(entry, dict)]
    return list(dict.fromkeys(name for name in entries if name in known))


def _grid(model: nn.Module, name: str, output: Tensor, *, ratio: float) -> Tensor:
    """A layer's output as (B, C, rows, columns); `ratio` is the image's height over its width."""
    if output.ndim == 4:
        formats = [getattr(part, "output_fmt", None) for part in (model.get_submodule(name), model)]
        _, first, second, third = output.shape
        last = "NHWC" in formats or (second != round(third * ratio) and first == round(second * ratio))
        return output.movedim(3, 1) if last else output
    declared = int(getattr(model, "num_prefix_tokens", 0))
    for prefix in (0,) if name in STEMS else (declared, 0):
        number = output.shape[1] - prefix if output.ndim == 3 else 0
        rows = round(math.sqrt(max(number, 0) * ratio))
        if rows and number % rows == 0 and math.isclose(rows / (number // rows), ratio):
            return output[:, prefix:].transpose(1, 2).unflatten(2, (rows, number // rows))
    allowed = "an image or a grid of tokens shaped as the image"
    raise InputError(f"output of {name} must be {allowed}. Got the shape {tuple(output.shape)} instead.")


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Inside, parameters take no gradients, and in eval mode too gradients pass through recurrent layers."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        with torch.backends.cudnn.flags(enabled=False) if recurrent else contextlib.nullcontext():
            yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
