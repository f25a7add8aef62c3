"""Answer: what the records say to the question of their experiment, in one sentence at the top of its page."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pandas as pd

from vision_attn import wording
from vision_attn.figures import ErrorConsistency, Figure, Gap, Selection
from vision_attn.records import Records, facets, fitted_levels, pick
from vision_attn.report.drawn import made
from vision_attn.report.evidence import DECIDES, Evidence, Part
from vision_attn.report.scope import SEED, scope
from vision_attn.sources import FAULTS
from vision_attn.statistics import mean_interval

BEGINNINGS = {
    "supports": "Supported",
    "contradicts": "Contradicted",
    "inconclusive": "Undecided",
    "budget-limited": "Not decided within this training budget",
    "not measured": "Not measured yet",
    "holds by construction": "Holds by construction",
}
SMOKE = "No answer: this is a smoke run, with two updates a run, and its numbers mean nothing."
WITHDRAWN = "No answer: the verdicts of these runs are withdrawn."
NOTHING = "No answer yet: no run is done."
F = TypeVar("F", bound=Figure)


def answer(records: Records, evidence: Sequence[Evidence]) -> str:
    """The first rule that decides, if only in part, else the difference to the reference, else the best mean."""
    if records.plan.smoke:
        return SMOKE
    if not (records.runs["state"] == "done").any():
        return NOTHING
    counted = [one for one in evidence if not one.is_withdrawn]
    if evidence and not counted:
        return WITHDRAWN
    found = (
        _from_rules(counted)
        or _from_gap(records)
        or _from_selection(records)
        or _from_mistakes(records)
        or _from_means(records)
        or _from_counts(records)
    )
    range_of = scope(records)
    return f"{found} Speaks for {wording.listing(range_of)}." if range_of else found


def _from_rules(evidence: Sequence[Evidence]) -> str:
    if not evidence:
        return ""
    one = next((one for one in evidence if one.whole.verdict in DECIDES or one.divided), evidence[0])
    text = f"{BEGINNINGS.get(one.shown, one.shown.capitalize())}: {one.whole.statement.rstrip('.')}"
    part = one.decisive
    if one.divided:
        told = [f"{count}: {_number(part, of=one.whole)}" for count, part in one.divided]
        text = f"{text.replace(':', ' as a whole:', 1)}. But {', and '.join(told)}"
    elif part.effect:
        text += f"; {_number(part, of=one.whole)}"
    others = [BEGINNINGS.get(other.shown, other.shown) for other in evidence if other is not one]
    counts = wording.listing([f"{count} {word.lower()}" for word, count in Counter(others).items()])
    return f"{text}." + (f" {wording.counted(len(others), 'more rule')} below: {counts}." if others else "")


def _number(part: Part, *, of: Part) -> str:
    """The number that decides, after its own sentence where the rule has several."""
    about = "" if part.rule == of.rule else f" for “{part.statement.rstrip('.')}”"
    return f"{part.effect}{about}, {wording.counted(part.n, 'seed')}" if part.n else f"{part.effect}{about}"


def _from_gap(records: Records) -> str:
    """The first model beside the reference of the first `Gap`, at the largest level along its axis.

    Of the factors beside it is the last level measured there, which is said.
    """
    for figure, table in _measured(records, Gap, metric="accuracy"):
        rows = table.dropna(subset=["estimate"])
        if len(rows):
            rows, at = rows[rows[figure.x] == rows[figure.x].max()], []
            for name in facets(records.plan, used=(figure.x, figure.hue, figure.over)):
                if name in rows:
                    level = [one for one in records.plan.levels(name) if (rows[name] == one).any()][-1]
                    rows = rows[rows[name] == level]
                    at.append(_level(name, level))
            return _gap_text(rows.to_dict("records")[0], figure, at)
    return ""


def _measured(records: Records, kind: type[F], *, metric: str) -> Iterator[tuple[F, pd.DataFrame]]:
    """The figures of a kind and of a metric that have a table with rows."""
    for data in records.plan.figures:
        try:
            figure = made(data, records.plan)
            if not isinstance(figure, kind) or getattr(figure, "metric", metric) != metric:
                continue
            table = figure.table(records) if figure.applies(records.plan) else pd.DataFrame()
        except FAULTS:  # its place on the page says what failed
            continue
        if len(table):
            yield figure, table


def _from_selection(records: Records) -> str:
    """What the best of a search has on validation images, model by model, at the last level of the factors beside."""
    for figure, table in _measured(records, Selection, metric="val_accuracy"):
        rows, at = table[table["chosen"] & (table["n"] > 0)], []
        for name in figure.by:
            level = records.plan.levels(name)[-1]
            rows = rows[rows[name] == level]
            at.append(_level(name, level))
        best = rows.sort_values("estimate", ascending=False, kind="stable").to_dict("records")
        if best:
            where = f" with {wording.listing(at)}" if at else ""
            shares = [f"{row[figure.hue]} {wording.number(row['estimate'], metric=figure.metric)} %" for row in best]
            return f"Best on validation images{where}: {'; '.join(shares)}.{_part_done(records)}"
    return ""


def _part_done(records: Records) -> str:
    """Said where runs are missing, as one of them may be better than what was found."""
    runs = records.runs.drop_duplicates("run")
    done = int((runs["state"] == "done").sum())
    return f" Only {done:,} of {len(runs):,} runs are done." if done < len(runs) else ""


def _from_mistakes(records: Records) -> str:
    """The two models that share the fewest mistakes, beside two seeds of each of them."""
    for figure, table in _measured(records, ErrorConsistency, metric="correct"):
        pairs = table.dropna(subset="estimate").drop_duplicates(["first", "second"])
        between = pairs[pairs["first"] != pairs["second"]].sort_values("estimate", kind="stable").to_dict("records")
        if not between:
            continue
        least = between[0]
        same = {row["first"]: row for row in pairs.to_dict("records") if row["first"] == row["second"]}
        names = [name for name in (least["first"], least["second"]) if name in same]
        seeds = [f"two {figure.over}s of {name} {_kappa(same[name])}" for name in names]
        told = "; ".join([f"{least['first']} and {least['second']} {_kappa(least)}", *seeds])
        seeds_text = wording.counted(least["n"], figure.over)
        return f"Mistakes in common (kappa; 1: the same, 0: by chance): {told}; {seeds_text}."
    return ""


def _kappa(row: dict[Any, Any]) -> str:
    return wording.interval({**row, "planned": row["n"]}, metric="")


def _gap_text(row: dict[Any, Any], figure: Gap, at: list[str]) -> str:
    bounds = [row["low"], row["high"]]
    behind = row["estimate"] < 0
    if behind:
        bounds = [-bounds[1], -bounds[0]]
    certain = "" if pd.isna(bounds[0]) or bounds[0] > 0 else " (the interval holds 0)"
    said = wording.number(abs(row["estimate"]), metric="accuracy")
    if not pd.isna(bounds[0]):
        said += f" [{', '.join(wording.number(bound, metric='accuracy') for bound in bounds)}]"
    side, where = "behind" if behind else "ahead of", wording.listing([_level(figure.x, row[figure.x]), *at])
    return (
        f"With {where} {row[figure.hue]} is {said} points {side} {row['reference']} in "
        f"{figure.split} accuracy{certain}, {wording.counted(row['n'], figure.over)}."
    )


def _level(factor: str, level: Any) -> str:
    """A level in a sentence, the number of images whole: 4,000 training images."""
    if factor == "train_size":
        return f"{wording.level_cell(level)} training images"
    return wording.level_text(factor, level)


def _from_means(records: Records) -> str:
    """The model with the highest mean test accuracy at the largest training set."""
    factors = records.plan.factors
    values = pick(records, "accuracy", at={"split": "test"})
    if "model" not in factors or SEED not in factors or values.empty:
        return ""
    others = [name for name in factors if name not in ("model", SEED) and len(factors[name]) > 1]
    values = values[~values["model"].isin(fitted_levels(records.plan, "model"))]
    if values.groupby(["model", *others], observed=True)[SEED].agg(frozenset).nunique() > 1:
        return "Which model has the best mean is not said: not all are measured with the same seeds."
    means = mean_interval(values, by=["model", *others])
    if means.empty:
        return ""
    row = means.sort_values("estimate", ascending=False).to_dict("records")[0]
    said = wording.interval({**row, "planned": row["n"]}, metric="accuracy")
    at = "".join(f", {wording.level_text(name, row[name])}" for name in others)
    return f"The best mean test accuracy is that of {row['model']}{at}: {said} %, {wording.counted(row['n'], SEED)}."


def _from_counts(records: Records) -> str:
    runs = records.runs.drop_duplicates("run")
    done = int((runs["state"] == "done").sum())
    return f"No rule decides this question: the figures show {done:,} of {len(runs):,} runs."
