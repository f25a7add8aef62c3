"""Decisions: the findings of the experiment's verdicts in rows to be printed."""

import dataclasses
from collections.abc import Collection, Sequence

from vision_attn.report.evidence import effect_text
from vision_attn.report.shown import CONSTRUCTED, shown
from vision_attn.verdicts import Finding, flat, is_uncorrected, rates_text


@dataclasses.dataclass(frozen=True)
class Decision:
    """One claim, or one part of it, as it stands on the page."""

    claim: str
    statement: str
    estimate: str
    n: str
    baseline: str
    verdict: str
    words: str
    rule: str
    simulated: str
    """Error rates and power of the rule."""
    is_part: bool
    is_exact: bool
    """Whether it holds by construction rather than by measurement."""

    @property
    def holds(self) -> bool:
        """Whether the verdict says that it is exact."""
        return self.verdict == CONSTRUCTED

    @property
    def style(self) -> str:
        """The name of the verdict in the style sheet."""
        return self.verdict.replace(" ", "-")


def decisions(found: Sequence[Finding], *, withdrawn: Collection[str] = ()) -> list[Decision]:
    """Every finding in order, the parts of a claim below it; rules that the log has `withdrawn` say so."""
    return [
        Decision(
            claim=claim,
            statement=one.statement,
            estimate=effect_text(dataclasses.asdict(one), metric=one.metric, is_difference=one.is_difference) or "–",
            n="all runs" if one.is_exact and one.n else str(one.n or "–"),
            baseline=(one.baseline or "–").replace(" %", "\u00a0%"),
            verdict="withdrawn" if (gone := claim.partition(".")[0] in withdrawn) else _shown(one),
            words=f"Said before: {_shown(one)}. {_words(one)}".strip() if gone else _words(one),
            rule=one.rule,
            simulated=rates_text(one.rates, one) if one.rates else "",
            is_part="." in claim and claim != one.claim,
            is_exact=one.is_exact,
        )
        for one, claim in flat(found)
    ]


def _shown(one: Finding) -> str:
    return shown(one.verdict, is_exact=_is_exact(one))


def _words(one: Finding) -> str:
    """What is said beside the verdict: of theorems no count of support, and which part contradicts by itself alone."""
    if one.parts and _shown(one) == CONSTRUCTED:
        return f"All {len(one.parts)} parts do."
    if is_uncorrected(one.verdict, one.p_holm, level=one.level):
        return f"Uncorrected: p = {one.p_holm:.2g} after Holm's correction for the number of parts. {one.words}".strip()
    return one.words


def _is_exact(one: Finding) -> bool:
    return all(map(_is_exact, one.parts)) if one.parts else one.is_exact
