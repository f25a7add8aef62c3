"""A finished run, ready for a notebook."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from vision_attn.data import Mnist5k
from vision_attn.execution import execute
from vision_attn.loading import load_run
from vision_attn.models import ResNet, as_model
from vision_attn.probes import Accuracy
from vision_attn.run import Run
from vision_attn.spec import InputError, digest, to_json
from vision_attn.store import Store, probe_file
from vision_attn.training import Recipe
from vision_attn.training.evaluate import accuracy, logits

RUN = Run(
    model=ResNet(width=4, blocks=1),
    data=Mnist5k(train_size=20),
    recipe=Recipe(updates=2, batch_size=8, compile="off", precision="fp32"),
    seed=3,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    found = store.open(digest(RUN), hint=RUN.hint, run=to_json(RUN), index=store.index())
    outcome = execute(found, RUN, [Accuracy()], device=torch.device("cpu"), threads=torch.get_num_threads())
    assert outcome.name == "done"
    return found.path


def test_the_model_says_again_what_was_measured(folder):
    loaded = load_run(folder)
    data = loaded.data
    hits = logits(loaded.model, data.test.images, normalise=data.normalise).argmax(1) == data.test.labels
    rows = next(iter(folder.glob("probes/*.json"))).read_text()
    assert f'"value":{hits.double().mean().item()}' in rows.replace(" ", "")
    assert loaded.run == RUN
    assert loaded.classes == tuple("0123456789")
    assert not loaded.model.training


def test_loading_leaves_random_numbers_and_settings_of_the_process_alone(folder):
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    strict = torch.are_deterministic_algorithms_enabled()
    load_run(str(folder))
    assert torch.equal(torch.rand(2), expected)
    assert torch.are_deterministic_algorithms_enabled() is strict


def finished(store, run):
    folder = store.open(digest(run), hint=run.hint, run=to_json(run), index=store.index())
    assert execute(folder, run, [Accuracy()], device=torch.device("cpu"), threads=1).name == "done"
    return folder


def measured(folder):
    """The accuracy on the test images, as the probe has said it and as the loaded model does."""
    loaded = load_run(folder.path)
    data = loaded.data
    said = next(
        row["value"]
        for row in folder.probe(probe_file(to_json(Accuracy())))["records"]
        if row["split"] == "test" and row["metric"] == "accuracy"
    )
    return said, accuracy(loaded.model, data.test, normalise=data.normalise)


def test_what_a_model_draws_and_does_not_store_is_what_it_was_in_training(tmp_path):
    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.drawn, self.head = torch.randn(784, 20), nn.Linear(20, 10)

        def forward(self, x):
            return self.head(x.flatten(1) @ self.drawn)

    @as_model
    def OfProjections():
        return Projected()

    said, found = measured(finished(Store(tmp_path), RUN.replace(model=OfProjections())))
    assert found == said


def test_weights_with_several_names_are_stored_and_loaded_with_each(tmp_path):
    @as_model
    def OfOneBlock(num_classes):
        block = nn.Sequential(nn.Linear(16, 16), nn.ReLU())
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), block, block, block, nn.Linear(16, num_classes))

    folder = finished(Store(tmp_path), RUN.replace(model=OfOneBlock()))
    said, found = measured(folder)
    assert found == said
    stored = load_file(folder.path / "weights.safetensors")
    assert torch.equal(stored["2.0.weight"], stored["4.0.weight"])
    module = load_run(folder.path).model
    assert module[2] is module[4]


def test_a_run_of_an_own_kind_that_is_not_known_says_how_it_becomes_known(tmp_path):
    run = to_json(RUN) | {"model": {"kind": "KindOfNoFile", "width": 4}}
    folder = Store(tmp_path).open("ab" * 32, hint="own", run=run, index={}).path
    with pytest.raises(InputError) as error:
        load_run(folder)
    assert str(error.value).startswith(
        "run of load_run has a KindOfNoFile, which is not known here. Import the module "
    )


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"folder of load_run must be that of a run, with a config\.json"):
        load_run(tmp_path)


def test_damaged_weights_are_refused(folder):
    weights = folder / "weights.safetensors"
    intact = weights.read_bytes()
    weights.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    try:
        with pytest.raises(InputError, match="missing or damaged"):
            load_run(folder)
    finally:
        weights.write_bytes(intact)


def test_a_run_that_is_not_done_is_refused(tmp_path):
    store = Store(tmp_path)
    found = store.open(digest(RUN), hint=RUN.hint, run=to_json(RUN), index=store.index())
    with pytest.raises(InputError, match=r"run of load_run must be done\. That in '.*' is pending\."):
        load_run(found.path)
