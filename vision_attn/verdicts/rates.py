"""How often a rule errs and how much it takes to convince it: its answers on many made-up samples of seeds.

Simulated when a report is written rather than stored: that takes a fraction of a second a claim, gives the same numbers
for the same records, and needs the scatter between seeds that only the records know. The samples are judged by the
code that judges records.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from vision_attn import wording
from vision_attn.spec import InputError
from vision_attn.verdicts.base import AllOf, Finding, Verdict
from vision_attn.verdicts.seeds import SeedVerdict, on_seeds

REPEATS, SEARCHED = 100_000, 4_000
"""Made-up samples for rates of errors, and for each strength that is tried in the search for a power."""
POWER = 0.8
FARTHEST = 100.0
"""So many standard deviations beyond its bound a truth is clear."""
NO_SCATTER = 1e-9
"""The standard deviation that stands for none, where all seeds give the same number."""

Tested = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Answers:
    """In what share of made-up samples a rule gives each answer."""

    supports: float
    contradicts: float
    inconclusive: float


@dataclasses.dataclass(frozen=True)
class Rates:
    """Error rates and power of a rule with so many seeds and such a scatter between them.

    `false_supports`: how often it supports, at most, where one part is just false; `false_contradicts`: how often it
    contradicts where every part is just true; `detectable`: by how many standard deviations between seeds the truth of
    every part must lie beyond its bound for the rule to support in 80 % of samples, NaN where it never does; `power`:
    how often it supports what is true by far; `refutes`: how often it contradicts what is false by far.
    """

    false_supports: float
    false_contradicts: float
    detectable: float
    power: float
    refutes: float


def answers(
    verdict: Verdict,
    *,
    n: int | Sequence[int] = 5,
    sd: float | Sequence[float] = 0.01,
    beyond: float | Sequence[float] = 0.0,
    left_out: bool | Sequence[bool] = False,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Answers:
    """The answers of a rule where the truth of each part lies `beyond` its bound, towards what the claim says.

    `n` is the number of seeds and `sd` the standard deviation between seeds of the number that a part is about (of the
    difference where it is about one). Each is one number for all parts, or one a part that is measured. At 0 the truth
    is the bound: the claim is just true, or just false. Parts of one cell share its noise. Parts that are `left_out`
    say nothing, but count in Holm's correction.
    """
    parts = leaves(verdict)
    counts, spreads, shifts = _each(n, len(parts)), _each(sd, len(parts)), _each(beyond, len(parts))
    noise = _noise(parts, int(max(counts)), repeats, seed)
    numbers = [
        None if silent else part.made_up(one[:, : int(count)], sd=spread, beyond=shift)
        for part, one, count, spread, shift, silent in zip(
            parts, noise, counts, spreads, shifts, _each(left_out, len(parts)), strict=True
        )
    ]
    tested = _tested(verdict, iter(numbers))
    if tested is None:
        return Answers(0.0, 0.0, 1.0)
    yes, no = float(tested[0].mean()), float((tested[1] < 1).mean())
    return Answers(yes, no, 1 - yes - no)


def rates(
    verdict: Verdict,
    *,
    n: int | Sequence[int] = 5,
    sd: float | Sequence[float] = 0.01,
    left_out: bool | Sequence[bool] = False,
    seed: int = 0,
) -> Rates:
    """Error rates and power of a rule; see `answers` for what the arguments mean.

    Raises `InputError` where no part is measured, as where all hold by construction or are left out.
    """
    parts = leaves(verdict)
    silent = [bool(one) for one in _each(left_out, len(parts))]
    if all(silent):
        raise InputError(f"verdict of rates must have a part that is measured. Got {verdict.claim}, which has none.")
    counts, spreads = [int(one) for one in _each(n, len(parts))], _each(sd, len(parts))
    each = list(zip(parts, counts, spreads, strict=True))

    def at(strength: float, *, repeats: int = SEARCHED) -> Answers:
        beyond = [strength * part.scale(spread) for part, _, spread in each]
        return answers(verdict, n=counts, sd=spreads, beyond=beyond, left_out=silent, repeats=repeats, seed=seed)

    best = at(FARTHEST).supports
    speaking = [one for one, is_silent in zip(each, silent, strict=True) if not is_silent]
    return Rates(
        false_supports=max(answers(part, n=count, sd=spread, seed=seed).supports for part, count, spread in speaking),
        false_contradicts=at(0.0, repeats=REPEATS).contradicts,
        detectable=_first(lambda strength: at(strength).supports) if best >= POWER else float("nan"),
        power=best,
        refutes=at(-FARTHEST).contradicts,
    )


def found_rates(verdict: Verdict, found: Finding) -> Rates | None:
    """The rates with the seeds and the scatter of a finding; None where a part has no two seeds, or is no such rule."""
    parts, own = leaves(verdict), _measured(found)
    if not parts or len(parts) != len(own) or any(one.n < 2 for one in own):
        return None
    sds = [max(0.0 if np.isnan(one.sd) else one.sd, NO_SCATTER) for one in own]
    silent = _left_out(verdict, found)
    return rates(verdict, n=[one.n for one in own], sd=sds, left_out=False if all(silent) else silent)


def rates_text(own: Rates, found: Finding) -> str:
    """Error rates and power in sentences."""
    measured = _measured(found)
    counts = sorted({one.n for one in measured})
    seeds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    text = (
        f"Simulated with {seeds} seeds and the scatter found: contradicted in {_percent(own.false_contradicts)} of "
        f"cases where it is just true, supported in {_percent(own.false_supports)} at most where it is just false, "
    )
    refuted = ""
    if own.refutes == 0:
        refuted = " So few seeds cannot contradict it, however false it is."
    elif own.refutes <= 0.5:
        refuted = f" Where it is false by far it is contradicted in {_percent(own.refutes)}."
    if np.isnan(own.detectable):
        return f"{text}supported in {_percent(own.power)} where it is true by far.{refuted}"
    by = []
    if any(one.metric != "share" for one in measured):
        by.append(f"{own.detectable:.1f} standard deviations")
        if not found.parts:
            amount = wording.quantity(own.detectable * found.sd, metric=found.metric, unit="percentage points")
            by[-1] += f" ({amount})"
    if any(one.metric == "share" for one in measured):
        by.append(f"{_percent(min(1, own.detectable))} of the way from the bound to all seeds or none")
    subject = "every part" if found.parts else "it"
    return f"{text}supported in {_percent(POWER)} where {subject} is true by {wording.listing(by)}.{refuted}"


def leaves(verdict: Verdict) -> list[SeedVerdict]:
    """The parts of a rule that are measured, those of its parts too."""
    return [leaf for leaf in on_seeds(verdict) if not leaf.exact]


def _measured(found: Finding) -> list[Finding]:
    if found.parts:
        return [leaf for part in found.parts for leaf in _measured(part)]
    return [] if found.is_exact else [found]


def _left_out(verdict: Verdict, found: Finding, *, is_out: bool = False) -> list[bool]:
    """Of every measured part whether its claim speaks without it."""
    if not isinstance(verdict, AllOf):
        return [] if found.is_exact else [is_out]
    out = []
    for part, one in zip(verdict.parts, found.parts, strict=True):
        is_limited = verdict.leave_out == one.verdict == "budget-limited"
        out += _left_out(part, one, is_out=is_out or is_limited)
    return out


def _tested(verdict: Verdict, numbers: Iterator[np.ndarray | None]) -> Tested | None:
    """Of every sample whether the rule supports, and its p-value against the claim over the p that contradicts."""
    if isinstance(verdict, AllOf):
        parts = [tested for part in verdict.parts if (tested := _tested(part, numbers)) is not None]
        if not parts:
            return None
        supports = functools.reduce(np.logical_and, [one for one, _ in parts])
        return supports, functools.reduce(np.minimum, [one for _, one in parts]) * len(parts)
    if not isinstance(verdict, SeedVerdict) or verdict.exact:
        return None
    own = next(numbers)
    if own is None:
        return np.array(True), np.array(np.inf)
    if own.shape[-1] < verdict.min_seeds:
        return np.zeros(len(own), bool), np.full(len(own), np.inf)
    supports, p = verdict.test(own)
    return supports, p / (1 - verdict.level)


def _noise(parts: Sequence[SeedVerdict], n: int, repeats: int, seed: int) -> list[np.ndarray]:
    """Standard normal noise (repeats, n) of every part, the weighted sum of that of its cells.

    The second half is the first with all signs changed, so that what is symmetric comes out so.
    """
    keys = [[(part.metric, *sorted([*part.given, *at], key=str)) for _, at in part.cells] for part in parts]
    places = list(dict.fromkeys(key for own in keys for key in own))
    half = np.random.default_rng(seed).standard_normal((len(places), (repeats + 1) // 2, n))
    drawn = np.concatenate([half, -half], axis=1)[:, :repeats]
    out = []
    for part, own in zip(parts, keys, strict=True):
        weights = np.zeros(len(places))
        for (weight, _), key in zip(part.cells, own, strict=True):
            weights[places.index(key)] += weight
        used = np.flatnonzero(weights)
        out.append(np.tensordot(weights[used], drawn[used], axes=1) / (np.linalg.norm(weights) or 1.0))
    return out


def _first(power: Callable[[float], float]) -> float:
    """The least strength, in standard deviations, of that power; to two digits."""
    low, high = 0.0, FARTHEST
    while high - low > 0.01 * high:
        middle = (low + high) / 2 if low else high / 4
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


def _each(given: float | Sequence[float], number: int) -> list[float]:
    return list(np.broadcast_to(given, number).tolist())


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %".replace(".0 %", " %")
