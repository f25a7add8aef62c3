"""Matching: turn the width (and, if need be, the depth) of a family until its size is that of a reference model."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

from vision_attn.models.base import Model
from vision_attn.models.size import count_flops, count_params
from vision_attn.spec import InputError

DEPTH_STEPS = (0, 1, -1, 2, -2, 3, -3)
WIDTH_LIMIT = 1 << 14


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A member of the family, its size, and the largest relative difference of what is to agree."""

    model: Model
    params: int
    flops: int
    error: float


def match(
    family: Model,
    *,
    reference: Model,
    on: Literal["params", "flops", "both"] = "params",
    tolerance: float = 0.02,
    image_size: int,
    in_chans: int,
    num_classes: int,
) -> Model:
    """The member of `family` whose parameters and/or forward FLOPs differ least from the reference's.

    Only the width is turned; where no width is within `tolerance` (a relative difference) other depths are tried,
    nearest first. Raises `InputError` naming the nearest candidates where none is within tolerance, or where the
    family has no width to turn.
    """
    if on not in ("params", "flops", "both"):
        raise InputError(f"on of match must be one of 'params', 'flops', 'both'. Got {on!r} instead.")
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance of match must be between 0 and 1. Got {tolerance!r} instead.")
    if not family.width_field:
        raise InputError(f"family of match must have a width to turn. {type(family).__name__} has none.")
    shape = {"image_size": image_size, "in_chans": in_chans, "num_classes": num_classes}
    wanted = (count_params(reference, **shape), count_flops(reference, **shape))

    def weigh(model: Model) -> Candidate:
        params, flops = count_params(model, **shape), count_flops(model, **shape)
        errors = {"params": params / wanted[0] - 1, "flops": flops / wanted[1] - 1}
        relevant = errors.values() if on == "both" else [errors[on]]
        return Candidate(model, params, flops, max(map(abs, relevant)))

    seen: list[Candidate] = []
    for start in _depths(family):
        candidates = [weigh(model) for model in _around(start, wanted, on, shape)]
        seen += candidates
        best = min(candidates, key=lambda candidate: candidate.error, default=None)
        if best is not None and best.error <= tolerance:
            return best.model
    raise InputError(_sentence(family, seen, wanted, on, tolerance))


def _depths(family: Model) -> Iterator[Model]:
    """The family at its own depth, then at the nearest others."""
    if not family.depth_field:
        yield family
        return
    depth = getattr(family, family.depth_field)
    for step in DEPTH_STEPS:
        if depth + step >= 1:
            yield family.replace(**{family.depth_field: depth + step})


def _around(start: Model, wanted: tuple[int, int], on: str, shape: dict[str, int]) -> list[Model]:
    """The members of the family just below and just above what is wanted, by bisection over the width."""
    step = width_step(start)
    least = 2 if _has_sincos(start) and step < 8 else 1

    def at(index: int) -> Model:
        return start.replace(**{start.width_field: index * step})

    def below(index: int, count: Callable[..., int], goal: int) -> bool:
        return count(at(index), **shape) <= goal

    found: dict[int, Model] = {}
    counts = {"params": (count_params, wanted[0]), "flops": (count_flops, wanted[1])}
    for name, (count, goal) in counts.items():
        if on not in (name, "both"):
            continue
        low, high = least - 1, least
        while below(high, count, goal) and high * step < WIDTH_LIMIT:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if below(middle, count, goal) else (low, middle)
        found |= {index: at(index) for index in (low, high) if index >= least}
    if on == "both" and found:
        found |= (
            {index: at(index) for index in range(min(found), max(found) + 1)} if max(found) - min(found) < 64 else {}
        )
    return list(found.values())


def width_step(model: Model) -> int:
    """The step in which the width may be turned: mixers, and the sine-cosine embedding, want multiples."""
    mixer = getattr(model, "mixer", None)
    step = 1 if mixer is None else mixer.width_multiple
    return 4 * step if _has_sincos(model) and step % 4 else step


def _has_sincos(model: Model) -> bool:
    """Whether the width must be a multiple of 4, at least 8."""
    return getattr(model, "position", None) == "sincos2d"


def _sentence(family: Model, seen: list[Candidate], wanted: tuple[int, int], on: str, tolerance: float) -> str:
    nearest = sorted(seen, key=lambda candidate: candidate.error)[:3]
    listed = "; ".join(
        f"{candidate.model!r} with {candidate.params:,} parameters and {candidate.flops:,} FLOPs, "
        f"off by {candidate.error:.1%}"
        for candidate in nearest
    )
    what = "params and flops" if on == "both" else on
    return (
        f"{what} of {type(family).__name__} must come within {tolerance:.1%} of the reference's {wanted[0]:,} "
        f"parameters and {wanted[1]:,} FLOPs, which no width and depth reaches. The nearest: {listed}."
    )
