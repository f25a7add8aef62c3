"""Ranges: the runs that the rules of an experiment look at. A claim speaks for these, not for the whole page."""

from collections.abc import Iterator, Mapping, Sequence

from vision_attn.records import Records
from vision_attn.report.evidence import BUDGET, DECIDES, Evidence
from vision_attn.sources import FAULTS
from vision_attn.verdicts import AllOf, Verdict, rule

Known = Mapping[str, frozenset[str]]


def looked_at(records: Records, evidence: Sequence[Evidence]) -> Known:
    """By the name of every rule of an experiment, and of every part, its runs; those that cannot tell are left out."""
    found: dict[str, frozenset[str]] = {}
    waiting = sorted(evidence, key=lambda one: one.whole.rule)
    for data in records.plan.verdicts:
        about = data.get("claim"), data.get("statement")
        own = next((one for one in waiting if (_unlettered(one, about[0]), one.whole.statement) == about), None)
        if own is not None:
            waiting.remove(own)
            try:
                found |= {name: runs for name, runs in _named(rule(data, records), own.whole.rule, records) if runs}
            except FAULTS:  # its own page says what failed
                continue
    return found


def runs_of(evidence: Sequence[Evidence], known: Known) -> frozenset[str] | None:
    """The runs that some rules look at; None, for any, where one cannot tell.

    Where a rule is decided, parts that the budget leaves open have no say in it.
    """
    found = []
    for one in evidence:
        decides = one.whole.verdict in DECIDES
        parts = [part for part in one.parts if not (decides and part.verdict == BUDGET)] or [one.whole]
        found += [known.get(part.rule) for part in parts]
    return None if None in found or not found else frozenset().union(*filter(None, found))


def _unlettered(one: Evidence, claim: object) -> str:
    """The name of a rule as its plan has it: C4 for C4b, the second of two about one claim."""
    name = one.whole.rule
    return name[:-1] if name[:-1] == claim and name[-1:].islower() else name


def _named(own: Verdict, name: str, records: Records) -> Iterator[tuple[str, frozenset[str] | None]]:
    yield name, own.looks_at(records)
    if isinstance(own, AllOf):
        for number, part in enumerate(own.parts, start=1):
            yield from _named(part, f"{name}.{number}", records)
