"""Evidence: the verdicts that all experiments in a folder of results have committed, claim by claim."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vision_attn import wording
from vision_attn.plan import Plan, folders_in
from vision_attn.report import conclusions, withdrawals
from vision_attn.report.claims import Claim, claim_of, claims
from vision_attn.report.conclusions import Conclusion, Reference
from vision_attn.report.shown import CONSTRUCTED, UNCORRECTED, shown
from vision_attn.report.withdrawals import Entry
from vision_attn.spec import InputError
from vision_attn.tables import read_tables
from vision_attn.verdicts import SeedVerdict, is_uncorrected

TABLE = "verdicts"
NEEDED = ("claim", "statement", "estimate", "low", "high", "n", "verdict", "words", "rule", "metric")
DECIDES = ("supports", "contradicts")
BUDGET = "budget-limited"
LAST = (BUDGET, "not measured", "withdrawn")
"""What answers nothing, or no longer: told after what does."""
LEVEL = re.compile(r"\b(\d+(?:\.\d+)?) % [\w-]+ interval")
"""How a rule in words names the level of its interval, which the table does not have beside it."""
Row = dict[Any, Any]
Log = Mapping[tuple[str, str], Entry]
Ranges = Mapping[tuple[str, str], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Part:
    """One rule, or one part of a rule, with its numbers as texts; `asked` is the rule in words."""

    rule: str
    statement: str
    verdict: str
    effect: str
    n: int
    metric: str
    is_exact: bool
    p_holm: float = 1.0
    asked: str = ""
    is_uncorrected: bool = False
    """Whether it contradicts by itself only, and not corrected for the number of parts."""

    @property
    def shown(self) -> str:
        """The verdict as readers see it."""
        return shown(self.verdict, is_exact=self.is_exact, is_uncorrected=self.is_uncorrected)

    @property
    def told(self) -> str:
        """The number and its statement in a line; an interval that looks decided says what leaves it open."""
        limited = f", {BUDGET}" if self.verdict == BUDGET else ""
        of = f" (n = {self.n}{limited})" if self.n else ""
        return f"{self.effect}{of}: {self.statement}" if self.effect else self.statement


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What one rule of one experiment says of a claim, and what the log of results says of that.

    `decisive` is the part that decides: the surest contradiction where the rule contradicts, else the first part
    of the same verdict; the rule itself where it has no parts.
    """

    folder: str
    experiment: str
    whole: Part
    parts: tuple[Part, ...]
    words: str
    entry: Entry | None = None

    @property
    def verdict(self) -> str:
        return "withdrawn" if self.is_withdrawn else self.whole.verdict

    @property
    def shown(self) -> str:
        """The verdict as readers see it."""
        return shown(self.verdict, is_exact=self.is_exact)

    @property
    def said_before(self) -> str:
        """The verdict as readers saw it before it was withdrawn."""
        return dataclasses.replace(self, entry=None).shown

    @property
    def is_exact(self) -> bool:
        """Whether all of it holds by construction."""
        return all(part.is_exact for part in self.parts or (self.whole,))

    @property
    def is_withdrawn(self) -> bool:
        return self.entry is not None and self.entry.withdraws

    @property
    def decisive(self) -> Part:
        same = [part for part in self.parts if part.verdict == self.whole.verdict]
        if self.whole.verdict == "contradicts":
            same.sort(key=lambda part: part.p_holm)
        return next(iter(same), self.parts[0] if self.parts else self.whole)

    @property
    def supporting(self) -> list[Part]:
        """The parts that support a rule that is inconclusive as a whole.

        First stands one about what the deciding part is about, if there is one: parts that only say whether a rule can
        be tested measure something else.
        """
        if self.verdict != "inconclusive":
            return []
        parts = [part for part in self.parts if part.verdict == "supports" and not part.is_exact]
        return sorted(parts, key=lambda part: part.metric != self.decisive.metric)

    @property
    def contradicting(self) -> list[Part]:
        """The parts that contradict a rule that is inconclusive as a whole, the surest first."""
        if self.verdict != "inconclusive":
            return []
        parts = [part for part in self.parts if part.verdict == "contradicts" and not part.is_exact]
        return sorted(parts, key=lambda part: part.p_holm)

    @property
    def divided(self) -> list[tuple[str, Part]]:
        """How many parts decide each way, each with one of them: 2 of 6 parts support it, and 1 contradicts it."""
        measured = [part for part in self.parts if not part.is_exact]
        kind = "parts" if len(measured) == len(self.parts) else "measured parts"
        said: list[tuple[str, Part]] = []
        for verb, parts in (("support", self.supporting), ("contradict", self.contradicting)):
            if parts:
                of = "" if said else f" of {len(measured)} {kind}"
                said.append((f"{len(parts)}{of} {verb}{'s' * (len(parts) == 1)} it", parts[0]))
        return said

    @property
    def divided_text(self) -> str:
        """How many parts decide a rule that is inconclusive as a whole, and one each way; nothing where none does."""
        return " ".join(f"{count}: {part.told}" for count, part in self.divided)

    @property
    def kind(self) -> str:
        """Whether it holds by construction or was measured; nothing where the verdict says so."""
        exact = [part.is_exact for part in self.parts or (self.whole,)]
        if all(exact):
            return "" if self.shown == CONSTRUCTED else "exact, by construction"
        return f"measured; {sum(exact)} of {len(exact)} parts exact" if any(exact) else "measured"


