"""Pairs: what figures share that hold two models of one seed against each other, and two seeds of one model."""

import itertools
from collections.abc import Iterable
from typing import Any

import pandas as pd

from vision_attn import wording
from vision_attn.figures.view import View

PAIR = ["first", "second"]


def pairs(view: View) -> list[tuple[Any, Any]]:
    """Every two levels of `hue`, and each with itself."""
    return list(itertools.combinations_with_replacement(view.levels(view.hue), 2))


def pair_text(hue: str, pair: tuple[Any, Any]) -> str:
    """ViT and ResNet; ViT, another seed."""
    first, second = (wording.level_text(hue, level) for level in pair)
    return f"{first}, another seed" if pair[0] == pair[1] else f"{first} and {second}"


def seeds_of(measured: Iterable[tuple[Any, Any]], pair: tuple[Any, Any]) -> list[tuple[Any, Any]]:
    """The pairs of seeds at which two levels are compared, of those measured; of one with itself each with the next."""
    own = list(measured)
    first, second = ([seed for level, seed in own if level == name] for name in pair)
    if pair[0] != pair[1]:
        return [(seed, seed) for seed in first if seed in second]
    following = list(zip(first, [*first[1:], *first[:1]], strict=True))
    return following if len(first) > 2 else following[: len(first) - 1]


def joined(view: View, found: pd.DataFrame) -> pd.DataFrame:
    """The means found, beside the number of pairs of seeds planned for every pair of levels in every panel."""
    by = [*view.panels, *PAIR]
    cells = pd.DataFrame(pairs(view), columns=PAIR)
    if view.panels:
        cells = view.runs[list(view.panels)].drop_duplicates().merge(cells, how="cross")
    out = cells.astype(object).merge(found.astype(dict.fromkeys(by, object)), on=by, how="left")
    planned = view.runs[view.over].nunique()
    lacks_pair = (out["first"] == out["second"]) & (planned <= 2)
    out["planned"] = planned
    out.loc[lacks_pair, "planned"] = planned - 1
    out["n"] = out["n"].fillna(0).astype(int)
    return out


def overlap_text(table: pd.DataFrame, over: str) -> str:
    """That pairs of one level with itself have networks in common, or ""."""
    is_own = (table["first"] == table["second"]) & (table["n"] > 2)
    if not is_own.any():
        return ""
    return f"Of one with itself every {over} is in two pairs, which the intervals take for independent: they are rough."
