"""Sketches: made-up records with something of every metric that a figure draws. Nothing of them was measured.

Models are as one would expect them, roughly: attention reaches everything and learns slowly, convolution reaches as far
as its radius and learns from few images.
"""

import base64
import hashlib
import itertools
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vision_attn.plan import Cell, Plan, PlannedRun
from vision_attn.records import Records, Row, RunRecords, joined
from vision_attn.rows import packed

MODELS = ("ResNet", "ViT", "ViT, 3x3 convolution")
CURVES = dict(zip(MODELS, ((4.0, 0.38), (2.8, 0.24), (3.4, 0.32)), strict=True))
"""Of the error a / n^b on n images: a and b."""
RADIUS = dict(zip(MODELS, (4, 7, 2), strict=True))
"""Cells of 4 pixels, of 8 in a row, that a model sees to either side."""
PARAMS = dict(zip(MODELS, (209_000, 212_000, 210_500), strict=True))
IMAGES = 40
METHODS = {"attention": 0.45, "gradient x attention": 0.6, "integrated gradients": 0.7, "centred Gaussian": 0.3}
"""How often each method of saliency points at what decides."""
SIDE = 16
"""The side of pictures with saliency maps."""
RUN = {"kind": "Run", "model": {"kind": "Sketch"}, "recipe": {}}
SIZES, SEEDS, CLASSES = (250, 500, 1000, 2000, 4000, 8000), (0, 1, 2, 3, 4), 10


def sketch(**factors: Sequence[Any]) -> Records:
    """Records of every model at every combination of these factors and five seeds."""
    table = {"model": MODELS, **{name: tuple(levels) for name, levels in factors.items()}, "seed": SEEDS}
    cells, found, runs = [], {}, {}
    for levels in itertools.product(*table.values()):
        cell = dict(zip(table, levels, strict=True))
        key = hashlib.sha256(repr(cell).encode()).hexdigest()
        cells.append(Cell(factors=cell, run=key))
        runs[key] = PlannedRun(hint="sketch", run={**RUN, "data": {"kind": "Quadrants"}})
        ended = {"state": "done", "reason": "", "num_classes": CLASSES, "dataset": "made-up images", "image_size": 32}
        values, history = ([packed(row) for row in part(cell)] for part in (_rows, _history))
        found[key] = RunRecords("done", packed(ended | {"train_size": cell.get("train_size", 4000)}), values, history)
    question = "What do the figures look like?"
    return joined(Plan(name="sketch", question=question, factors=table, cells=tuple(cells), runs=runs), found)


def _noise(*key: Any) -> float:
    """A standard normal number that depends on the key alone."""
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little")
    return float(np.random.default_rng(seed).standard_normal())


def _accuracy(cell: Mapping[str, Any]) -> float:
    a, b = CURVES[cell["model"]]
    both, own = _noise(cell["seed"], cell.get("subset")), _noise(*cell.values())
    if "distance" in cell:
        height = 1 / (1 + math.exp((cell["distance"] - RADIUS[cell["model"]] - 0.6 - 0.1 * own) / 0.25))
        return min(1.0, 0.1 + 0.9 * height * (1 - 0.004 * abs(own)))
    if cell.get("arrangement") == "permuted" and cell["model"] != "ViT":
        a, b = 2.2, 0.18
    error = a * cell.get("train_size", 4000) ** -b * (1 + 0.02 * both + 0.01 * own)
    error *= 1 + 0.25 * math.exp(-cell.get("images_seen", 1e9) / 40_000 * (2 if cell["model"] == "ResNet" else 1))
    error *= (cell.get("patches", 16) / 16) ** (0.9 * b)
    error *= 1 + 0.1 * abs(math.log10(cell.get("learning_rate", 1e-3)) + 3)
    error *= 1 + 0.1 * abs(_noise(cell["model"], cell.get("trial"))) * ("trial" in cell)
    return 1 - min(error, 0.9)


def _history(cell: Mapping[str, Any]) -> Iterator[Row]:
    final, late = _accuracy(cell), 60 * (1 + cell.get("distance", 3)) * math.exp(0.2 * _noise(*cell.values()))
    for update in range(100, 2001, 100):
        reached = 1 - math.exp(-update / late)
        logged = {"update": update, "images_seen": 64 * update, "epoch": 64 * update / cell.get("train_size", 4000)}
        yield logged | {"val_accuracy": 0.1 + (final - 0.1) * reached, "train_loss": 2.3 * (1 - 0.9 * reached)}