@dataclasses.dataclass(frozen=True)
class Judged:
    """A claim of the tutorials, or of somebody's own, with all the evidence about it.

    `conclusion` says what it comes to; `changed` are the verdicts it rests on that are not, or no longer, as it says.
    `cited` are the rules about something else on which it rests, each with those parts alone that it names.
    """

    id: str
    claim: Claim | None
    evidence: tuple[Evidence, ...]
    conclusion: Conclusion | None = None
    changed: tuple[Reference, ...] = ()
    cited: tuple[Evidence, ...] = ()

    @property
    def pages(self) -> dict[str, list[Evidence]]:
        """The rules about it by folder, and those cited of a folder that has none."""
        found: dict[str, list[Evidence]] = {}
        for one in (*self.evidence, *self.only_cited):
            found.setdefault(one.folder, []).append(one)
        return found

    @property
    def only_cited(self) -> list[Evidence]:
        """The rules cited of a folder that has none about it."""
        own = {one.folder for one in self.evidence}
        return [one for one in self.cited if one.folder not in own]

    @property
    def verdict(self) -> str:
        """The verdict on which all that counts agrees; else mixed. What a budget leaves open counts last."""
        current = {one.whole.verdict for one in self.evidence if not one.is_withdrawn} - {"not measured"}
        current = current - {BUDGET} or current
        if not current:
            return "withdrawn" if any(one.is_withdrawn for one in self.evidence) else "not measured"
        return current.pop() if len(current) == 1 else "mixed"

    @property
    def shown(self) -> str:
        """The verdict as readers see it: theorems alone support nothing."""
        supporting = [one for one in self.evidence if one.verdict == "supports"]
        return shown(self.verdict, is_exact=all(one.is_exact for one in supporting))

    @property
    def in_short(self) -> Conclusion | None:
        """What it comes to, as long as the verdicts that this rests on stand."""
        return None if self.changed else self.conclusion

    @property
    def advice(self) -> str:
        """What to do. Where current verdicts agree on no answer and nothing is concluded, how to read them."""
        if self.claim is not None and self.verdict in DECIDES:
            return self.claim.advice[self.verdict]
        if self.in_short is not None:
            return "" if self.claim is None else self.claim.advice["otherwise"]
        if self.verdict == "mixed":
            return "The rules do not agree: go by the statements beside, each for itself."
        if any(one.divided for one in self.evidence):
            return "Not decided as a whole: go by the parts beside, each for itself."
        return "None: nothing is decided. Measure it on your own data before you rely on it."


