import dataclasses

import pytest
import torch
from torch import Tensor, nn

from vision_attn import Mnist5k, ViT
from vision_attn.data import CuedRecall, Data, Parity, Split
from vision_attn.models import LSTM
from vision_attn.probes import AccuracyByDistance, AccuracyByLag
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
    rows = list(AccuracyByDistance()(model, data))
    assert all(row["metric"] == "accuracy" and row["split"] == "test" for row in rows)
    return {(row["distance"], row.get("direction")): row["value"] for row in rows}


@pytest.mark.parametrize("pooled", [True, False])
def test_accuracy_is_counted_by_distance_and_direction(pooled):
    data = CuedRecall(distance=None, test_size=300, pooled=pooled).load()
    values = measured(data, Same(3, () if pooled else (8, 8)))
    truth = data.test.labels if pooled else data.test.labels.flatten(1).amax(1)
    attributes = data.test.attributes
    assert set(values) == {(d, w) for d in range(8) for w in (None, "right", "left", "down", "up")}
    for (distance, direction), value in values.items():
        chosen = attributes["distance"] == distance
        if direction:
            chosen &= attributes["direction"] == ["right", "left", "down", "up"].index(direction)
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
    for probe in (AccuracyByDistance(), AccuracyByLag()):
        sentence = f"data of {type(probe).__name__} must be a task that says the distance and direction"
        with pytest.raises(InputError, match=sentence):
            list(probe(Same(0, (8, 8)), bare))
        assert probe.skip(ViT(), Mnist5k()) == "mnist5k does not say the distance and direction of its images"
        assert probe.skip(ViT(), CuedRecall(distance=2)) is None


class Oracle(nn.Module):
    """Right where the target stands in the given places relative to the cue, else wrong; `reader` is a part of it."""

    def __init__(self, data: Data, right: set[tuple[int, int]], reader: nn.Module) -> None:
        super().__init__()
        self.reader = reader
        steps = torch.tensor([(0, 1), (0, -1), (1, 0), (-1, 0)])[data.test.attributes["direction"]]
        where = (steps * data.test.attributes["distance"][:, None]).tolist()
        knows = torch.tensor([tuple(place) in right for place in where])
        labels = data.test.labels.flatten(1).amax(1)
        self.answers = torch.where(knows, labels, (labels + 1) % 8)
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        answers = self.answers[self.seen : self.seen + len(x)]
        self.seen += len(x)
        return nn.functional.one_hot(answers, 8)[:, :, None, None].expand(-1, -1, 8, 8).float()


def reads(*orders: str) -> nn.Module:
    vit = ViT(dim=8, depth=1, patch_size=4, pool="none")
    shape = {"image_size": 32, "in_chans": 3, "num_classes": 8}
    return nn.ModuleList([vit.replace(mixer=LSTM(order=order)).build(**shape) for order in orders])


RASTER = {(0, -3): 3, (0, 3): -3, (-3, 0): 24, (3, 0): -24}
COLUMNS = {(0, -3): 24, (0, 3): -24, (-3, 0): 3, (3, 0): -3}


@pytest.mark.parametrize(
    ("orders", "lags"),
    [
        ((), RASTER),
        (("raster",), RASTER),
        (("columns",), COLUMNS),
        (("columns", "columns"), COLUMNS),
        (("raster", "columns"), RASTER),
    ],
)
def test_a_lag_counts_tokens_in_the_order_in_which_the_model_reads(orders, lags):
    data = CuedRecall(distance=3, test_size=80).load()
    for place, lag in lags.items():
        rows = list(AccuracyByLag()(Oracle(data, {place}, reads(*orders)), data))
        assert {row["lag"]: row["value"] for row in rows} == {other: float(other == lag) for other in lags.values()}
        assert all(row["metric"] == "accuracy" and row["split"] == "test" for row in rows)


def test_at_distance_0_the_lag_is_0_whatever_the_direction():
    data = CuedRecall(distance=0, test_size=30).load()
    (row,) = AccuracyByLag()(Same(2, (8, 8)), data)
    assert row["lag"] == 0
    assert row["value"] == pytest.approx((data.test.labels.flatten(1).amax(1) == 2).double().mean().item())