def _rows(cell: Mapping[str, Any]) -> Iterator[Row]:
    accuracy, model = _accuracy(cell), cell["model"]
    for split, value in (("train", min(1.0, accuracy + 0.25)), ("test", accuracy)):
        yield {"metric": "accuracy", "split": split, "value": value}
    yield {"metric": "params", "value": float(PARAMS[model])}
    yield {"metric": "flops", "value": PARAMS[model] * (300.0 if model == "ResNet" else 120.0)}
    for part in (_altered, _fields, _heads, _images, _layers, _maps):
        yield from part(cell, accuracy)


def _altered(cell: Mapping[str, Any], accuracy: float) -> Iterator[Row]:
    """Accuracy on altered images: shifted, scaled, shuffled, covered, moved to a quadrant, read after a lag."""
    worth = 0.5 if cell["model"] == "ViT" else 1.0
    test = {"metric": "accuracy", "split": "test"}
    for axis, shift in itertools.product(("horizontal", "vertical"), range(9)):
        at = {"split": "test", "shift": shift, "axis": axis, "border": "circular"}
        loss = (0.06 if cell["model"] == "ResNet" else 0.14) * (shift % 4 > 0) + 0.01 * shift
        yield {"metric": "consistency", **at, "value": 1 - loss}
    for scale, place in itertools.product((0.5, 0.75, 1.0, 1.25, 1.5), ("centre", "corner")):
        name = "measured_scale" if "scale" in cell else "scale"
        yield {**test, name: scale, "place": place, "value": accuracy * (1 - 0.9 * abs(math.log(scale)))}
    for grid, repeat in itertools.product((1, 2, 4, 8), range(2)):
        yield {**test, "grid": grid, "repeat": repeat, "value": accuracy * grid ** (-0.6 * worth)}
    for share in (0.0, 0.25, 0.5, 0.75):
        yield {**test, "share": share, "fill": "mean", "repeat": 0, "value": accuracy * (1 - worth * share**2)}
    for quadrant in range(4):
        yield {**test, "quadrant": quadrant, "value": accuracy * (1 if quadrant == 0 else 1.1 - 0.5 * worth)}
    for lag in (1, 7, 8, 9, 16, 24):
        yield {**test, "lag": lag, "value": 0.1 + 0.9 * math.exp(-lag / (8 * RADIUS[cell["model"]]))}


def _fields(cell: Mapping[str, Any], accuracy: float) -> Iterator[Row]:
    """Receptive fields: theoretical, reach by direction, and the influence of the pixels."""
    model, name = cell["model"], "measured_distance" if "distance" in cell else "distance"
    for layer in (0, 1, 2):
        radius = min(7, 7 * layer if model == "ViT" else RADIUS[model] * layer / 2)
        at: Row = {"layer": layer, "mode": "architectural"}
        side = min(32, 4 + 8 * radius)
        yield {"metric": "receptive_field", **at, "extent": "global" if side == 32 else "exact", "value": side}
        for direction in ("right", "left", "down", "up"):
            yield {"metric": "reach", **at, "direction": direction, "value": radius}
    fall = {"ResNet": 0.2, "ViT": 0.02}.get(model, 0.4)
    for layer, jitter in ((1, _noise(model, cell["seed"])), (2, _noise(cell["seed"], model))):
        for distance in range(4, 33, 4):
            value = math.exp(-fall * distance / layer) * (1 + 0.05 * jitter)
            at = {"layer": layer, name: float(distance), "own": "without"}
            yield {"metric": "influence_relative", **at, "value": value}
        for own in ("with", "without"):
            radius = (16 - 24 * fall) * layer / 2 + 0.2 * jitter
            yield {"metric": "d50", "layer": layer, "own": own, "value": radius}
            at = {"layer": layer, "own": own, "share": 0.5}
            yield {"metric": "effective_receptive_field", **at, "value": 1.5 * radius}
        for row, column in itertools.product(range(-4, 5), repeat=2):
            value = math.exp(-3 * fall * math.hypot(row, column) / layer + 0.05 * _noise(row, column, cell["seed"]))
            yield {"metric": "erf_map", "layer": layer, "row": row, "column": column, "value": value}


