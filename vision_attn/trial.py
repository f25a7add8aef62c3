"""Trial: what a sweep would stumble over, looked for before any worker starts.

Every data set is loaded once in every size asked for, and every model is sized for its images. One's own kinds
are put to work: a model answers on two images and on one, learns from two, is stored and loaded; a probe measures eight
images.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from vision_attn import sources
from vision_attn.data.base import Data, Dataset, Split
from vision_attn.data.locations import MissingData
from vision_attn.data.usable import contents, require_usable
from vision_attn.models import FittedModel, Model, Timm, ViT
from vision_attn.models.building import TRIED, tried
from vision_attn.plan import Plan
from vision_attn.probes.accuracy import Accuracy
from vision_attn.probes.asking import answers, require_distinct
from vision_attn.probes.base import Probe
from vision_attn.probes.capture import named
from vision_attn.run import Run, built
from vision_attn.spec import InputError, from_json, kind_of, short
from vision_attn.training import Diverged, Recipe, train
from vision_attn.training.checkpoint import TrainState, load_weights, weights_to_bytes
from vision_attn.training.compute import choose
from vision_attn.training.requirements import require_places, require_recipe
from vision_attn.training.seeding import Streams, seeded

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
        done: set[Any] = set()
        modules: dict[Model, nn.Module] = {}
        for key, run in runs.items():
            asked = [probes[file] for file in plan.asked(key)]
            if (mark := (run.model, run.recipe, tuple(asked))) not in done:
                done.add(mark)
                with _strictly():
                    _try(run, data, asked, modules)
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


def _try(run: Run, data: Data, probes: Sequence[Probe], modules: dict[Model, nn.Module]) -> None:
    """One run in small: the model built, trained on two images and measured where a kind is one's own.

    A model of the package is trained where updates see a single image, of which batch norm may have no variance.
    `modules` are those of the package's models that were built for these data before.
    """
    for probe in probes:
        with sources.told(f"require_fit of {kind_of(probe)}", at=sources.written_own(probe, "require_fit")):
            probe.require_fit(data)
    is_own = bool(sources.digests(run.model))
    own_probes = [probe for probe in probes if is_own or sources.is_own(type(probe))]
    if not is_own:
        if run.model not in modules:
            modules[run.model] = _fitting(run.model, data)
        module = modules[run.model]
        require_recipe(run.recipe, module, data=data)
        if _sees_one(run.recipe) and not isinstance(run.model, FittedModel):
            with seeded(run.seed):
                _learn(run, built(run.model, data), small(data))
        for probe in probes:
            if "layers" in {field.name for field in dataclasses.fields(probe)} and not sources.is_own(type(probe)):
                named(module, probe.layers)  # type: ignore[attr-defined]
    if not is_own and not own_probes:
        return
    few = small(data)
    with seeded(run.seed):
        model, another = _built(run.model, data)
        if is_own:
            require_recipe(run.recipe, model, data=data)
            if not isinstance(run.model, FittedModel):
                _learn(run, another, few)
            _store(run.model, another, model)
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


def _fitting(spec: Model, data: Data) -> nn.Module:
    """The module of a model of the package. Raises `InputError` where its logits are not where the labels are."""
    shape = shape_of(data)
    if not isinstance(spec, Timm):
        module, found = tried(spec, **shape)
        require_places(found, data=data)
        return module
    wanted = (TRIED, data.num_classes, *data.label_shape)
    try:
        module, found = tried(spec, **shape)
    except InputError:
        raise
    except Exception as error:  # of timm's models, whatever it is
        raise spec.unfit(f"{type(error).__name__}: {' '.join(str(error).split())}", wanted=wanted, **shape) from error
    if (given := _shape(found)) != wanted:
        raise spec.unfit(f"{given}.", wanted=wanted, **shape)
    return module


def _shape(found: Any) -> Any:
    """The shape of a tensor, the type of anything else."""
    return tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__


def _built(spec: Model, data: Data) -> tuple[nn.Module, nn.Module]:
    """The module of a model, and another one. Raises `InputError` where it cannot be trained or gives no logits."""
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
    _require_storable(spec, model)
    own = {id(one) for one in again.parameters() if one.requires_grad}
    if own & {id(one) for one in model.parameters()}:
        place = f" ({at})" if at else ""
        raise InputError(
            f"build of {name} must return a module of its own in every call{place}. Got one twice: other runs would "
            "begin trained."
        )
    place = sources.defined(spec, "build")
    for number, images in (("two images", data.test.images[:2]), ("one image", data.test.images[:1])):
        with sources.told(f"forward of {name} for {number}", at=at), torch.no_grad(), _mixers_watched(spec, model):
            found = model.eval()(data.normalise(images))
        wanted, given = (len(images), data.num_classes, *data.label_shape), _shape(found)
        if given != wanted:
            raise InputError(f"logits of {name} must have the shape {wanted} for {number}{place}. Got {given} instead.")
        if not found.isfinite().all():
            raise InputError(f"logits of {name} must be finite{place}. Some are not.")
    return model, again


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


@contextlib.contextmanager
def _strictly() -> Iterator[None]:
    """Inside, operations that are not the same to the last bit whenever they are computed fail, as in a worker."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _sees_one(recipe: Recipe) -> bool:
    """Whether every update sees one image alone."""
    return recipe.batch_size == 1 and recipe.updates != 0


