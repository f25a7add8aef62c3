"""Matching: turn the width (and, if need be, the depth) of a family until its size is that of a reference model."""

import dataclasses
import functools
import numbers
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, Self, TypeVar, overload

from torch import nn

from vision_attn.models.base import Model
from vision_attn.models.size import count_flops, count_params, flops, params_of
from vision_attn.spec import InputError, short

M = TypeVar("M", bound=Model)
Factory = Callable[[int], nn.Module]
"""A function from a width to a module of that width."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One module of a factory, as if it were a spec."""

    width_field: ClassVar[str] = "width"
    depth_field: ClassVar[str] = ""

    factory: Factory
    step: int
    width: int = 1

    def replace(self, *, width: int) -> Self:
        return dataclasses.replace(self, width=width)

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
        module: object = self.factory(self.width)
        if not isinstance(module, nn.Module):
            allowed = "a function that returns a module for every width"
            raise InputError(f"family of match must be {allowed}. Got {short(module)} for width {self.width} instead.")
        return module

    def __repr__(self) -> str:
        return f"width {self.width}"


Family = Model | Member

DEPTH_STEPS = (0, 1, -1, 2, -2, 3, -3)
WIDTH_LIMIT = 1 << 14
MOST_BETWEEN = 64
"""Steps of the width between what parameters ask for and what FLOPs ask for, up to which all of them are tried."""


def _sizes(on: str) -> tuple[str, ...]:
    """What is to agree, by the names that `Count` gives it."""
    return ("params", "flops") if on == "both" else (on,)


