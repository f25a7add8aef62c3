"""Probes asked of any module."""

import dataclasses
import types

import pytest
import torch
from torch import nn

from vision_attn.data import Data, Split
from vision_attn.measuring import measure
from vision_attn.models import ResNet, SelfAttention, ViT
from vision_attn.probes import (
    Accuracy,
    AttentionDistance,
    Corruption,
    Influence,
    Intervention,
    Probe,
    ReceptiveField,
    Size,
)
from vision_attn.spec import InputError, spec

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(256, (6, 3, 8, 8), generator=GENERATOR, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
DATA = Data.from_tensors(IMAGES, LABELS)
DENSE = dataclasses.replace(
    DATA, train=Split(IMAGES, GRID := LABELS[:, None, None].expand(-1, 2, 2)), test=Split(IMAGES, GRID)
)
SINGLE = Data.from_tensors(IMAGES[:1], LABELS[:1], train=(IMAGES, LABELS))


class Own(nn.Module):
    """A model of one's own, of which nothing is known but that images become logits."""

    def __init__(self, wrap=lambda out: out) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3))
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.net(x))


def test_the_accuracy_is_that_of_the_logits_in_eval_mode():
    model = Own()
    with torch.no_grad():
        expected = (model.eval()(DATA.normalise(IMAGES)).argmax(1) == LABELS).double().mean().item()
    rows = measure(model.train(), DATA, Accuracy())
    assert list(rows.columns) == ["probe", "metric", "value", "split"]
    assert rows.query("metric == 'accuracy' and split == 'test'")["value"].item() == expected


def test_a_model_that_draws_numbers_leaves_the_generator_as_it_was_and_is_asked_twice_alike():
    class Drawing(Own):
        def forward(self, x):
            return super().forward(x) + torch.randn(len(x), 3)

    model = Drawing()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = measure(model, DATA, Accuracy())
    assert torch.equal(torch.get_rng_state(), before)
    assert measure(model, DATA, Accuracy()).equals(found)


def test_the_model_is_left_as_it_was():
    model = Own().train()
    model.net[2].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measure(model, DATA, [Accuracy(), Size()])
    assert model.training
    assert model.net[1].training
    assert not model.net[2].training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_output_with_its_logits_in_an_attribute_is_taken_for_them():
    torch.manual_seed(0)
    plain = Own()
    wrapped = Own(lambda out: types.SimpleNamespace(logits=out))
    wrapped.load_state_dict(plain.state_dict())
    assert measure(wrapped, DATA, Accuracy()).equals(measure(plain, DATA, Accuracy()))


class Attending(Own):
    """Tokens of 4 x 4 pixels, one attention of PyTorch's over them, logits of their mean."""

    def __init__(self, wrap):
        super().__init__(wrap)
        self.stem, self.attention = nn.Conv2d(3, 8, 4, stride=4), nn.MultiheadAttention(8, 2, batch_first=True)
        self.net = nn.Linear(8, 3)

    def forward(self, x):
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        return self.wrap(self.net(self.attention(tokens, tokens, tokens)[0].mean(1)))


@pytest.mark.parametrize(
    "probe",
    [
        AttentionDistance(),
        Influence(layers=("stem",), patch_size=4),
        Intervention(layers=("stem",), patch_size=4),
        ReceptiveField(layers=("stem",)),
        Size(),
    ],
    ids=lambda probe: type(probe).__name__,
)
def test_probes_of_layers_find_them_by_name_also_where_logits_are_an_attribute(probe):
    torch.manual_seed(0)
    plain = Attending(lambda out: out)
    wrapped = Attending(lambda out: types.SimpleNamespace(logits=out))
    wrapped.load_state_dict(plain.state_dict())
    found = measure(wrapped, DATA, probe)
    assert len(found)
    assert found.equals(measure(plain, DATA, probe))
    assert hasattr(wrapped(torch.zeros(1, 3, 8, 8)), "logits")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_taken_also_where_they_are_off(mode):
    model, probe = Attending(lambda out: out), Influence(layers=("stem",), patch_size=4)
    expected = measure(model, DATA, probe)
    with mode():
        assert measure(model, DATA, probe).equals(expected)