def _learn(run: Run, model: nn.Module, data: Data) -> None:
    """One update from two images, as training makes it; from one where it sees no more."""
    size, note = (1, " with batch_size = 1") if _sees_one(run.recipe) else (2, "")
    recipe = run.recipe.replace(batch_size=size, compile="off")
    what = f"training of {kind_of(run.model)}{note}"
    with sources.told(what, at=sources.written_own(run.model, "build")):
        choices = choose(recipe, model, data=data, device=torch.device("cpu"), threads=torch.get_num_threads())
        state = TrainState(model, recipe=recipe, streams=Streams(run.seed), num_updates=1)
        updates = train(
            state,
            train=data.train,
            val=data.val,
            normalise=data.normalise,
            flip=data.flip,
            recipe=recipe,
            choices=choices,
            num_classes=data.num_classes,
        )
        with contextlib.suppress(Diverged):
            collections.deque(updates, maxlen=0)


def _store(spec: Model, trained: nn.Module, model: nn.Module) -> None:
    """The trained weights as they are stored, loaded into another module of the model, which then has its own again."""
    name, at = kind_of(spec), sources.written_own(spec, "build")
    with sources.told(f"storing the weights of {name}", at=at):
        own, payload = weights_to_bytes(model), weights_to_bytes(trained)
    with sources.told(f"loading the weights of {name}", at=at):
        load_weights(model, payload)
        load_weights(model, own)


def _require_storable(spec: Model, model: nn.Module) -> None:
    """Raise `InputError` where what is stored of a module is no tensor, or one whose numbers share their memory."""
    name, place = kind_of(spec), sources.defined(spec, "build")
    with sources.told(f"state_dict of {name}", at=sources.written_own(spec, "build")):
        state = model.state_dict()
    for entry, stored in state.items():
        if not isinstance(stored, torch.Tensor):
            allowed = f"tensors alone, which are what is stored of it{place}"
            raise InputError(f"state_dict of {name} must hold {allowed}. Got {short(stored)} as {entry} instead.")
        if _overlaps(stored):
            allowed = f"numbers with a place of their own in memory, as after .clone(){place}"
            raise InputError(f"{entry} of {name} must have {allowed}. Got some that share one, as after .expand().")


def _overlaps(tensor: torch.Tensor) -> bool:
    """Whether numbers of a tensor lie at one place in memory."""
    if tensor.layout != torch.strided:
        return False
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride <= reach:
            return True
        reach += stride * (size - 1)
    return False


def small(data: Data) -> Data:
    """The first images of every split."""

    def first(split: Split) -> Split:
        attributes = {name: attribute[:IMAGES] for name, attribute in split.attributes.items()}
        return Split(split.images[:IMAGES], split.labels[:IMAGES], attributes)

    val = None if data.val is None else first(data.val)
    return dataclasses.replace(data, train=first(data.train_sample), val=val, test=first(data.test))
