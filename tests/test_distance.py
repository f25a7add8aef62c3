"""The distance experiment: its learning rates are those that were chosen, its models see as far as they say."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from vision_attn.experiment import load, plan
from vision_attn.models import Model
from vision_attn.plan import Plan
from vision_attn.probes.support import reach
from vision_attn.spec import from_json, to_json

ROOT = Path(__file__).resolve().parents[1]
SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 8}
_, EXPERIMENT = load(ROOT / "experiments" / "distance.py")
MODELS = {
    cell.factors["model"]: from_json(run.run["model"], Model)
    for planned in [plan(EXPERIMENT, name="distance")]
    for cell in planned.cells
    for run in [planned.runs[cell.run]]
}
FARTHEST = {"CNN, radius 1": 1, "CNN, radius 2": 2, "CNN, radius 4": 4, "attention to radius 1": 2}


@pytest.mark.parametrize("name", MODELS)
def test_no_model_sees_farther_than_it_is_said_to(name):
    """Support of gradients in both modes: architecture, and the network as it stands, where a norm could leak."""
    torch.manual_seed(0)
    module = MODELS[name].build(**SHAPE)
    last = f"blocks.{len(module.blocks) - 1}"
    for mode in ("architectural", "dependency"):
        found = reach(module, image_size=32, patch_size=4, layers=[last], mode=mode)[last]
        assert found.distance == FARTHEST.get(name, 7)
        if name == "LSTM":
            assert (found.right, found.down) == (0, 0)


def test_learning_rates_are_those_of_the_committed_choice():
    folder = ROOT / "results" / "distance-rates"
    table = pd.read_csv(folder / "tables" / "Choice.csv")
    best = table[table["chosen"]].set_index("model")["learning_rate"].to_dict()
    chosen_by_run = {}
    for cell in plan(EXPERIMENT, name="distance").cells:
        chosen_by_run[cell.factors["model"]] = EXPERIMENT.run(**cell.factors).recipe.learning_rate
    assert {name: chosen_by_run[name] for name in best} == best
    assert Plan.read(folder).factors == plan(EXPERIMENT.preset("rates"), name="distance").factors


def test_the_pooled_control_asks_the_same_networks_for_one_answer_an_image():
    cell = {"aligned": True, "model": "CNN, radius 1", "distance": 4, "learning_rate": "chosen", "seed": 0}
    pooled = EXPERIMENT.run(variant="filled, pooled", **cell)
    assert pooled.model == EXPERIMENT.run(variant="filled", **cell).model.replace(pool="mean")
    assert to_json(pooled.data)["pooled"] is True
    assert pooled.model.build(**SHAPE)(torch.zeros(2, 3, 32, 32)).shape == (2, 8)


def test_seven_cells_leave_no_room_for_a_distance_of_seven():
    cell = {"variant": "filled", "model": "LSTM", "distance": 7, "learning_rate": "chosen", "seed": 0}
    assert EXPERIMENT.run(aligned=False, **cell) is None
    assert EXPERIMENT.run(aligned=True, **cell) is not None
