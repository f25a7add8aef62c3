"""The same training in three arithmetics: nothing else differs, and the rule asks for cells that are planned."""

from pathlib import Path

from planned import cells

from vision_attn.experiment import load
from vision_attn.verdicts.rates import leaves

EXPERIMENT = load(Path(__file__).resolve().parents[1] / "experiments" / "arithmetic.py")[1]


def test_runs_of_a_seed_differ_in_precision_and_compiling_alone():
    found = {levels["arithmetic"]: run for levels, run in cells(EXPERIMENT, seed=3)}
    assert len(set(found.values())) == len(found) == 3
    alike = {run.replace(recipe=run.recipe.replace(precision="auto", compile="auto")) for run in found.values()}
    assert len(alike) == 1
    assert {way: (run.recipe.precision, run.recipe.compile) for way, run in found.items()} == {
        "float32": ("fp32", "off"),
        "bfloat16": ("bf16", "off"),
        "bfloat16, compiled": ("bf16", "on"),
    }


def test_the_rule_asks_for_cells_that_are_planned_with_five_seeds():
    parts = [part for rule in EXPERIMENT.verdicts for part in leaves(rule)]
    assert len(parts) == 2
    for at in {at for part in parts for _, at in part.cells}:
        fixed = {name: level for name, level in at if name in EXPERIMENT.factors}
        assert [levels["seed"] for levels, _ in cells(EXPERIMENT, **fixed)] == list(range(5))
