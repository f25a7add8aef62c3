"""Training on images that are drawn anew for every update, and on maps of labels."""

import dataclasses
import math

import pytest
import torch
from tiny_training import EAGER, bits, rows, start, steps
from torch import Tensor, nn

from vision_attn import Accuracy, Mnist5k, Recipe, Run, ViT
from vision_attn.data import CuedRecall
from vision_attn.execution import execute
from vision_attn.probes import AccuracyByDistance, Size
from vision_attn.spec import InputError, digest, to_json
from vision_attn.store import WEIGHTS, Store, probe_file
from vision_attn.training.checkpoint import from_bytes, to_bytes
from vision_attn.training.compiling import cross_entropy
from vision_attn.training.compute import choose
from vision_attn.training.evaluate import accuracy, read_out
from vision_attn.training.requirements import require_fit

CPU = torch.device("cpu")
RECIPE = Recipe(updates=6, batch_size=8, crop_padding=0, compile="off")
TASK = CuedRecall(distance=2, val_size=16, test_size=24)
DATA = TASK.load()
RUN = Run(model=ViT(dim=16, depth=1, pool="none"), data=TASK, recipe=RECIPE, seed=0)


class Cells(nn.Module):
    """A prediction a cell from the cell and its neighbours, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Conv2d(3, 16, 4, stride=4), nn.Conv2d(16, 16, 3, padding=1)
        self.dropout, self.head = nn.Dropout(0.1), nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.mix(self.embed(x)).relu()))


class Pointwise(nn.Module):
    """A prediction a cell from the cell alone."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


def seen(make_model, *, seed: int = 0) -> list[Tensor]:
    """The normalised images of every update."""
    found = []
    state = start(make_model, RECIPE, seed=seed)
    state.model.register_forward_pre_hook(
        lambda module, args: found.append(args[0].clone()) if module.training else None
    )
    list(steps(state, RECIPE, DATA))
    return found


def trained(recipe: Recipe = RECIPE, *, stops: tuple[int, ...] = ()) -> tuple[bytes, list[dict]]:
    found, state = [], start(Cells, recipe)
    for stop in (*stops, recipe.updates):
        for row in steps(state, recipe, DATA):
            found.append(row)
            if state.update == stop:
                break
        saved = to_bytes(state.state_dict())
        torch.manual_seed(stop)
        state = start(Cells, recipe)
        state.load_state_dict(from_bytes(saved))
    return bits(state.model), rows(found)


def test_every_update_sees_images_of_its_own_the_same_for_every_model_of_a_seed():
    cells, pointwise, other = seen(Cells), seen(Pointwise), seen(Cells, seed=1)
    assert len(cells) == 6
    assert all(torch.equal(a, b) for a, b in zip(cells, pointwise, strict=True))
    images = [image.numpy().tobytes() for batch in (*cells, *other) for image in batch]
    assert len(set(images)) == 2 * 6 * 8
    held = {image.numpy().tobytes() for split in (DATA.val, DATA.test) for image in DATA.normalise(split.images)}
    assert not held & set(images)


@pytest.mark.parametrize("stops", [(1,), (2, 3), (5,)])
def test_resuming_gives_the_bits_of_the_uninterrupted_run(stops):
    assert trained(stops=stops) == trained()


def test_rows_have_no_epoch_and_a_budget_of_epochs_is_refused():
    row = trained()[1][-1]
    assert "epoch" not in row
    assert row["images_seen"] == 48
    with pytest.raises(InputError, match="epochs of Recipe must be None where training images are drawn anew"):
        Recipe(epochs=2).num_updates(DATA.train_size)


def test_the_loss_of_a_label_map_is_that_of_its_labelled_places():
    torch.manual_seed(0)
    model, images = Cells().eval(), DATA.normalise(DATA.test.images[:5])
    labels = DATA.test.labels[:5].clone()
    labels[0, 0, 0] = 3  # two places in one image
    scores = model(images).detach()
    for smoothing in (0.0, 0.2):
        expected = []
        for n, r, c in (labels != -100).nonzero().tolist():
            logp = scores[n, :, r, c].log_softmax(0)
            expected.append(-(1 - smoothing) * logp[labels[n, r, c]] - smoothing * logp.mean())
        assert cross_entropy(model, images, labels, smoothing).item() == pytest.approx(
            float(torch.stack(expected).mean()), rel=1e-5
        )


def test_only_labelled_places_count_for_accuracy():
    torch.manual_seed(0)
    model = Cells().eval()
    with torch.no_grad():
        scores = model(DATA.normalise(DATA.test.images))
    hits = [
        int(scores[n, :, r, c].argmax() == DATA.test.labels[n, r, c])
        for n, r, c in (DATA.test.labels != -100).nonzero()
    ]
    assert len(hits) == 24
    assert accuracy(model, DATA.test, normalise=DATA.normalise) == sum(hits) / 24
    values = {(row["metric"], row["split"]): row["value"] for row in Accuracy()(model, DATA)}
    assert values["accuracy", "test"] == sum(hits) / 24
    labels = DATA.test.labels.flatten(1).amax(1)
    picked = read_out(scores, DATA.test.labels)
    assert torch.equal(picked[1], labels)
    assert values["loss", "test"] == pytest.approx(nn.functional.cross_entropy(*picked).item(), rel=1e-5)
    on_sample = accuracy(model, DATA.train.sample, normalise=DATA.normalise)
    assert values["accuracy", "train"] == on_sample