def test_layers_of_tokens_behind_a_class_token_have_a_grid_in_models_that_do_not_say_so():
    """As in torchvision and Hugging Face. A token that is mixed with no other depends on its own patch alone."""

    class Classed(Attending):
        def forward(self, x):
            tokens = self.stem(x).flatten(2).transpose(1, 2)
            tokens = self.norm(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))
            return self.net(tokens[:, 0])

    model = Classed(lambda out: out)
    model.norm = nn.LayerNorm(8)
    rows = measure(model, DATA, Influence(layers=("norm",), patch_size=4)).query("metric == 'erf_map'")
    assert (rows.query("row == 0 and column == 0")["value"] > 0).all()
    assert (rows.query("row != 0 or column != 0")["value"] == 0).all()


@pytest.mark.parametrize(
    ("model", "data", "probes", "sentence"),
    [
        (Own, DATA, Accuracy(), "must be a torch.nn.Module. Got the class Own instead: write Own(...)."),
        (ResNet(), DATA, Accuracy(), "give ResNet(...).build(image_size=8, in_chans=3, num_classes=3)."),
        (
            ViT,
            DATA,
            Accuracy(),
            "Got the class ViT instead, which says what to build: give ViT(...).build(image_size=8,",
        ),
        (SelfAttention(), DATA, Accuracy(), "must be a torch.nn.Module. Got a SelfAttention instead."),
        ("vgg", DATA, Accuracy(), "Got 'vgg' instead: a model of timm is made by timm.create_model('vgg', num_"),
        (len, DATA, Accuracy(), "must be a torch.nn.Module. Got a builtin_function_or_method instead."),
        (
            Own(),
            IMAGES,
            Accuracy(),
            "data of measure must be Data: Data.from_tensors(images, labels), Data.from",
        ),
        (Own(), DATA, ["accuracy"], "probes of measure must be probes, such as Accuracy(). Got 'accuracy' instead."),
        (Own(), DATA, "Accuracy", "probes of measure must be probes, such as Accuracy(). Got 'Accuracy' instead."),
        (Own(), DATA, Accuracy, ".Accuracy'> instead: write Accuracy()."),
        (Own(), DATA, [Size(), Accuracy], ".Accuracy'> instead: write Accuracy()."),
        (Own(), DATA, None, "probes of measure must be probes, such as Accuracy(). Got None instead."),
        (Own(lambda out: out[:1]), DATA, Accuracy(), "one a class. Got shape (1, 3) of 2 images instead."),
        (Own(lambda out: out[:1]), SINGLE, Accuracy(), "one a class. Got shape (1, 3) of 2 images instead."),
        (Own().double(), DATA, Accuracy(), "weights of model must be float32, as by model.float(). Got torch.float64"),
        (Own(lambda out: out[:, :2]), DATA, Accuracy(), "output of Own must be logits (B, 3) or more"),
        (
            nn.Conv2d(3, 3, 8),
            DATA,
            Corruption(),
            "be logits (B, 3) or more, one a class. Got shape (2, 3, 1, 1) of 2 i",
        ),
        (
            nn.Conv2d(3, 3, 4),
            DATA,
            Accuracy(),
            "output of Conv2d must be logits (B, 3) or more, one a class. Got shape ",
        ),
        (
            nn.Conv2d(3, 3, 4),
            DENSE,
            Accuracy(),
            "logits (B, 3, 2, 2) or more, one a class at every place of the labels.",
        ),
        (Own(lambda out: (out, out)), DATA, Accuracy(), "one a class. Got a tuple instead."),
        (nn.Conv2d(1, 3, 8), DATA, Accuracy(), "takes the images of data, (3, 8, 8) each. Got 'Given groups=1, weight"),
        (ViT().build(image_size=16, in_chans=3, num_classes=3), DATA, Accuracy(), "the images of data, (3, 8, 8) each"),
    ],
)
def test_what_does_not_fit_is_refused_with_one_sentence(model, data, probes, sentence):
    with pytest.raises(InputError) as error:
        measure(model, data, probes)
    assert sentence in str(error.value)


def test_logits_at_every_place_of_the_labels_are_taken_and_more_classes_too():
    model = nn.Conv2d(3, 5, 4, stride=4)
    with torch.no_grad():
        found = model(DENSE.normalise(IMAGES)).argmax(1)
    rows = measure(model, DENSE, Accuracy()).query("metric == 'accuracy' and split == 'test'")
    assert rows["value"].item() == (found == DENSE.test.labels).double().mean().item()


def test_an_own_probe_that_yields_no_rows_is_refused_as_in_a_sweep():
    class Averaging(Probe):
        def __call__(self, model, data):
            return 0.5

    with pytest.raises(InputError, match=r"Averaging must yield rows, each a dict with metric and value .*Got 0\.5"):
        measure(Own(), DATA, spec(Averaging)())
