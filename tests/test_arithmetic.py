"""The same training in three arithmetics: nothing else differs, and the rule asks for cells that are planned."""

from pathlib import Path

from planned import cells, seeds_asked_for

from vision_attn.experiment import load

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
    parts, seeds = seeds_asked_for(EXPERIMENT)
    assert parts == 2
    assert seeds
    assert all(own == list(range(5)) for own in seeds)
