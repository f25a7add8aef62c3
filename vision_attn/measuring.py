"""Measuring: the probes asked of any module, without a sweep."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from vision_attn.data import Data
from vision_attn.models.base import Model
from vision_attn.probes import capture
from vision_attn.probes.altered import are_logits, not_logits
from vision_attn.probes.asking import answers
from vision_attn.probes.base import Probe
from vision_attn.spec import InputError, short


def measure(model: nn.Module, data: Data, probes: Probe | Sequence[Probe]) -> pd.DataFrame:
    """What the probes say of a module that maps images (B, C, H, H) to logits (B, classes): one row per number.

    Columns: `probe`, `metric`, `value`, and the coordinates of every probe, empty where a probe has no such one. The
    model may be one's own, of timm, torchvision or Hugging Face; it is asked in eval mode, on its own device, and left
    as it was, as are torch's generators. Where a probe has to be told which layers to look at it has a field `layers`.
    Raises `InputError` where a probe or the model does not fit, or an own probe gives no rows; nothing is caught that
    the model itself raises.
    """
    asked = [probes] if isinstance(probes, Probe | str) or not isinstance(probes, Iterable) else list(probes)
    for probe in asked:
        if not isinstance(probe, Probe):
            hint = f": write {probe.__name__}()" if isinstance(probe, type) and issubclass(probe, Probe) else ""
            raise InputError(f"probes of measure must be probes, such as Accuracy(). Got {short(probe)} instead{hint}.")
    if not isinstance(model, nn.Module):
        raise InputError(f"model of measure must be a torch.nn.Module. Got {_not_a_module(model, data)}")
    if not isinstance(data, Data):
        allowed = "Data: Data.from_tensors(images, labels), Data.from_dataset(a data set of torch), Mnist5k().load()"
        raise InputError(f"data of measure must be {allowed}. Got a {type(data).__name__} instead.")
    parameter = next(iter([*model.parameters(), *model.buffers()]), torch.empty(0))
    if parameter.is_floating_point() and parameter.dtype != torch.float32:
        raise InputError(f"weights of model must be float32, as by model.float(). Got {parameter.dtype} instead.")
    data, modes = data.to(parameter.device), {module: module.training for module in model.modules()}
    drawn = torch.random.fork_rng([parameter.device] if parameter.device.type == "cuda" else [])
    try:
        with drawn, torch.inference_mode(False), torch.enable_grad(), _giving_logits(model.eval(), data):
            rows = [{"probe": type(probe).__name__, **row} for probe in asked for row in answers(probe, model, data)]
    finally:
        for module, mode in modes.items():
            module.training = mode
    names = dict.fromkeys(("probe", "metric", "value", *(name for row in rows for name in row)))
    return pd.DataFrame(rows, columns=list(names))


def _not_a_module(given: object, data: object) -> str:
    """What was given in the place of a module, and how to get one from it where that can be told."""
    kind = given if isinstance(given, type) else type(given)
    name, what = kind.__name__, f"the class {kind.__name__}" if kind is given else f"a {kind.__name__}"
    if kind is given and issubclass(kind, nn.Module):
        return f"{what} instead: write {name}(...)."
    if issubclass(kind, Model):
        sizes = ("image_size", "in_chans", "num_classes")
        shape = ", ".join(f"{size}={getattr(data, size, '...')}" for size in sizes)
        return f"{what} instead, which says what to build: give {name}(...).build({shape})."
    if isinstance(given, str):
        return f"{given!r} instead: a model of timm is made by timm.create_model({given!r}, num_classes=...)."
    return f"{what} instead."


@contextlib.contextmanager
def _giving_logits(model: nn.Module, data: Data) -> Iterator[None]:
    """Inside, a module whose output has its logits in an attribute, as those of Hugging Face have, gives them."""
    images = data.normalise(data.test.images[[0, -1]])  # two, also where there is one
    try:
        with torch.no_grad():
            out = model(images)
    except (RuntimeError, ValueError, AssertionError) as error:  # what layers say of shapes that do not fit
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise
        allowed = f"one that takes the images of data, {tuple(images.shape[1:])} each"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"model of measure must be {allowed}. Got {reason!r} instead.") from error
    has_inside = not isinstance(out, Tensor) and isinstance(getattr(out, "logits", None), Tensor)
    out = out.logits if has_inside else out
    if not are_logits(out, len(images), data=data):
        shape = tuple(out.shape) if isinstance(out, Tensor) else None
        given = f"a {type(out).__name__}" if shape is None else f"shape {shape} of {len(images)} images"
        raise not_logits(model, given, data=data)
    with capture.giving(model, "logits") if has_inside else contextlib.nullcontext():
        yield
