"""Which pixels units depend on, by gradients of a copy of the model, and copies in which no path cancels.

With the replacements of `replacing` and positive weights a derivative is 0 exactly where there is no path: the support
of the gradient is that of the architecture.
"""

from collections.abc import Mapping, Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from vision_attn.layers.symbolic import is_integer
from vision_attn.models.copies import copied
from vision_attn.probes import capture
from vision_attn.probes.replacing import AnyMode, Mode, Replacing
from vision_attn.spec import InputError, short

Unit = tuple[slice, slice]
FADED = 1e-290
"""Smaller numbers are near the end of float64: behind them a field may go on unseen."""


def require_asked(what: str, model: nn.Module, mode: Mode, **sizes: int) -> None:
    """Raise `InputError` unless the model is a module, the mode known and the sizes whole numbers, at least 1."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model of {what} must be a torch.nn.Module. Got {short(model)} instead.")
    if mode not in get_args(Mode):
        raise InputError(f"mode of {what} must be {' or '.join(map(repr, get_args(Mode)))}. Got {short(mode)} instead.")
    for field, size in sizes.items():
        if not is_integer(size) or size < 1:
            raise InputError(f"{field} of {what} must be an integer, at least 1. Got {short(size)} instead.")


def twin(model: nn.Module, *, positive: bool, generator: torch.Generator) -> nn.Module:
    """A copy on the CPU in float64 and eval mode. Parameters are drawn anew: all if `positive`, else weights all 0.

    They are |N(0, 1)|, matrices over the mean sum of a row, so that neither values nor gradients run away. Weights of
    zeros, such as the last norm of a residual branch at initialisation, hide what the first update will show. Raises
    `InputError` for scripted modules, in which nothing can be replaced.
    """
    scripted = next((module for module in model.modules() if isinstance(module, torch.jit.ScriptModule)), None)
    if scripted is not None:
        allowed = "modules as they are written, neither scripted nor traced, for a receptive field"
        raise InputError(f"modules of {type(model).__name__} must be {allowed}. Got {type(scripted).__name__} instead.")
    drawn_anew = copied(model).cpu().double().eval().requires_grad_(False)
    for name, parameter in drawn_anew.named_parameters():
        if positive or not (parameter.any() or name.endswith("bias")):
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).abs_()
            parameter.copy_(drawn / (0.8 * parameter[0].numel()) if parameter.ndim > 1 else drawn)
    return drawn_anew


class Gradients:
    """Which pixels the units of a copy of the model depend on, in a mode of `replacing`."""

    @torch.inference_mode(False)
    @torch.enable_grad()
    def __init__(self, model: nn.Module, *, in_chans: int, mode: AnyMode, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.mode, self.positive, self.in_chans = mode, mode != "dependency", in_chans
        self.model = twin(model, positive=self.positive, generator=self.generator)
        self.numbers, self.numbers_of_one, self.at_once = 0, 0, 1
        self.faded = False
        """Whether a gradient since this was set to False has faded away rather than ended, as through recurrence."""

    @torch.inference_mode(False)
    @torch.enable_grad()
    def images(self, number: int, shape: tuple[int, int]) -> Tensor:
        """Random images: U(1/2, 3/2) for positive networks, else N(0, 1)."""
        size, double = (number, self.in_chans, *shape), torch.float64
        draw = torch.rand if self.positive else torch.randn
        return draw(size, generator=self.generator, dtype=double).add_(0.5 * self.positive).requires_grad_()

    def maps(self, x: Tensor, names: Sequence[str], *, mode: AnyMode | None = None) -> dict[str, Tensor]:
        """The layers' outputs (B, C, R, Q), graph kept if images take gradients; `numbers` is how many numbers it took.

        Raises `InputError` where the model does not take such images.
        """
        try:
            with (
                torch.inference_mode(False),
                torch.set_grad_enabled(x.requires_grad),
                Replacing(mode or self.mode) as counted,
            ):
                found = capture.grids(self.model, x, list(names))
        except InputError:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:  # what layers say of shapes that do not fit
            if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
                raise
            allowed = f"one that takes images {tuple(x.shape[1:])}, in float64 on a CPU"
            reason = short(" ".join(str(error).split()) or type(error).__name__)
            raise InputError(f"model of a receptive field must be {allowed}. Got {reason} instead.") from error
        self.numbers = counted.numbers
        return found

    def grids(self, names: Sequence[str], shape: tuple[int, int]) -> dict[str, tuple[int, int]]:
        """The grid of each layer on images of that shape; `numbers_of_one` is how many numbers one takes."""
        maps = self.maps(self.images(1, shape).detach(), names)
        found = {name: (z.shape[2], z.shape[3]) for name, z in maps.items()}
        self.numbers_of_one, self.at_once = self.numbers, capture.at_once(self.numbers)
        return found

    @torch.inference_mode(False)
    @torch.enable_grad()
    def look(self, asked: Mapping[str, Sequence[Unit]], shape: tuple[int, int], *, draws: int = 1) -> dict[str, Tensor]:
        """The pixels (units, H, W) that units of each layer depend on, in any draw, every unit with its own images.

        All layers are asked for equally many units; `grids` has been called for them.
        """
        number = len(next(iter(asked.values())))
        found: dict[str, list[Tensor]] = {name: [] for name in asked}
        for start in range(0, number, self.at_once):
            part = slice(start, min(start + self.at_once, number))
            joined: dict[str, Tensor] = {}
            for _ in range(draws):
                x = self.images(part.stop - start, shape)
                for name, output in self.maps(x, list(asked)).items():
                    places = [output[i, :, rows, columns] for i, (rows, columns) in enumerate(asked[name][part])]
                    seen = self._seen(x, places)
                    joined[name] = seen | joined[name] if name in joined else seen
            for name, seen in joined.items():
                found[name].append(seen)
        return {name: torch.cat(parts) for name, parts in found.items()}

    @torch.inference_mode(False)
    @torch.enable_grad()
    def seen_by(self, x: Tensor, output: Tensor, unit: tuple[int, int]) -> Tensor:
        """The pixels (H, W) that one unit depends on, in any of the images."""
        return self._seen(x, [output[:, :, unit[0], unit[1]]]).any(dim=0)

    def _seen(self, x: Tensor, places: Sequence[Tensor]) -> Tensor:
        """Where (B, H, W) the gradient of a weighted sum of everything at these places is not 0."""
        total = torch.zeros((), dtype=torch.float64)
        for part in places:
            weights = torch.rand(part.shape, generator=self.generator, dtype=torch.float64) + 0.5
            total = total + (weights * part).sum()
        gradient = None
        if total.requires_grad:
            (gradient,) = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)
        if gradient is None:
            return torch.zeros(len(x), *x.shape[2:], dtype=torch.bool)
        if not gradient.isfinite().all():
            given = "NaN or infinity, as of weights that are no numbers,"
            raise InputError(f"gradients of {type(self.model).__name__} must be finite numbers. Got {given} instead.")
        self.faded |= bool(((gradient != 0) & (gradient.abs() < FADED)).any())
        return (gradient != 0).any(dim=1)
