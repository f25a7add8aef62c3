"""Controls: where networks are no better than what needs no network, or attention than nothing in its place."""

from collections.abc import Iterator
from typing import Any

from vision_attn import wording
from vision_attn.plan import Plan
from vision_attn.records import BASELINES, Records, fitted_levels, pick
from vision_attn.report.provenance import Notice
from vision_attn.spec import RENAMED

USED = 0.05
"""How much accuracy attention has to add to count as used: more than models differ by between subsets and seeds."""


def notices(records: Records) -> list[Notice]:
    """What models fall short of, at every number of training images, whichever condition or budget they do best with.

    Networks of logistic regression, and attention of being `USED` ahead of the same network with a zero mixer.
    """
    if "model" not in records.plan.factors:
        return []
    by = [name for name in ("train_size",) if name in records.plan.factors]
    cells = [name for name in records.plan.factors if name != "seed"]
    values = pick(records, "accuracy", at={"split": "test"})
    means = values.groupby(cells, observed=True, dropna=False)["value"].mean().reset_index()
    best = means.groupby([*by, "model"], observed=True)["value"].max().reset_index()
    each = best.groupby("train_size", observed=True) if by else [("", best)]
    sizes = [(wording.level_cell(size), part) for size, part in each]
    parts = [(size, part.set_index("model")["value"].to_dict()) for size, part in sizes]
    return [*_about_baselines(records.plan, parts), *_about_attention(records.plan, parts)]


Parts = list[tuple[str, dict[Any, float]]]
"""The best mean accuracy of every model, for every number of images in words; "" where that is no factor."""


def _about_baselines(plan: Plan, parts: Parts) -> Iterator[Notice]:
    linear, fitted = (fitted_levels(plan, "model", kinds) for kinds in (("LogisticRegression",), BASELINES))
    below: dict[Any, list[str]] = {}
    for size, best in parts:
        bar = max((best[name] for name in linear & best.keys()), default=None)
        for name in [name for name in best if bar is not None and name not in fitted and best[name] < bar]:
            below.setdefault(name, []).append(size)
    if below:
        names = [
            f"{name} (with {', '.join(sizes)} images)" if any(sizes) else str(name) for name, sizes in below.items()
        ]
        yield Notice(f"Worse than logistic regression on test images: {'; '.join(names)}.", loud=True)


def _about_attention(plan: Plan, parts: Parts) -> Iterator[Notice]:
    for model, control in _controlled(plan):
        leads = [(size, best[model] - best[control]) for size, best in parts if {model, control} <= best.keys()]
        short = [f"{100 * lead:+.1f}{f' with {size} images' if size else ''}" for size, lead in leads if lead < USED]
        if short:
            yield Notice(
                f"{model} does not use attention: it is less than {100 * USED:g} points ahead of {control}, the same "
                f"network in which no token sees another, both with the training that suits them best "
                f"({', '.join(short)}).",
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
