"""Verdicts: rules that decide a claim, stated in the experiment before it runs and kept in its plan."""

import abc
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Literal

import numpy as np

from vision_attn import sources, wording
from vision_attn.records import Records
from vision_attn.spec import InputError, Spec, spec
from vision_attn.statistics import holm

if TYPE_CHECKING:
    from vision_attn.verdicts.rates import Rates

Answer = Literal["supports", "contradicts", "inconclusive", "budget-limited", "not measured"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a rule says of the records: an estimate with its interval, what it is compared with, and the verdict.

    `p` is the two-sided p-value against the claim: below 1 - `level` the rule contradicts it. `p_holm` is the same,
    corrected for the number of parts of the claim (Holm 1979). `is_exact` tells what holds by construction from what
    was measured. `rates` are the simulated error rates and power of the rule. `is_planned` is False where the plan
    lacks a cell that the rule asks for, as in another preset.
    """

    claim: str
    statement: str
    rule: str
    verdict: Answer
    words: str = ""
    estimate: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    sd: float = np.nan
    p: float = np.nan
    p_holm: float = np.nan
    level: float = 0.95
    baseline: str = ""
    metric: str = ""
    is_difference: bool = False
    is_exact: bool = False
    is_planned: bool = True
    rates: "Rates | None" = None
    parts: tuple["Finding", ...] = ()


@spec
class Verdict(Spec, abc.ABC):
    """A claim in one sentence and the rule that decides it. Raises `InputError` where its cells cannot be meant."""

    claim: str
    statement: str

    @property
    @abc.abstractmethod
    def rule(self) -> str:
        """The rule in words."""

    @property
    def metrics(self) -> frozenset[str] | None:
        """The metrics that the rule looks at; None where they may be any."""
        return None

    def looks_at(self, records: Records) -> frozenset[str] | None:
        """The runs of the cells that the rule compares; None where they may be any."""
        return None

    @abc.abstractmethod
    def decide(self, records: Records) -> Finding:
        """Apply the rule."""


@spec
class AllOf(Verdict):
    """A claim that holds where all its parts hold.

    Every part is one more chance to contradict a true claim: at 95 % one of nine parts does so in one case of five.
    The claim is contradicted where a part's p-value is small after Holm's correction for the number of parts; it needs
    no correction to be supported by all. Parts that hold by construction are conditions and do not count.

    `leave_out` says what parts mean whose cells are limited by the budget: where they are left out, the claim speaks
    for the others, as a claim over several sizes may; else it is not decided without them.
    """

    parts: tuple[Verdict, ...]
    leave_out: Literal["nothing", "budget-limited"] = "nothing"

    def check(self) -> None:
        self.require("parts", len(self.parts) >= 2, "two verdicts or more")

    @property
    def rule(self) -> str:
        text = (
            "Supports where every part does, contradicts where any part does after Holm's correction for the number of "
            "parts, else inconclusive."
        )
        if self.leave_out == "budget-limited":
            text += " Parts whose cells are limited by the budget are left out."
        return text

    @property
    def metrics(self) -> frozenset[str] | None:
        known = [part.metrics for part in self.parts]
        return None if None in known else frozenset().union(*filter(None, known))

    def looks_at(self, records: Records) -> frozenset[str] | None:
        known = [part.looks_at(records) for part in self.parts]
        return None if None in known else frozenset().union(*filter(None, known))

    def decide(self, records: Records) -> Finding:
        parts = _corrected([judged(part, records) for part in self.parts])
        broken = [part for part in parts if part.is_exact and part.verdict == "contradicts"]
        measured = [part for part in parts if not part.is_exact] or parts
        answer = _conjunction(measured, leaves_out=self.leave_out == "budget-limited")
        words = _counted(measured, kind="part" if len(measured) == len(parts) else "measured part")
        if broken:
            answer = "not measured"
            words = f"A fault of the suite: what holds by construction does not. {broken[0].statement}"
        return Finding(
            self.claim,
            self.statement,
            self.rule,
            answer,
            words=words,
            n=min(part.n for part in measured),
            p=min([1.0, *(part.p_holm for part in measured if not np.isnan(part.p_holm))]),
            is_planned=all(part.is_planned for part in parts),
            parts=tuple(parts),
        )


def judged(verdict: Verdict, records: Records) -> Finding:
    """The finding of a rule; what it asks for and the records cannot give is said, not raised."""
    try:
        return verdict.decide(records)
    except InputError as error:
        return Finding(verdict.claim, verdict.statement, verdict.rule, "not measured", words=str(error))
    except sources.FAULTS as error:  # a rule, perhaps one's own, must not cost the page
        words = sources.fault(error)
        return Finding(verdict.claim, verdict.statement, "", "not measured", words=words)


def decided(*, supports: bool, contradicts: bool) -> Answer:
    """The answer of a rule that was measured; a contradiction goes before."""
    return "contradicts" if contradicts else "supports" if supports else "inconclusive"


def _corrected(parts: list[Finding]) -> list[Finding]:
    """The parts with their p-values corrected; those that cannot be decided yet count as well."""
    counted = [part for part in parts if not part.is_exact]
    adjusted = iter(holm([1.0 if np.isnan(part.p) else part.p for part in counted]))
    return [part if part.is_exact else dataclasses.replace(part, p_holm=float(next(adjusted))) for part in parts]


def _conjunction(parts: list[Finding], *, leaves_out: bool) -> Answer:
    answers = {part.verdict for part in parts}
    if any(part.verdict == "contradicts" and part.p_holm < 1 - part.level for part in parts):
        return "contradicts"
    if answers == {"not measured"}:
        return "not measured"
    if answers == {"supports"} or (leaves_out and answers == {"supports", "budget-limited"}):
        return "supports"
    return "budget-limited" if answers <= {"supports", "budget-limited"} else "inconclusive"


def is_uncorrected(verdict: str, p_holm: float, *, level: float) -> bool:
    """Whether a part contradicts by itself only. Without a correction `p_holm` is NaN: then it does not."""
    return verdict == "contradicts" and p_holm >= 1 - level


def _counted(parts: list[Finding], *, kind: str) -> str:
    """How many parts say what, in words: 4 of 9 parts contradict it and 1 is inconclusive.

    Counted apart are those that contradict by themselves but not once Holm has corrected for their number.
    """
    verbs = {
        "contradicts": ("contradicts it", "contradict it"),
        "uncorrected": ("contradicts it only uncorrected", "contradict it only uncorrected"),
        "supports": ("supports it", "support it"),
    }
    is_lost = [is_uncorrected(part.verdict, part.p_holm, level=part.level) for part in parts]
    counts = Counter("uncorrected" if lost else part.verdict for part, lost in zip(parts, is_lost, strict=True))
    said: list[str] = []
    for answer in [*verbs, *(other for other in counts if other not in verbs)]:
        if count := counts[answer]:
            one, several = verbs.get(answer, (f"is {answer}", f"are {answer}"))
            among = "" if said else f" of {len(parts)} {kind}{'s' * (len(parts) > 1)}"
            said.append(f"{count}{among} {one if count == 1 else several}")
    text = f"{wording.listing(said)}."
    if counts["contradicts"] or counts["uncorrected"]:
        smallest = min(part.p_holm for part in parts if part.verdict == "contradicts")
        text += f" Smallest p-value after Holm's correction: {smallest:.2g}."
    return text
