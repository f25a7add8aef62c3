import pytest
import torch
from tiny_training import TinyAttention, TinyConv, data, split

from vision_attn.training.evaluate import accuracy, logits


@pytest.mark.parametrize("make_model", [TinyConv, TinyAttention])
@pytest.mark.parametrize("batch_size", [1, 7, 30, 1000])
def test_logits_are_those_of_eval_mode_whatever_the_batches(make_model, batch_size):
    model, images = make_model(dropout=0.5), data()
    found = logits(model, images.test.images, normalise=images.normalise, batch_size=batch_size)
    with torch.no_grad():
        expected = model.eval()(images.normalise(images.test.images))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_a_model_in_float64_answers_in_float64():
    model, images = TinyAttention().double(), data()
    found = logits(model, images.test.images, normalise=lambda batch: images.normalise(batch).double())
    with torch.no_grad():
        expected = model.eval()(images.normalise(images.test.images).double())
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored_also_after_an_error(training):
    model, images = TinyConv().train(training), data()
    logits(model, images.test.images, normalise=images.normalise)
    assert model.training is training
    with pytest.raises(RuntimeError):
        logits(model, images.test.images[:, :2], normalise=images.normalise)
    assert model.training is training


def test_evaluation_does_not_touch_running_statistics():
    model, images = TinyConv(), data()
    before = model.stem[1].running_mean.clone()
    logits(model, images.test.images, normalise=images.normalise)
    assert torch.equal(model.stem[1].running_mean, before)


def test_an_autocast_around_the_call_is_obeyed():
    model, images = TinyAttention(), data()
    plain = logits(model, images.test.images, normalise=images.normalise)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = logits(model, images.test.images, normalise=images.normalise)
    assert not torch.equal(plain, rounded)
    torch.testing.assert_close(plain, rounded, rtol=0.1, atol=0.05)


def test_accuracy_counts_the_largest_logit():
    model, images = TinyAttention(), split(25)
    scores = logits(model, images.images, normalise=lambda x: x.float())
    hits = sum(
        int(max(range(10), key=lambda k: row[k]) == label) for row, label in zip(scores, images.labels, strict=True)
    )
    assert accuracy(model, images, normalise=lambda x: x.float()) == hits / 25
