"""Controls: where networks are no better than what needs no network, or attention than nothing in its place."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from vision_attn import wording
from vision_attn.plan import Plan
from vision_attn.records import BASELINES, Records, fitted_levels, pick
from vision_attn.report.provenance import Notice
from vision_attn.report.scope import budget_factor
from vision_attn.spec import RENAMED

USED = 0.05
"""How much accuracy attention has to add to count as used: more than models differ by between subsets and seeds."""


def notices(records: Records) -> list[Notice]:
    """What models fall short of, at every number of training images, whichever condition they do best with.

    Networks of logistic regression, and attention of being `USED` ahead of the same network with a zero mixer. Where
    there are several budgets, one network is looked at after its largest measured, two after the largest of both.
    """
    factors = records.plan.factors
    if "model" not in factors:
        return []
    budget = budget_factor(records) or ""
    ladder = list(factors.get(budget, ()))
    ladder = sorted(ladder) if all(map(wording.is_number, ladder)) else ladder
    budgets = [f"after {wording.level_cell(level)} {budget.replace('_', ' ')}" for level in ladder]
    parts = _parts(records, budget, ladder)
    return [*_about_baselines(records.plan, parts, budgets), *_about_attention(records.plan, parts, budgets)]


Parts = list[tuple[str, dict[Any, dict[int, float]]]]
"""For every number of images in words, "" where that is no factor: of every model the best mean accuracy by budget.

A budget is its place among the levels of its factor, from the least on; 0 where there are no several.
"""


def _parts(records: Records, budget: str, ladder: Sequence[Any]) -> Parts:
    cells = [name for name in records.plan.factors if name != "seed"]
    values = pick(records, "accuracy", at={"split": "test"})
    means = values.groupby(cells, observed=True, dropna=False)["value"].mean().reset_index()
    means["_size"] = means["train_size"] if "train_size" in cells else ""
    means["_budget"] = means[budget].map(ladder.index).astype(int) if budget else 0
    best = means.groupby(["_size", "model", "_budget"], observed=True)["value"].max()
    found: dict[str, dict[Any, dict[int, float]]] = {}
    for (size, model, place), value in best.items():
        found.setdefault(wording.level_cell(size), {}).setdefault(model, {})[place] = value
    return list(found.items())


def _about_baselines(plan: Plan, parts: Parts, budgets: Sequence[str]) -> Iterator[Notice]:
    linear, fitted = (fitted_levels(plan, "model", kinds) for kinds in (("LogisticRegression",), BASELINES))
    below: dict[Any, dict[int, list[str]]] = {}
    for size, best in parts:
        bar = max((max(best[name].values()) for name in linear & best.keys()), default=-math.inf)
        for name in [name for name in best if name not in fitted]:
            top = max(best[name])
            if best[name][top] < bar:
                below.setdefault(name, {}).setdefault(top, []).append(size)
    if below:
        names = [f"{name}{_where(found, budgets)}" for name, found in below.items()]
        at = " at the largest budget that each is measured with" if budgets else ""
        yield Notice(f"Worse than logistic regression on test images{at}: {'; '.join(names)}.", loud=True)


def _where(found: dict[int, list[str]], budgets: Sequence[str]) -> str:
    """Sizes by budget behind a name: (with 250, 1,000 images, after 48,000 images seen)."""
    said = []
    for place, sizes in sorted(found.items()):
        words = [f"with {', '.join(sizes)} images"] if any(sizes) else []
        said.append(", ".join([*words, *budgets[place : place + 1]]))
    return f" ({'; '.join(said)})" if any(said) else ""


def _about_attention(plan: Plan, parts: Parts, budgets: Sequence[str]) -> Iterator[Notice]:
    at = " at the largest budget that both are measured with" if budgets else ""
    for model, control in _controlled(plan):
        short: dict[int, list[str]] = {}
        for size, best in parts:
            common = best.get(model, {}).keys() & best.get(control, {}).keys()
            top = max(common, default=0)
            if common and (lead := best[model][top] - best[control][top]) < USED:
                points = wording.number(lead, metric="accuracy", signed=True)
                short.setdefault(top, []).append(f"{points}{f' with {size} images' if size else ''}")
        said = [f"{f'{budgets[place]}: ' if budgets else ''}{', '.join(leads)}" for place, leads in short.items()]
        if said:
            yield Notice(
                f"{model} does not use attention: it is less than {100 * USED:g} points ahead of {control}, the same "
                f"network in which no token sees another, both with the training that suits them best{at} "
                f"({'; '.join(said)}).",
                loud=True,
            )


def _controlled(plan: Plan) -> list[tuple[Any, Any]]:
    """The models with attention, each with the zero mixer in an equal network; how its weights begin aside."""
    found: dict[str, dict[Any, Any]] = {"SelfAttention": {}, "ZeroMixer": {}}
    for cell in plan.cells:
        model = plan.runs[cell.run].run.get("model", {})
        stored = model.get("mixer", {"kind": "SelfAttention"})["kind"]
        mixer = RENAMED.get(stored, stored)
        if model.get("kind") == "ViT" and mixer in found:
            network = {name: value for name, value in model.items() if name not in ("mixer", "init")}
            found[mixer][cell.factors["model"]] = network
    return [
        (one, two) for one, own in found["SelfAttention"].items() for two, it in found["ZeroMixer"].items() if own == it
    ]
