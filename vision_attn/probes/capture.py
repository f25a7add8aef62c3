"""Capture: what happens inside a model. The only module with hooks; they are gone when a function returns.

B batch, N tokens, M keys, C channels, H heads.
"""

import contextlib
import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vision_attn.models.base import Model
from vision_attn.models.fitted import FittedModel
from vision_attn.spec import InputError
from vision_attn.training.evaluate import evaluating

STEMS = ("patch_embed", "stem", "conv_stem")
BLOCKS = ("blocks", "stages")
SCORING = ("scaled_dot_product_attention", "multi_head_attention_forward")
"""Functions that form the weights of an attention inside."""
CLASS_TOKEN = 1
"""Tokens before the grid of models that do not say how many there are, as those of torchvision and Hugging Face."""
NUMBERS = 2**27
"""What functions give in one pass forward, at most: 1 GiB in float64. Images are taken a few at once to keep to it."""


class _Enough(BaseException):
    """Everything asked for has been seen: the rest of a forward pass is left out. No error, so nothing catches it."""


@dataclasses.dataclass(frozen=True)
class Call:
    """What a module was given and gave. The output is a copy, as what follows may work in place."""

    inputs: tuple[Any, ...]
    options: dict[str, Any]
    output: Tensor

    @property
    def tokens(self) -> Tensor:
        return self.inputs[0]


class Counting(TorchFunctionMode):
    """While it is on, the numbers that functions of torch give are counted in `numbers`."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.numbers += found.numel() if isinstance(found, Tensor) else 0
        if getattr(func, "__name__", "") in SCORING:
            self.numbers += 2 * _scores(func.__name__, *args[:5])
        return found


def _scores(name: str, queries: Tensor, keys: Tensor, *others: Any) -> int:
    """How many scores an attention forms: (..., N, C) and (..., M, C), or (N, B, C) and (M, B, C) of some heads."""
    if name == "multi_head_attention_forward":
        return int(others[2]) * queries.shape[:-1].numel() * keys.shape[0]
    return queries.shape[:-1].numel() * keys.shape[-2]


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers of a model by name, in order of depth; the first is the patch embedding or the stem.

    Those of this package: every block. Of a timm model: its blocks where they are in one row, else the stages of
    its `feature_info`, or `stages` itself. Raises `InputError` where none is found.
    """
    names = _blocks(model) or _stages(model)
    if not names:
        allowed = "one with blocks, stages or a feature_info"
        raise InputError(
            f"layers of {type(model).__name__} must be named, as it is not {allowed}: names of its modules, in order."
        )
    stem = next((name for name in STEMS if isinstance(getattr(model, name, None), nn.Module)), None)
    first = [stem] if stem is not None and not names[0].startswith(stem) else []
    return {name: model.get_submodule(name) for name in (*first, *names)}


def without_layers(model: Model) -> str | None:
    """Why a model has no layers to look into, where it is no network; None for all others."""
    return f"{type(model).__name__} is no network of layers" if isinstance(model, FittedModel) else None


def named(model: nn.Module, names: Sequence[str] | None) -> list[str]:
    """The names of layers: those asked for, which must be modules of the model, or those of `layers` (None)."""
    if names is None:
        return list(layers(model))
    known = dict(model.named_modules())
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        some = ", ".join(repr(name) for name in list(known)[1:6]) or "'' (itself)"
        given = unknown[0] if unknown else tuple(names)
        raise InputError(
            f"layers of {type(model).__name__} must be names of its modules, such as {some}. Got {given!r} instead."
        )
    return list(names)


def grids(model: nn.Module, x: Tensor, names: list[str]) -> dict[str, Tensor]:
    """The outputs of the named layers for images x, each (B, C, rows, columns), from one forward pass.

    The pass is in eval mode and ends behind the last of them; the graph is kept. Tokens without a grid position
    (class token, registers) are dropped; tokens in raster order and images with the channels last are brought to that
    shape. Raises `InputError` where there is no such layer, it does not run, or its output is no grid, one an image.
    """
    modules = {name: model.get_submodule(name) for name in named(model, names)}
    with evaluating(model), _recording(modules, stop=True) as calls, contextlib.suppress(_Enough):
        model(x)
    idle = [name for name in names if name not in calls]
    if idle:
        raise InputError(f"layers of {type(model).__name__} must run in a forward pass. Got {idle[0]} instead.")
    return {name: as_grid(model, name, calls[name].output, x) for name in names}


def sizes(model: nn.Module, x: Tensor, names: list[str]) -> tuple[dict[str, tuple[int, int]], int]:
    """The grid (rows, columns) of each of the named layers for images x, and how many numbers one image takes."""
    with torch.no_grad(), Counting() as counted:
        found = {name: (z.shape[2], z.shape[3]) for name, z in grids(model, x[:1], names).items()}
    return found, counted.numbers


def numbers(model: nn.Module, x: Tensor) -> int:
    """How many numbers one of the images x takes in a whole pass forward, in eval mode."""
    with torch.no_grad(), evaluating(model), Counting() as counted:
        model(x[:1])
    return counted.numbers