def judged(results: Path) -> list[Judged]:
    """C1 to C12, then claims of one's own, each with what the experiments in `results` say of it.

    Reads the committed tables alone, whose checksums are verified. Raises `InputError` where one is damaged, and where
    a conclusion does not say that a part it cites contradicts uncorrected only.
    """
    found: dict[str, list[Evidence]] = {}
    log = withdrawals.read(results)
    for folder, plan in folders(results).items():
        for one in _evidence(folder, plan, log):
            found.setdefault(claim_of(one.whole.rule), []).append(one)
    known = {one.id: one for one in claims()}
    others = sorted(set(found) - set(known))
    standing = {
        reference: reference
        for rules in found.values()
        for one in rules
        for reference in (_reference(one, part) for part in (one.whole, *one.parts))
    }
    said = conclusions.read(results)
    if unknown := sorted(set(said) - {*known, *others}):
        raise InputError(f"{results / conclusions.FILE} must be about claims of rules. Got {wording.listing(unknown)}.")
    rows = []
    for name in [*known, *others]:
        conclusion = said.get(name)
        references = [] if conclusion is None else conclusion.references
        changed = tuple(one for one in references if one not in standing)
        if conclusion is not None:
            _require_marks(references, standing, f"{results / conclusions.FILE}, {name},")
            conclusion = conclusion.with_references(standing)
        evidence = sorted(found.get(name, ()), key=_standing)
        further = [one for other, rules in found.items() if other != name and not changed for one in rules]
        cited = tuple(_cited(further, references))
        rows.append(Judged(name, known.get(name), tuple(evidence), conclusion, changed, cited))
    return rows


def _require_marks(said: Sequence[Reference], standing: Mapping[Reference, Reference], where: str) -> None:
    """Raise `InputError` where words do not say that a part holds uncorrected only, or say so of one that holds."""
    for one in said:
        if (known := standing.get(one)) is not None and known.is_uncorrected != one.is_uncorrected:
            marked, plain = (f"“{one.verdict}{mark}”" for mark in (f" {UNCORRECTED}", ""))
            own, given = (marked, plain) if known.is_uncorrected else (plain, marked)
            why = "by itself, but not with its p-value corrected for the number of parts"
            reason = (
                f"it {one.verdict} {why}" if known.is_uncorrected else "its verdict does not depend on a correction"
            )
            raise InputError(f"{where} must say {own} of `{one.folder}` {one.rule}: {reason}. Got {given} instead.")


def _cited(rules: Sequence[Evidence], references: Sequence[Reference]) -> Iterator[Evidence]:
    """Those of the rules that are named, or have parts that are; a rule that is not named itself with these alone."""
    named = {(one.folder, one.rule) for one in references}
    for one in rules:
        parts = tuple(part for part in one.parts if (one.folder, part.rule) in named)
        if (one.folder, one.whole.rule) in named:
            yield one
        elif parts:
            yield dataclasses.replace(one, parts=parts)


def _standing(one: Evidence) -> int:
    return 1 + LAST.index(one.verdict) if one.verdict in LAST else 0


def _reference(rule: Evidence, part: Part) -> Reference:
    verdict = "withdrawn" if rule.is_withdrawn else part.verdict
    is_exact = rule.is_exact if part is rule.whole else part.is_exact
    is_marked = part.is_uncorrected and not rule.is_withdrawn
    return Reference(rule.folder, part.rule, verdict, part.effect, is_uncorrected=is_marked, is_exact=is_exact)


def folders(results: Path) -> dict[Path, Plan]:
    """The folders of experiments in a folder of results with their plans, by name; smoke runs count for nothing."""
    plans = {folder: Plan.read(folder) for folder in folders_in(results)}
    return {folder: plan for folder, plan in plans.items() if not plan.smoke}


def _evidence(folder: Path, plan: Plan, log: Log) -> list[Evidence]:
    """The rules of one experiment from its committed table."""
    if not (folder / f"{TABLE}.csv").is_file():
        return []
    rows = read_tables(folder, {TABLE: NEEDED})[TABLE].to_dict("records")
    return of_rows(rows, folder=folder.name, experiment=plan.experiment, log=log)


def of_rows(rows: Sequence[Row], *, folder: str, experiment: str, log: Log) -> list[Evidence]:
    """The rules of a table of findings (`verdicts.table`), each with its parts and what the log says of it."""
    found = []
    for row in rows:
        name = str(row["claim"])
        if "." not in name:
            parts = [_part(one) for one in rows if re.fullmatch(rf"{re.escape(name)}\.\d+", str(one["claim"]))]
            entry = log.get((folder, name))
            found.append(Evidence(folder, experiment, _part(row), tuple(parts), _text(row["words"]), entry))
    return found


