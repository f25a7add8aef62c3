"""The findings of a plan: what every rule says of the records, as a list and as a table."""

import dataclasses
import string
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vision_attn import sources
from vision_attn.records import Records
from vision_attn.spec import InputError, from_json
from vision_attn.verdicts.base import AllOf, Finding, Verdict, judged
from vision_attn.verdicts.rates import found_rates

COLUMNS = (
    *("claim", "statement", "estimate", "low", "high", "n", "baseline", "verdict", "words", "rule", "metric"),
    *(
        "sd",
        "p",
        "p_holm",
        "is_difference",
        "is_exact",
        "false_supports",
        "false_contradicts",
        "detectable",
        "power",
        "refutes",
    ),
)


def findings(records: Records) -> list[Finding]:
    """What every rule of the plan says, in its order; rules for which the plan lacks cells are left out."""
    out: list[Finding] = []
    for data in records.plan.verdicts:
        try:
            verdict = rule(data, records)
        except InputError as error:
            claim, statement = str(data.get("claim", "")), str(data.get("statement", ""))
            out.append(Finding(claim, statement, "", "not measured", words=str(error)))
            continue
        out.append(_rated(verdict, judged(verdict, _used(records, verdict))))
    return [one for one in out if one.is_planned]


def rule(data: Mapping[str, Any], records: Records) -> Verdict:
    """A rule of the plan from its JSON. Raises `InputError` where it, or the source of an own kind, is amiss."""
    sources.bring(sources.named(data) & set(records.plan.sources), records.plan.experiment)
    return from_json(data, Verdict)


def table(found: Sequence[Finding]) -> pd.DataFrame:
    """The findings as a table, the parts of a claim below it and numbered: C1, C1.1, C1.2; C4a, C4b for two of one."""
    rows = []
    for one, claim in flat(found):
        row = dataclasses.asdict(dataclasses.replace(one, claim=claim, parts=()))
        rows.append(row | (row["rates"] or {}))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def flat(found: Sequence[Finding], *, above: str = "") -> list[tuple[Finding, str]]:
    """Every finding and part with its number."""
    out, claims = [], [one.claim for one in found]
    for i, one in enumerate(found):
        is_one_of_several = not above and claims.count(one.claim) > 1
        letter = string.ascii_lowercase[claims[:i].count(one.claim)] if is_one_of_several else ""
        claim = f"{above}.{i + 1}" if above else one.claim + letter
        out += [(one, claim), *flat(one.parts, above=claim)]
    return out


def _rated(verdict: Verdict, found: Finding) -> Finding:
    """The finding and its parts with the error rates and the power of their rules."""
    parts = found.parts
    if isinstance(verdict, AllOf) and parts:
        parts = tuple(_rated(part, one) for part, one in zip(verdict.parts, parts, strict=True))
    return dataclasses.replace(found, rates=found_rates(verdict, found), parts=parts)


def _used(records: Records, verdict: Verdict) -> Records:
    """The records of the metrics that a rule looks at, with their own coordinates: parts go through them many times.

    All records where there are none of some of them: the finding then says what there is instead.
    """
    if verdict.metrics is None or not verdict.metrics <= set(records.values["metric"]):
        return records
    values = records.values[records.values["metric"].isin(verdict.metrics)]
    place = list(values.columns).index("value") + 1
    unused = [name for name in values.columns[place:] if values[name].isna().all()]
    return dataclasses.replace(records, values=values.drop(columns=unused))