def at_once(numbers: int) -> int:
    """How many images, each of which takes that many numbers, are taken at once: at least one."""
    return max(1, NUMBERS // max(1, numbers))


def mixer_outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What the mixer of every block gives for images x, in order of depth, from one forward pass."""
    modules = {name: module for name, module in model.named_modules() if name.endswith(".mixer")}
    with evaluating(model), _recording(modules) as calls:
        model(x)
    return [call.output for call in calls.values()]


def calls_of(modules: dict[str, nn.Module], run: Callable[[], Any]) -> dict[str, Call]:
    """The first call of each of the modules that is called while `run` runs, in order of the calls."""
    with _recording(modules) as calls:
        run()
    return calls


def tokens_read(model: nn.Module, name: str, x: Tensor) -> Tensor:
    """Which of the tokens (N,) that an attention layer gives, in its last call for images x, move the model's output.

    By gradients, in eval mode: a head that reads a class token alone is moved by no other token of the last attention.
    """
    added: list[Tensor] = []

    def add(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        tokens, *others = output if isinstance(output, tuple) else (output,)
        added.append(torch.zeros_like(tokens, requires_grad=True))
        return (tokens + added[-1], *others) if isinstance(output, tuple) else tokens + added[-1]

    layer = model.get_submodule(name)
    handle = layer.register_forward_hook(add)
    try:
        with evaluating(model), frozen(model), torch.enable_grad(), _as_written():
            (slope,) = torch.autograd.grad(model(x).sum(), added[-1:])
    finally:
        handle.remove()
    slope = slope.transpose(0, 1) if getattr(layer, "batch_first", True) is False else slope
    return (slope != 0).any(dim=2).any(dim=0)


@contextlib.contextmanager
def giving(model: nn.Module, attribute: str) -> Iterator[None]:
    """Inside, the model gives an attribute of its output in the place of the output, such as its logits."""
    handle = model.register_forward_hook(lambda module, inputs, output: getattr(output, attribute))
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _recording(modules: dict[str, nn.Module], *, stop: bool = False) -> Iterator[dict[str, Call]]:
    """Inside, forward passes write down the first call of each module, in order of the calls.

    With `stop` they end, by `_Enough`, when every module has been called. Compiled models run as they are written:
    what was compiled before does not know the hooks.
    """
    calls: dict[str, Call] = {}
    enough = len(modules) if stop else math.inf
    handles = [
        module.register_forward_hook(_writer(calls, name, enough), with_kwargs=True) for name, module in modules.items()
    ]
    try:
        with _as_written():
            yield calls
    finally:
        for handle in handles:
            handle.remove()


def _as_written() -> contextlib.AbstractContextManager[object]:
    """Inside, nothing that `torch.compile` has made runs; where it was never asked for there is nothing to import."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else contextlib.nullcontext()


def _writer(calls: dict[str, Call], name: str, enough: float) -> Any:
    def write(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
        output = output[0] if isinstance(output, tuple | list) else output
        if name not in calls:
            calls[name] = Call(inputs, options, output.clone())
        if len(calls) >= enough:
            raise _Enough

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
    """The names of the modules in timm's `feature_info`, as far as they exist, in the model or in one of its parts.

    Where none does, those of `stages`.
    """
    info = getattr(model, "feature_info", None) or []
    known = dict(model.named_modules())
    entries = [str(entry.get("module")) for entry in getattr(info, "info", info) if isinstance(entry, dict)]
    parts = ["", *(f"{name}." for name, _ in model.named_children())]
    found = ([part + name for name in entries if part + name in known] for part in parts)
    stages = getattr(model, "stages", None)
    listed = len(stages) if isinstance(stages, nn.Sequential | nn.ModuleList) else 0
    return list(dict.fromkeys(next(filter(None, found), [f"stages.{i}" for i in range(listed)])))


def as_grid(model: nn.Module, name: str, output: Tensor, x: Tensor) -> Tensor:
    """A layer's output for images x as (B, C, rows, columns)."""
    ratio = x.shape[2] / x.shape[3]
    if len(output) != len(x):
        raise InputError(f"output of {name} must be one an image. Got {len(output)} for {len(x)} images instead.")
    if output.ndim == 4:
        formats = [getattr(part, "output_fmt", None) for part in (model.get_submodule(name), model)]
        _, first, second, third = output.shape
        last = "NHWC" in formats or (second != round(third * ratio) and first == round(second * ratio))
        return output.movedim(3, 1) if last else output
    for prefix in (0,) if name in STEMS else (declared_prefix(model), 0, CLASS_TOKEN):
        if output.ndim == 3 and (grid := token_grid(output.shape[1] - prefix, ratio)) is not None:
            return output[:, prefix:].transpose(1, 2).unflatten(2, grid)
    allowed = "an image or a grid of tokens shaped as the image"
    raise InputError(f"output of {name} must be {allowed}. Got the shape {tuple(output.shape)} instead.")


def declared_prefix(model: nn.Module) -> int:
    """How many tokens come before the grid, as the model says, or else the first of its parts that does; 0: none."""
    said = (module.num_prefix_tokens for module in model.modules() if hasattr(module, "num_prefix_tokens"))
    return int(next(said, 0))  # type: ignore[arg-type]


def token_grid(number: int, ratio: float) -> tuple[int, int] | None:
    """The grid of so many tokens whose height is to its width as the image's; None if there is none."""
    rows = round(math.sqrt(max(number, 0) * ratio))
    fits = rows > 0 and number % rows == 0 and math.isclose(rows / (number // rows), ratio)
    return (rows, number // rows) if fits else None


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