def _part(row: Row) -> Part:
    metric, rule = _text(row["metric"]), _text(row["rule"])
    is_difference = bool(row.get("is_difference", " minus " in rule))
    p = row.get("p_holm")
    p_holm = float("nan") if p is None else float(p)
    return Part(
        rule=str(row["claim"]),
        statement=_text(row["statement"]),
        verdict=str(row["verdict"]),
        effect=effect_text(row, metric=metric, is_difference=is_difference),
        n=0 if pd.isna(row["n"]) else int(row["n"]),
        metric=metric,
        is_exact=row.get("is_exact") is True or row.get("is_exact") == "True",
        p_holm=1.0 if pd.isna(p_holm) else p_holm,
        asked=rule,
        is_uncorrected=is_uncorrected(row["verdict"], p_holm, level=_level(rule)),
    )


def _level(rule: str) -> float:
    """The level of a rule in words: of the interval that it names, else of all that name none."""
    named = LEVEL.search(rule)
    return float(named[1]) / 100 if named else SeedVerdict.level


def effect_text(row: Row, *, metric: str, is_difference: bool) -> str:
    """Estimate and interval of a rule with their unit: −21.7 [−24.5, −18.9] points."""
    if row["estimate"] is None or pd.isna(row["estimate"]):
        return ""
    bounds = {name: row[name] for name in ("estimate", "low", "high")}
    text = wording.interval({**bounds, "n": row["n"], "planned": row["n"]}, metric=metric, signed=is_difference)
    unit = "points" if is_difference else "%"
    return f"{text} {unit}" if wording.is_share(metric) else text


def _text(cell: Any) -> str:
    return "" if cell is None or (isinstance(cell, float) and pd.isna(cell)) else str(cell)


def markdown(rows: Sequence[Judged], *, page: str, link: str, ranges: Ranges | None = None) -> str:
    """The claims as a table in Markdown, one row each; `page` is the address of the verdict page, `link` of results.

    What came out is the conclusion. A claim without one has the number of the first rule with its verdict; where
    verdicts differ, one for each. `ranges` say, by claim and folder, what its rules there speak for beside the seeds.
    """
    lines = ["| claim | in words | verdict | what came out | pages, and what they speak for |", "|---|---|---|---|---|"]
    for row in rows:
        if row.claim is not None:
            cells = (
                f"[{row.id}]({page}#{row.id})",
                _cell(row.claim.short),
                row.shown,
                _cell(row.in_short.markdown(link, page=page, claim=row.id)) if row.in_short else _numbers(row),
                "; ".join(_pages(row, link, ranges or {})),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _pages(row: Judged, link: str, ranges: Ranges) -> Iterator[str]:
    """The pages of a claim, each with its seeds and its range: data_size (5 seeds, 0.19 to 0.21 million parameters)."""
    only_cited = {one.folder for one in row.only_cited}
    for folder, rules in row.pages.items():
        cited = ["cited only"] if folder in only_cited else []
        said = ", ".join([*cited, *seeds_text(rules), *ranges.get((row.id, folder), ())])
        yield f"[`{folder}`]({link}/{folder}/report.html)" + (f" ({said})" if said else "")


def seeds_text(rules: Sequence[Evidence]) -> list[str]:
    """The seeds of all that some rules measured: 5 to 11 seeds; nothing where all of it is exact."""
    parts = [part for one in rules for part in (one.parts or (one.whole,))]
    counts = [part.n for part in parts if part.n and not part.is_exact]
    return [" to ".join(dict.fromkeys([str(min(counts)), str(max(counts))])) + " seeds"] if counts else []


def _numbers(row: Judged) -> str:
    current = [one for one in row.evidence if not one.is_withdrawn and one.verdict != "not measured"]
    if row.verdict != "mixed":
        return next((_number(one) for one in current if one.verdict == row.verdict), "")
    first = {one.shown: one for one in reversed(current)}
    return "<br>".join(f"{verdict}: {_number(one)}" for verdict, one in sorted(first.items()))


def _number(one: Evidence) -> str:
    return "<br>".join(_cell(text) for text in (one.decisive.told, one.divided_text) if text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
