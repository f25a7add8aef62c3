import dataclasses

import pytest
import torch
from torch import Tensor, nn

from vision_attn import Recall
from vision_attn.data import CuedRecall, Data, Parity, Split
from vision_attn.spec import InputError


class Same(nn.Module):
    """The same class at every place of every image."""

    def __init__(self, answer: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.answer, self.shape = answer, shape

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 8, *self.shape)
        out[:, self.answer] = 1
        return out


def measured(data: Data, model: nn.Module) -> dict[tuple, float]:
    rows = list(Recall()(model, data))
    assert all(row["metric"] == "accuracy" and row["split"] == "test" for row in rows)
    return {(row["distance"], row.get("direction")): row["value"] for row in rows}


@pytest.mark.parametrize("pooled", [True, False])
def test_accuracy_is_counted_by_distance_and_direction(pooled):
    data = CuedRecall(distance=None, test_size=300, pooled=pooled).load()
    values = measured(data, Same(3, () if pooled else (8, 8)))
    truth = data.test.labels if pooled else data.test.labels.flatten(1).amax(1)
    facts = data.test.facts
    assert set(values) == {(d, w) for d in range(8) for w in (None, "right", "left", "down", "up")}
    for (distance, direction), value in values.items():
        chosen = facts["distance"] == distance
        if direction:
            chosen &= facts["direction"] == ["right", "left", "down", "up"].index(direction)
        expected = sum(int(label == 3) for label in truth[chosen]) / int(chosen.sum())
        assert value == pytest.approx(expected)


def test_one_distance_in_one_axis_gives_one_distance_and_two_directions():
    data = CuedRecall(distance=2, directions="vertical", test_size=50).load()
    assert set(measured(data, Same(0, (8, 8)))) == {(2, None), (2, "down"), (2, "up")}


def test_parity_has_distance_and_direction_too():
    data = Parity(distance=5, test_size=50).load()
    assert set(measured(data, Same(0, ()))) == {(5, None), (5, "right"), (5, "down")}


def test_images_that_do_not_say_their_distance_are_refused():
    data = CuedRecall(distance=2, test_size=5).load()
    bare = dataclasses.replace(data, test=Split(data.test.images, data.test.labels))
    with pytest.raises(InputError, match="data of Recall must be a task that says the distance and direction"):
        list(Recall()(Same(0, (8, 8)), bare))
