"""The distance experiment: learning rates as chosen, models that see as far as they say, what none can know."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from vision_attn.data import CuedRecall
from vision_attn.data.lattice import STEPS, cells_of, glyphs
from vision_attn.experiment import load, plan
from vision_attn.models import Model
from vision_attn.plan import Plan
from vision_attn.probes.reach import reach
from vision_attn.spec import from_json, to_json

ROOT = Path(__file__).resolve().parents[1]
SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 8}
_, EXPERIMENT = load(ROOT / "experiments" / "distance.py")
MODELS = {
    cell.factors["model"]: from_json(run.run["model"], Model)
    for planned in [plan(EXPERIMENT.preset("full"), name="distance")]
    for cell in planned.cells
    if cell.factors["variant"] == "filled"
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


def logits_at_cue(module, images, labels):
    """The logits at the token of each image's cue."""
    where = labels != -100
    with torch.no_grad():
        return module.eval()(images.double()).permute(0, 2, 3, 1)[where]


def tasks(distance, directions="all"):
    """Images of the task, their labels, and the same images with another glyph at the target."""
    task = CuedRecall(distance=distance, directions=directions, num_pairs=32 if directions == "all" else 16)
    split = task.draw(64, generator=torch.Generator().manual_seed(distance))
    steps = torch.tensor(STEPS)[split.attributes["direction"]] * distance
    image, rows, columns = (split.labels != -100).nonzero(as_tuple=True)
    changed = split.images.clone()
    cells_of(changed)[image, :, rows + steps[:, 0], columns + steps[:, 1]] = glyphs(9)[8]
    return split, changed


@pytest.mark.parametrize(("name", "radius"), [("CNN, radius 1", 1), ("CNN, radius 2", 2), ("CNN, radius 4", 4)])
def test_whatever_its_weights_a_cnn_does_not_know_a_target_beyond_its_radius(name, radius):
    torch.manual_seed(0)
    module = MODELS[name].build(**SHAPE).double()
    for distance in range(1, 8):
        split, changed = tasks(distance)
        own, other = (logits_at_cue(module, images, split.labels) for images in (split.images, changed))
        assert torch.equal(own, other) == (distance > radius)


def test_whatever_its_weights_an_lstm_that_reads_one_way_does_not_know_what_comes_later():
    torch.manual_seed(0)
    module = MODELS["LSTM"].build(**SHAPE).double()
    for distance in (1, 4, 7):
        split, changed = tasks(distance)
        own, other = (logits_at_cue(module, images, split.labels) for images in (split.images, changed))
        later = torch.isin(split.attributes["direction"], torch.tensor([0, 2]))  # right and down
        assert torch.equal(own[later], other[later])
        assert not torch.equal(own[~later], other[~later])


def test_whatever_its_weights_attention_without_positions_knows_only_which_glyphs_are_there():
    """With the cells other than the cue's in another order it says the same, so it gets no more than the commonest."""
    torch.manual_seed(0)
    split, _ = tasks(4)
    image, rows, columns = (split.labels != -100).nonzero(as_tuple=True)
    mixed = split.images.clone()
    cells, source = cells_of(mixed), cells_of(split.images)
    for i, row, column in zip(image.tolist(), rows.tolist(), columns.tolist(), strict=True):
        others = [place for place in range(64) if place != 8 * row + column]
        for place, other in zip(others, torch.tensor(others)[torch.randperm(63)].tolist(), strict=True):
            cells[i, :, place // 8, place % 8] = source[i, :, other // 8, other % 8]
    for name, knows in (("attention, no position", False), ("attention, learned", True)):
        module = MODELS[name].build(**SHAPE).double()
        own, other = (logits_at_cue(module, images, split.labels) for images in (split.images, mixed))
        assert torch.allclose(own, other, rtol=0, atol=1e-9) != knows


def test_every_distance_and_both_lattices_have_equally_many_pairs_drawn_by_the_seed():
    for cell in plan(EXPERIMENT.preset("controls"), name="distance").cells:
        data = EXPERIMENT.run(**cell.factors).data
        assert data.num_pairs == (32 if data.aligned else 28)
        assert data.pair_seed == cell.factors["seed"]
