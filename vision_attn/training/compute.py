"""Compute settings: what is taken from what the machine has. Precision, compilation, memory format, threads."""

import ctypes
import dataclasses
import os
from typing import Any

import torch
from torch import nn

from vision_attn.data.base import Data
from vision_attn.layers.attention import Attention, attention_path
from vision_attn.models.size import flops
from vision_attn.spec import InputError
from vision_attn.training.compiling import failure, kind_of, pays
from vision_attn.training.graphs import ungraphable
from vision_attn.training.recipe import Recipe

NARROW = 8
"""Channels below which a strided 1 x 1 convolution is not safe with the channels last."""


@dataclasses.dataclass(frozen=True)
class ComputeSettings:
    """How a run is computed, stored with it.

    `compile_reason` says in words why it is compiled or not; `attention` is the path that our self-attention takes
    on this device at this number of tokens, None for models without it or without a `grid` of tokens. `stacked` is the
    number of runs that are trained together in one program; `graph` says whether an update is recorded as one CUDA
    graph, `graph_reason` why not.
    """

    device: str
    precision: str
    compile: bool
    channels_last: bool
    threads: int
    compile_reason: str
    attention: str | None = None
    stacked: int = 1
    graph: bool = False
    graph_reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The choices as plain JSON; `stacked` only of runs that are, what concerns graphs only of runs on a GPU."""
        found = dataclasses.asdict(self)
        if self.stacked == 1:
            del found["stacked"]
        if self.device != "cuda":
            del found["graph"], found["graph_reason"]
        return found

    def together(self, number: int) -> "ComputeSettings":
        """The same for so many runs in a stack; on a CPU convolutions in groups do not gain from the channels last."""
        return dataclasses.replace(self, stacked=number, channels_last=self.channels_last and self.device == "cuda")

    def autocast(self) -> torch.autocast:
        """The arithmetic of the run, for training and for measuring."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16")

    def arranged(self, model: nn.Module) -> nn.Module:
        """The model, its weights laid out in the memory format of the run."""
        return model.to(memory_format=torch.channels_last) if self.channels_last else model  # type: ignore[call-overload]


def choose(recipe: Recipe, model: nn.Module, *, data: Data, device: torch.device, threads: int) -> ComputeSettings:
    """What this machine computes the run with. What the recipe names is obeyed; "auto" takes what is fastest.

    It depends on the recipe, the model, the data's sizes and the machine, never on what ran before. A run to be
    compiled is first tried for one step; where that fails it is trained uncompiled, and the reason is kept.
    """
    units = bf16_units(device)
    precision = ("bf16" if units else "fp32") if recipe.precision == "auto" else recipe.precision
    choices = ComputeSettings(
        device=device.type,
        precision=precision,
        compile=recipe.compile == "on",
        channels_last=is_convnet(model, in_chans=data.in_chans),
        threads=threads,
        compile_reason=f"the recipe says {recipe.compile}",
        attention=_attention(model, device, precision),
    )
    if recipe.compile == "auto":
        arithmetic = units if units and precision == "bf16" else "fp32"
        worth, reason = _worth(recipe, model, data=data, units=arithmetic, threads=threads)
        choices = dataclasses.replace(choices, compile=worth, compile_reason=reason)
    if choices.compile:
        why_not = failure(
            choices.arranged(model),
            choices.autocast,
            data=data,
            batch_size=recipe.batch_size,
            label_smoothing=recipe.label_smoothing,
            mixing=bool(recipe.mixup or recipe.cutmix),
        )
        if why_not is not None:
            choices = dataclasses.replace(choices, compile=False, compile_reason=why_not)
    if device.type != "cuda":
        return choices
    why_not = "the update is compiled" if choices.compile else ungraphable(recipe, model, data)
    return dataclasses.replace(choices, graph=why_not is None, graph_reason=why_not)


def _worth(recipe: Recipe, model: nn.Module, *, data: Data, units: str, threads: int) -> tuple[bool, str]:
    """Whether compiling pays, and the reason; not where the work of the model cannot be counted."""
    try:
        work = flops(model, image_size=data.image_size, in_chans=data.in_chans)
    except InputError as error:
        return False, f"whether compiling pays is not known: {error}"
    return pays(
        kind=kind_of(model),
        flops=work,
        updates=recipe.num_updates(data.train_size),
        batch_size=recipe.batch_size,
        units=units,
        threads=threads,
    )


def _attention(model: nn.Module, device: torch.device, precision: str) -> str | None:
    first = next((module for module in model.modules() if isinstance(module, Attention)), None)
    if first is None:
        return None
    if first.path != "auto":
        return first.path
    if not isinstance(grid := getattr(model, "grid", None), tuple):  # a model of one's own need not say
        return None
    rows, columns = grid
    return attention_path(device, int(rows) * int(columns), torch.bfloat16 if precision == "bf16" else torch.float32)


def bf16_units(device: torch.device) -> str | None:
    """The units of the device that make bf16 products faster than fp32 ones: amx, avx512_bf16, cuda; None: none."""
    if device.type == "cuda":
        return "cuda" if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type != "cpu":
        return None
    tests = {"amx": "_is_amx_tile_supported", "avx512_bf16": "_is_avx512_bf16_supported"}
    return next((units for units, name in tests.items() if getattr(torch.cpu, name, lambda: False)()), None)


def is_convnet(model: nn.Module, *, in_chans: int) -> bool:
    """Whether the model has a convolution that is spatial, mixes channels and reads more than the image.

    Such models run faster with the channels last in memory; a patch embedding or a depthwise convolution alone
    gains nothing. Models with a strided 1 x 1 convolution from fewer than 8 channels are left out: on CPUs with AVX2
    and without AVX-512 that of oneDNN, as in torch 2.13, writes beyond its memory with the channels last.
    """
    mixing = [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.in_channels > in_chans
    ]
    unsafe = [one for one in mixing if one.in_channels < NARROW and one.kernel_size == (1, 1) and max(one.stride) > 1]
    return any(max(one.kernel_size) > 1 for one in mixing) and not unsafe


def deterministic(threads: int) -> None:
    """Set the process so that same code, versions, device type and thread count give the same bits.

    `threads` is the number of CPU threads, on which the bits depend. Raises `InputError` where it is not positive.
    """
    if threads < 1:
        raise InputError(f"threads must be at least 1. Got {threads!r} instead.")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def keep_memory() -> None:
    """Let the process keep the memory that tensors give back, instead of returning it to the system each time.

    glibc hands large blocks back when they are freed; a training step on a CPU then spends up to a third of its time
    on page faults. Elsewhere than on glibc this does nothing.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_mmap_threshold, 2**30) or mallopt(m_mmap_threshold, 2**25)