@dataclasses.dataclass(frozen=True)
class Count:
    """The size of a model, each number counted once it is asked for: the FLOPs of a long recurrence take seconds."""

    count_params: Callable[[], int]
    count_flops: Callable[[], int]

    @functools.cached_property
    def params(self) -> int:
        return self.count_params()

    @functools.cached_property
    def flops(self) -> int:
        return self.count_flops()

    def error(self, wanted: "Count", on: str) -> float:
        """The largest relative difference of what is to agree."""
        return max(abs(float(getattr(self, name) / getattr(wanted, name)) - 1) for name in _sizes(on))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A member of the family, its size, and the largest relative difference of what is to agree."""

    model: Family
    count: Count
    error: float


@overload
def match(
    family: M,
    *,
    reference: Model | nn.Module,
    on: Literal["params", "flops", "both"] = "params",
    turn: Literal["width", "both"] = "both",
    tolerance: float = 0.02,
    step: int = 1,
    image_size: int,
    in_chans: int,
    num_classes: int,
) -> M: ...
@overload
def match(
    family: Factory,
    *,
    reference: Model | nn.Module,
    on: Literal["params", "flops", "both"] = "params",
    tolerance: float = 0.02,
    step: int = 1,
    image_size: int,
    in_chans: int,
    num_classes: int,
) -> int: ...
def match(
    family: Model | Factory,
    *,
    reference: Model | nn.Module,
    on: Literal["params", "flops", "both"] = "params",
    turn: Literal["width", "both"] = "both",
    tolerance: float = 0.02,
    step: int = 1,
    image_size: int,
    in_chans: int,
    num_classes: int,
) -> Model | int:
    """The member of `family` whose parameters and/or forward FLOPs differ least from the reference's.

    The width is turned; where no width is within `tolerance` (a relative difference) other depths are tried, nearest
    first, unless `turn` is "width": a twin of equal size is then wider or narrower and never deeper. A family may also
    be any function from a width, a multiple of `step`, to a module; then the width is returned. The reference may be
    any module, such as one of timm. Raises `InputError` naming the nearest candidates where none is within tolerance,
    or where the family has no width to turn.
    """
    if on not in ("params", "flops", "both"):
        raise InputError(f"on of match must be one of 'params', 'flops', 'both'. Got {on!r} instead.")
    if turn not in ("width", "both"):
        raise InputError(f"turn of match must be one of 'width', 'both'. Got {turn!r} instead.")
    if not isinstance(tolerance, numbers.Real) or not 0 < tolerance < 1:
        raise InputError(f"tolerance of match must be between 0 and 1. Got {tolerance!r} instead.")
    if not isinstance(step, numbers.Integral) or step < 1:
        raise InputError(f"step of match must be a whole number, at least 1. Got {step!r} instead.")
    _check_models(family, reference)
    shape = {"image_size": image_size, "in_chans": in_chans, "num_classes": num_classes}
    if isinstance(reference, nn.Module):
        sized = functools.partial(flops, reference, image_size=image_size, in_chans=in_chans)
        wanted = Count(functools.partial(params_of, reference), sized)
    else:
        wanted = _count(reference, shape)
    if empty := [name for name in _sizes(on) if not getattr(wanted, name)]:
        what = {"params": "parameters that are trained", "flops": "FLOPs"}[empty[0]]
        raise InputError(f"reference of match must have {what}, where {on} are to agree. It has none.")
    if not isinstance(family, Model):
        found = _nearest(Member(family, step), wanted, on, tolerance, shape, turn=turn)
        assert isinstance(found, Member)
        return found.width
    if not family.width_field:
        raise InputError(f"family of match must have a width to turn. {type(family).__name__} has none.")
    found = _nearest(family, wanted, on, tolerance, shape, turn=turn)
    assert isinstance(found, Model)
    return found


def _check_models(family: Any, reference: Any) -> None:
    """Raise `InputError` where the family or the reference is something else."""
    if isinstance(family, nn.Module) or _is_kind(family) or not (isinstance(family, Model) or callable(family)):
        raise _unfit("family", "a model or a function from a width to a module", family)
    if not isinstance(reference, Model | nn.Module):
        raise _unfit("reference", "a model or a module", reference)


def _is_kind(given: Any) -> bool:
    return isinstance(given, type) and issubclass(given, Model)


def _unfit(field: str, allowed: str, given: Any) -> InputError:
    hint = f" Write {given.__name__}()." if _is_kind(given) else ""
    what = f"the module {type(given).__name__}" if isinstance(given, nn.Module) else short(given)
    return InputError(f"{field} of match must be {allowed}. Got {what} instead.{hint}")


def _count(model: Family, shape: dict[str, int]) -> Count:
    return Count(functools.partial(count_params, model, **shape), functools.partial(count_flops, model, **shape))


def _nearest(family: Family, wanted: Count, on: str, tolerance: float, shape: dict[str, int], *, turn: str) -> Family:
    def weigh(model: Family) -> Candidate:
        count = _count(model, shape)
        return Candidate(model, count, count.error(wanted, on))

    seen: list[Candidate] = []
    for start in _depths(family) if turn == "both" else (family,):
        candidates = [weigh(model) for model in _around(start, wanted, on, shape)]
        seen += candidates
        best = min(candidates, key=lambda candidate: candidate.error, default=None)
        if best is not None and best.error <= tolerance:
            return best.model
    reach = "width" if turn == "width" else "width and depth"
    raise InputError(_sentence(family, seen, wanted, on, tolerance, reach))


def _depths(family: Family) -> Iterator[Family]:
    """The family at its own depth, then at the nearest others."""
    if not family.depth_field:
        yield family
        return
    assert isinstance(family, Model)
    depth = getattr(family, family.depth_field)
    for step in DEPTH_STEPS:
        depths = [each + step for each in (depth if isinstance(depth, tuple) else (depth,))]
        if min(depths) >= 1:
            yield family.replace(**{family.depth_field: tuple(depths) if isinstance(depth, tuple) else depths[0]})


def _around(start: Family, wanted: Count, on: str, shape: dict[str, int]) -> list[Family]:
    """The members of the family just below and just above what is wanted, by bisection over the width."""
    step = width_step(start)
    least = 2 if _has_sincos(start) and step < 8 else 1

    def at(index: int) -> Family:
        return start.replace(**{start.width_field: index * step})

    def below(index: int, name: str) -> bool:
        return bool(getattr(_count(at(index), shape), name) <= getattr(wanted, name))

    found: dict[int, Family] = {}
    for name in _sizes(on):
        low, high = least - 1, least
        while below(high, name) and high * step < WIDTH_LIMIT:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if below(middle, name) else (low, middle)
        found |= {index: at(index) for index in (low, high) if index >= least}
    if on == "both" and found and max(found) - min(found) < MOST_BETWEEN:
        found |= {index: at(index) for index in range(min(found), max(found) + 1)}
    return list(found.values())


def width_step(model: Family) -> int:
    """The step in which the width may be turned: mixers, and the sine-cosine embedding, want multiples."""
    if isinstance(model, Member):
        return model.step
    mixer = getattr(model, "mixer", None)
    step = 1 if mixer is None else mixer.width_multiple
    return 4 * step if _has_sincos(model) and step % 4 else step


def _has_sincos(model: Family) -> bool:
    """Whether the width must be a multiple of 4, at least 8."""
    return getattr(model, "position", None) == "sincos2d"


def _sentence(family: Family, seen: list[Candidate], wanted: Count, on: str, tolerance: float, reach: str) -> str:
    nearest = sorted(seen, key=lambda candidate: candidate.error)[:3]
    listed = "; ".join(
        f"{candidate.model!r} with {candidate.count.params:,} parameters and {candidate.count.flops:,} FLOPs, "
        f"off by {candidate.error:.1%}"
        for candidate in nearest
    )
    what = "params and flops" if on == "both" else on
    name = "the factory's modules" if isinstance(family, Member) else type(family).__name__
    return (
        f"{what} of {name} must come within {tolerance:.1%} of the reference's {wanted.params:,} "
        f"parameters and {wanted.flops:,} FLOPs, which no {reach} reaches. The nearest: {listed}."
    )