def test_a_pointwise_model_learns_what_lies_at_the_cue_and_nothing_that_lies_beside_it():
    found = {}
    recipe = Recipe(updates=150, batch_size=64, learning_rate=1e-2, crop_padding=0)
    for distance in (0, 1):
        data = CuedRecall(distance=distance, val_size=1000, test_size=1).load()
        found[distance] = rows(steps(start(Pointwise, recipe), recipe, data))[-1]["val_accuracy"]
    assert found[0] > 0.95
    assert abs(found[1] - 1 / 8) < 5 * (1 / 8 * 7 / 8 / 1000) ** 0.5


@pytest.mark.slow
def test_a_label_map_trains_compiled_as_it_does_uncompiled():
    recipe = RECIPE.replace(compile="on")
    choices = choose(recipe, Cells(), data=DATA, device=CPU, threads=1)
    assert choices.compile, choices.compile_reason
    losses = []
    for compiled in (True, False):
        state = start(Pointwise, recipe)
        found = rows(steps(state, recipe, DATA, dataclasses.replace(EAGER, compile=compiled)))
        losses.append([row["train_loss"] for row in found])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_crops_are_refused_where_it_matters_what_lies_where():
    with pytest.raises(InputError) as caught:
        require_fit(Recipe(updates=1), Cells(), data=DATA)
    assert str(caught.value) == (
        "crop_padding of Recipe must be 0 on cued-recall-filled-2, where it matters what lies where. Got 4 instead."
    )


@pytest.mark.parametrize(
    ("model", "task", "sentence"),
    [
        (ViT(dim=16, depth=1), TASK, "one a cell of a grid of 8 x 8 on {}. Got one an image"),
        (
            ViT(dim=16, depth=1, pool="none"),
            TASK.replace(pooled=True),
            "one an image on {}. Got one a cell of a grid of 8 x 8",
        ),
        (
            ViT(dim=16, depth=1, patch_size=8, pool="none"),
            TASK,
            "one a cell of a grid of 8 x 8 on {}. Got one a cell of a grid of 4 x 4",
        ),
    ],
)
def test_predictions_must_be_where_the_labels_are(model, task, sentence):
    module = model.build(image_size=32, in_chans=3, num_classes=8).train()
    with pytest.raises(InputError) as caught:
        require_fit(RECIPE, module, data=task.load())
    assert str(caught.value) == f"predictions of the model must be {sentence.format(task.label)} instead."
    assert module.training


def executed(folder, run: Run, *probes, **options):
    store = Store(folder).open(digest(run), hint=run.hint, run=to_json(run), index={})
    return store, execute(store, run, probes, device=CPU, threads=1, **options)


def test_a_run_on_fresh_images_is_trained_measured_and_written_down(tmp_path):
    probes = (Accuracy(), AccuracyByDistance(), Size())
    folder, outcome = executed(tmp_path, RUN, *probes)
    assert outcome.name == "done"
    result = folder.result()
    assert result["ended"] == "budget"
    assert {name: result["data"][name] for name in ("train_size", "val_size", "test_size", "num_classes")} == {
        "train_size": None,
        "val_size": 16,
        "test_size": 24,
        "num_classes": 8,
    }
    assert result["data"]["fingerprint"] == DATA.fingerprint
    assert all(folder.probe(probe_file(to_json(probe))) is not None for probe in probes)


def test_a_stopped_run_on_fresh_images_ends_in_the_same_weights(tmp_path):
    counter = iter(range(10**6))
    folder, outcome = executed(tmp_path / "a", RUN, Accuracy(), stopping=lambda: next(counter) >= 5)
    assert outcome.name == "interrupted"
    assert execute(folder, RUN, (Accuracy(),), device=CPU, threads=1).name == "done"
    whole, _ = executed(tmp_path / "b", RUN, Accuracy())
    for name in (WEIGHTS, "history.jsonl"):
        assert (folder.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_run_without_updates_measures_the_untrained_network(tmp_path):
    for run in (
        RUN.replace(recipe=RECIPE.replace(updates=0)),
        Run(model=ViT(dim=8, depth=1, patch_size=7), data=Mnist5k(train_size=50), recipe=Recipe(updates=0), seed=0),
    ):
        folder, outcome = executed(tmp_path, run, Accuracy())
        assert outcome.name == "done", outcome.error
        result = folder.result()
        assert (result["updates"], result["images_seen"], result["train_loss"]) == (0, 0, None)
        values = {
            (row["metric"], row["split"]): row["value"]
            for row in folder.probe(probe_file(to_json(Accuracy())))["records"]
        }
        classes = result["data"]["num_classes"]
        assert values["loss", "test"] == pytest.approx(math.log(classes), abs=0.05)