def _heads(cell: Mapping[str, Any], accuracy: float) -> Iterator[Row]:
    """Attention distances of four heads a layer; with more images the nearest of the first layer comes nearer."""
    if cell["model"] != "ViT":
        return
    for layer in (1, 2, 3):
        yield {"metric": "attention_distance_uniform", "layer": layer, "value": 16.55}
        for head, images in itertools.product(range(4), ("true", "shuffled")):
            near = 12 - 1.5 * math.log10(cell.get("train_size", 4000)) if layer == 1 and head == 0 else 12.0 + layer
            value = near + 0.4 * head + 0.3 * _noise(layer, head, cell["seed"]) + 0.7 * (images == "shuffled")
            yield {"metric": "attention_distance", "layer": layer, "head": head, "images": images, "value": value}


def _images(cell: Mapping[str, Any], accuracy: float) -> Iterator[Row]:
    """Whether each of some images is classified correctly; hard images are so for all models."""
    for image in range(IMAGES):
        own = 0.6 * _noise(image) + 0.4 * _noise(image, cell["model"]) + 0.3 * _noise(image, *cell.values())
        yield {"metric": "correct", "image": image, "value": float(own < 2 * accuracy - 1)}


def _layers(cell: Mapping[str, Any], accuracy: float) -> Iterator[Row]:
    """Signs of the Gram matrices of three layers: of the first alike in all networks, of later ones less and less."""
    for layer, (estimator, bias) in itertools.product((1, 2, 3), (("unbiased", 0.0), ("biased", 0.5))):
        parts = [_normals("all"), _normals(cell["model"]), _normals(cell["model"], cell["seed"], layer)]
        both = sum(weight * part for weight, part in zip((1.6 / layer + bias, 0.7, 0.4), parts, strict=True))
        signs = base64.b64encode(np.packbits(both > 0).tobytes()).decode()
        yield {"metric": "hsic", "layer": layer, "estimator": estimator, "signs": signs, "value": 1.0}


def _normals(*key: Any) -> np.ndarray:
    """Standard normal numbers that depend on the key alone."""
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(512)


def _maps(cell: Mapping[str, Any], accuracy: float) -> Iterator[Row]:
    """Saliency by method, scored by three metrics, and the maps themselves over two pictures."""
    for method, hits in METHODS.items():
        if method == "attention" and cell["model"] != "ViT":
            continue
        own = 0.02 * _noise(method, *cell.values())
        yield {"metric": "hit_share", "method": method, "value": hits + own}
        yield {"metric": "mass_share", "method": method, "value": 0.6 * hits + 0.1 + own}
        yield {"metric": "deletion_correlation", "method": method, "value": 0.5 - 0.3 * hits + own}
        yield {"metric": "deletion_gap", "method": method, "fill": "mean", "value": 0.4 * hits**2 + own}
        for step in range(9):
            share, falls = step / 8, (1 - step / 8) ** (1 + 3 * hits) * (1 - own)
            for metric, value in (("deletion_probability", falls), ("insertion_probability", 1 - 0.9 * falls)):
                at = {"method": method, "fill": "mean", "share": share}
                yield {"metric": metric, **at, "value": 0.1 + 0.88 * min(1.0, max(0.0, value))}
    down, across = np.mgrid[:SIDE, :SIDE]
    for image, place in enumerate((5, 10)):
        spot = np.exp(-((down - place) ** 2 + (across - SIDE / 2) ** 2) / 12)
        names = {"label": "disc", "given": "disc" if image else "square", "picture": _text(spot > 0.4)}
        yield {"metric": "gallery_probability", "image": image, **names, "value": 0.6 + 0.3 * image}
        for method, hits in METHODS.items():
            noise = np.cos(down * (3 + image)) * np.sin(across * len(method))
            shown = {"image": image, "method": method, "map": _text(hits * spot + 0.1 * noise)}
            yield {"metric": "gallery_peak", **shown, "value": 1.0}


def _text(values: np.ndarray) -> str:
    """A picture or map as `SaliencyGallery` writes it: from its lowest to its largest value in 256 levels."""
    values = values.astype(float)
    levels = 255 * (values - values.min()) / np.ptp(values)
    return base64.b64encode(zlib.compress(levels.astype(np.uint8).tobytes())).decode()
