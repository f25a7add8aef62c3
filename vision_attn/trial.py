"""Trial: what a sweep would stumble over, looked for before any worker starts.

Every data set is loaded once in every size asked for, and every model is sized for its images. One's own kinds
are put to work: a model learns from two images and answers on two, a probe measures eight images.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from vision_attn import sources
from vision_attn.data.base import Data, Dataset, Split
from vision_attn.data.locations import MissingData
from vision_attn.data.usable import contents, require_usable
from vision_attn.models import FittedModel, Model, ViT
from vision_attn.plan import Plan
from vision_attn.probes.accuracy import Accuracy
from vision_attn.probes.asking import answers, require_distinct
from vision_attn.probes.base import Probe
from vision_attn.probes.capture import named
from vision_attn.run import Run, built
from vision_attn.spec import InputError, from_json, kind_of, short
from vision_attn.training.requirements import require_fit

IMAGES = 8
"""Images that a probe is tried on."""


def check(plan: Plan, keys: Sequence[str], *, needs_data: bool = True) -> list[str]:
    """Raise `InputError` where data are missing, or a model, a recipe or a probe does not fit them or fails.

    With `needs_data` off, data that are not here are not refused: the sentences that say so are returned.
    """
    kinds: dict[tuple[Any, ...], str] = {}
    for key in keys:
        kinds.setdefault((plan.alike[key], *plan.runs[key].skips), key)
    keys = list(kinds.values())
    probes = {file: from_json(probe, Probe) for key in keys for file, probe in plan.asked(key).items()}
    alike: dict[Dataset, dict[str, Run]] = {}
    for key in keys:
        run = from_json(plan.runs[key].run, Run)
        alike.setdefault(run.data.replace(train_size=None, subset_seed=0), {})[key] = run
    said = []
    for runs in alike.values():
        dataset = max((run.data for run in runs.values()), key=lambda data: data.train_size or 0)
        if any(run.data.train_size is None for run in runs.values()):
            dataset = dataset.replace(train_size=None)
        try:
            data = _loaded(dataset)
        except MissingData as error:
            if needs_data or sources.is_own(type(dataset)):
                raise
            said.append(str(error))
            continue
        if not sources.is_own(type(dataset)):
            for size in {run.data.train_size for run in runs.values()} - {dataset.train_size}:
                dataset.replace(train_size=size).load()  # raises where the size is none that the data can have
        tried: set[Any] = set()
        for key, run in runs.items():
            asked = [probes[file] for file in plan.asked(key)]
            if (mark := (run.model, run.recipe, tuple(asked))) not in tried:
                tried.add(mark)
                _try(run, data, asked)
    return said


def shape_of(data: Data) -> dict[str, int]:
    """What a model is built for."""
    return {"image_size": data.image_size, "in_chans": data.in_chans, "num_classes": data.num_classes}


def _loaded(dataset: Dataset) -> Data:
    """The data; those of an own kind are loaded twice and looked through."""
    name, place = kind_of(dataset), sources.defined(dataset, "load")

    def load() -> Data:
        with sources.told(f"load of {name}", at=sources.written_own(dataset, "load")):
            return dataset.load()

    data = load()
    if not sources.digests(dataset):
        return data
    require_usable(data, what=name, place=place)
    first = contents(data)
    del data  # large ones are not held twice
    data = load()
    if contents(data) != first:
        allowed = f"the same images and labels whenever it is called, random ones by a generator with a seed{place}"
        raise InputError(f"load of {name} must give {allowed}. It gives others the second time.")
    if not isinstance(dataset.label, str) or not dataset.label.strip() or not dataset.label.isprintable():
        allowed = "a text that can be printed, and not empty"
        raise InputError(f"label of {name} must be {allowed}. Got {short(dataset.label)} instead.")
    size = dataset.train_size
    if size is not None and data.train_size not in (size, None):
        raise InputError(f"load of {name} must give train_size = {size} training images{place}. Got {data.train_size}.")
    return data


def _try(run: Run, data: Data, probes: Sequence[Probe]) -> None:
    """One run in small: the model built, trained on two images and measured where a kind is one's own."""
    for probe in probes:
        with sources.told(f"require_fit of {kind_of(probe)}", at=sources.written_own(probe, "require_fit")):
            probe.require_fit(data)
    is_own = bool(sources.digests(run.model))
    own_probes = [probe for probe in probes if is_own or sources.is_own(type(probe))]
    if not is_own:
        with torch.device("meta"):
            module = run.model.build(**shape_of(data))
        for probe in probes:
            if "layers" in {field.name for field in dataclasses.fields(probe)} and not sources.is_own(type(probe)):
                named(module, probe.layers)  # type: ignore[attr-defined]
    if not is_own and not own_probes:
        return
    few = small(data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        model = _built(run.model, data)
        if is_own:
            require_fit(run.recipe, model, data=few)
            if not isinstance(run.model, FittedModel):
                _learn(run.model, model, few)
    model.eval()
    taken: dict[frozenset[tuple[str, Any]], Probe] = {}
    for probe in [*own_probes, *(one for one in probes if own_probes and isinstance(one, Accuracy))]:
        at = sources.written_own(probe, "__call__") or sources.written_own(run.model, "build")
        with sources.told(f"{kind_of(probe)} on {kind_of(run.model)}", at=at):
            rows = answers(probe, model, few)
            require_distinct(probe, rows)
        if not rows:
            place = sources.defined(probe, "__call__")
            raise InputError(f"{kind_of(probe)} must yield a row{place}. Got none instead.")
        _check_taken(probe, rows, taken)


def _check_taken(probe: Probe, rows: Sequence[dict[str, Any]], taken: dict[frozenset[tuple[str, Any]], Probe]) -> None:
    """Raise `InputError` where another probe gives the same metric and coordinates: no figure could tell which."""
    for row in rows:
        place = frozenset((column, cell) for column, cell in row.items() if column != "value")
        if (other := taken.setdefault(place, probe)) != probe:
            where = [f"{column}={cell}" for column, cell in row.items() if column not in ("metric", "value")]
            both = ", ".join([str(row["metric"]), *where])
            alike = type(other) is type(probe)
            first, second = (repr(one) if alike else kind_of(one) for one in (probe, other))
            raise InputError(f"{first} and {second} must not measure the same. Both give {both}.")


def _built(spec: Model, data: Data) -> nn.Module:
    name, at = kind_of(spec), sources.written_own(spec, "build")
    with sources.told(f"build of {name}", at=at):
        model = built(spec, data)
    trains = isinstance(spec, FittedModel) or (
        isinstance(model, nn.Module) and any(one.requires_grad for one in model.parameters())
    )
    if not trains:
        allowed = f"a module with parameters to be trained{sources.defined(spec, 'build')}"
        raise InputError(f"build of {name} must return {allowed}. Got {short(model)} instead.")
    with sources.told(f"build of {name}", at=at):
        again = built(spec, data)
    own = {id(one) for one in again.parameters() if one.requires_grad}
    if own & {id(one) for one in model.parameters()}:
        place = f" ({at})" if at else ""
        raise InputError(
            f"build of {name} must return a module of its own in every call{place}. Got one twice: other runs would "
            "begin trained."
        )
    images = data.normalise(data.test.images[:2])
    with sources.told(f"forward of {name}", at=at), torch.no_grad(), _mixers_watched(spec, model):
        found = model.eval()(images)
    wanted = (len(images), data.num_classes, *data.label_shape)
    given: Any = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    if given != wanted:
        place = sources.defined(spec, "build")
        raise InputError(f"logits of {name} must have the shape {wanted} for two images{place}. Got {given} instead.")
    if not found.isfinite().all():
        raise InputError(f"logits of {name} must be finite{sources.defined(spec, 'build')}. Some are not.")
    return model


@contextlib.contextmanager
def _mixers_watched(spec: Model, model: nn.Module) -> Iterator[None]:
    """Raise `InputError` in a forward pass where an own mixer of the trunk gives other than a token for each token."""
    mixer = spec.mixer if isinstance(spec, ViT) and sources.is_own(type(spec.mixer)) else None
    if mixer is None:
        yield
        return
    name, place = kind_of(mixer), sources.defined(mixer, "build")

    def watch(module: nn.Module, given: tuple[torch.Tensor, ...], found: Any) -> None:
        wanted, shape = tuple(given[0].shape), getattr(found, "shape", type(found).__name__)
        if shape != wanted:
            allowed = f"tokens of the shape that it is given, here {wanted}{place}"
            raise InputError(f"{name} must return {allowed}. Got {short(shape)} instead.")

    hooks = [block.mixer.register_forward_hook(watch) for block in model.blocks]  # type: ignore[union-attr]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _learn(spec: Model, model: nn.Module, data: Data) -> None:
    """One step from two images."""
    part = data.train_sample
    with sources.told(f"training of {kind_of(spec)}", at=sources.written_own(spec, "build")):
        scores = model.train()(data.normalise(part.images[:2]))
        F.cross_entropy(scores, part.labels[:2]).backward()


def small(data: Data) -> Data:
    """The first images of every split."""

    def first(split: Split) -> Split:
        attributes = {name: attribute[:IMAGES] for name, attribute in split.attributes.items()}
        return Split(split.images[:IMAGES], split.labels[:IMAGES], attributes)

    val = None if data.val is None else first(data.val)
    return dataclasses.replace(data, train=first(data.train_sample), val=val, test=first(data.test))
