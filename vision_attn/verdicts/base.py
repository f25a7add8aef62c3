"""Verdicts: rules that decide a claim, stated in the experiment before it runs and kept in its plan."""

import abc
import dataclasses
import string
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from vision_attn.records import Records
from vision_attn.spec import InputError, Spec, from_json, spec

Answer = Literal["supports", "contradicts", "inconclusive", "not measured"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a rule says of the records: an estimate with its interval, what it is held against, and the verdict.

    `is_planned` is False where the plan lacks a cell that the rule asks for, as in another preset.
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
    baseline: str = ""
    metric: str = ""
    is_difference: bool = False
    is_planned: bool = True
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

    @abc.abstractmethod
    def decide(self, records: Records) -> Finding:
        """Apply the rule."""


@spec
class AllOf(Verdict):
    """A claim that holds where all its parts hold."""

    parts: tuple[Verdict, ...]

    def check(self) -> None:
        self.require("parts", len(self.parts) >= 2, "two verdicts or more")

    @property
    def rule(self) -> str:
        return "Supports where every part does, contradicts where any part does, else inconclusive."

    def decide(self, records: Records) -> Finding:
        parts = tuple(judged(part, records) for part in self.parts)
        answers = [part.verdict for part in parts]
        result: Answer = decided(set(answers) == {"supports"}, "contradicts" in answers)
        if set(answers) == {"not measured"}:
            result = "not measured"
        counts = {one: answers.count(one) for one in dict.fromkeys(answers)}
        words = f"Of {len(parts)} parts: {', '.join(f'{count} {one}' for one, count in counts.items())}."
        n = min(part.n for part in parts)
        is_planned = all(part.is_planned for part in parts)
        return Finding(
            self.claim, self.statement, self.rule, result, words=words, n=n, is_planned=is_planned, parts=parts
        )


def judged(verdict: Verdict, records: Records) -> Finding:
    """The finding of a rule; what it asks for and the records cannot give is said, not raised."""
    try:
        return verdict.decide(records)
    except InputError as error:
        return Finding(verdict.claim, verdict.statement, verdict.rule, "not measured", words=str(error))


def findings(records: Records) -> list[Finding]:
    """What every rule of the plan says, in its order; rules for which the plan lacks cells are left out."""
    out = []
    for data in records.plan.get("verdicts", []):
        try:
            verdict = from_json(data, Verdict)
        except InputError as error:
            claim, statement = str(data.get("claim", "")), str(data.get("statement", ""))
            out.append(Finding(claim, statement, "", "not measured", words=str(error)))
            continue
        out.append(judged(verdict, records))
    return [one for one in out if one.is_planned]


def table(found: Sequence[Finding]) -> pd.DataFrame:
    """The findings as a table, the parts of a claim below it and numbered: C1, C1.1, C1.2; C4a, C4b for two of one."""
    names = ["claim", "statement", "estimate", "low", "high", "n", "baseline", "verdict", "words", "rule", "metric"]
    rows = []
    for one, claim in flat(found):
        rows.append(dataclasses.asdict(dataclasses.replace(one, claim=claim, parts=())))
    return pd.DataFrame(rows, columns=names)


def flat(found: Sequence[Finding], *, above: str = "") -> list[tuple[Finding, str]]:
    """Every finding and part with its number."""
    out, claims = [], [one.claim for one in found]
    for i, one in enumerate(found):
        letter = string.ascii_lowercase[claims[:i].count(one.claim)] if claims.count(one.claim) > 1 else ""
        claim = f"{above}.{i + 1}" if above else one.claim + letter
        out += [(one, claim), *flat(one.parts, above=claim)]
    return out


def decided(supports: bool, contradicts: bool) -> Answer:
    return "contradicts" if contradicts else "supports" if supports else "inconclusive"
