"""Made-up measurements of receptive fields: models of known reach, heads of known distance."""

import math

from frames import make_records, noise

MODELS = ("attention", "attention, no position", "convolution, radius 2", "convolution, radius 4", "LSTM")
REACH = dict(zip(MODELS, ((7, 7), (7, 7), (2, 2), (4, 4), (0, 7)), strict=True))
STEP = dict(zip(MODELS, (None, None, 2.5, 4.3, 1.5), strict=True))
DISTANCES = tuple(range(8))
SEEDS = (0, 1, 2)
CHANCE = 1 / 8


def accuracy(cell):
    jitter = noise(cell["model"], cell.get("distance"), cell["seed"])
    if cell["model"] == "attention, no position" and cell.get("variant") == "filled":
        return 0.19 + 0.004 * jitter
    step = STEP[cell["model"]]
    height = 1.0 if step is None else 1 / (1 + math.exp((cell["distance"] - step - 0.1 * jitter) / 0.25))
    return min(1.0, CHANCE + (1 - CHANCE) * height * (1 - 0.004 * abs(jitter)))


def reach_rows(model):
    low, high = REACH[model]
    for layer in (0, 1, 2):
        for direction, value in (("right", low), ("left", high), ("down", low), ("up", high)):
            at = {"layer": layer, "direction": direction, "mode": "architectural"}
            yield {"metric": "reach", **at, "value": value * layer / 2}


def influence_rows(model, seed, *, trained=True):
    """A profile that is flat for attention and falls with the radius for convolution; layer 0 sees itself only."""
    fall = {"attention": 0.0, "attention, no position": 0.02, "LSTM": 0.12}.get(model, 0.5 if "2" in model else 0.25)
    for layer in (1, 2):
        for distance in range(4, 33, 4):
            value = math.exp(-fall * distance / layer * (0.6 if trained else 1)) * (
                1 + 0.05 * noise(model, seed, distance)
            )
            if value > 1e-4:
                at = {"layer": layer, "distance": float(distance), "own": "without"}
                yield {"metric": "influence_relative", **at, "value": value}
        for own, radius in (("with", 16 - 20 * fall), ("without", 17 - 20 * fall)):
            size = radius * layer / 2 + 0.2 * noise(model, seed)
            yield {"metric": "d50", "layer": layer, "own": own, "value": size}
            at = {"layer": layer, "own": own, "share": 0.5}
            yield {"metric": "effective_receptive_field", **at, "value": 2 * size}


def map_rows(model, seed):
    fall = {"attention": 0.05, "attention, no position": 0.1, "LSTM": 0.6}.get(model, 1.2)
    for layer in (1, 2):
        for row in range(-4, 5):
            for column in range(-4, 5):
                down = 0.2 if model == "LSTM" and row > 0 else 1.0
                value = (
                    down * math.exp(-fall * math.hypot(row, column) / layer) * math.exp(0.05 * noise(seed, row, column))
                )
                yield {"metric": "erf_map", "layer": layer, "row": row, "column": column, "value": value}


def field_rows(model):
    side = {"convolution, radius 2": (4, 12, 20), "convolution, radius 4": (4, 20, 36)}.get(model, (4, 32, 32))
    for layer, value in enumerate(side):
        at = {"layer": layer, "mode": "architectural", "extent": "global" if value == 32 else "exact"}
        yield {"metric": "receptive_field", **at, "value": value}


def head_rows(model, seed, train_size):
    """Four heads a layer; the nearest of the first layer comes nearer with more images."""
    if not model.startswith("attention"):
        return
    for layer in (1, 2, 3):
        yield {"metric": "attention_distance_uniform", "layer": layer, "value": 16.55}
        for head in range(4):
            near = (
                12 - 1.5 * math.log10(train_size) if (layer, head) == (1, (1 + seed) % 4) else 13 + layer + 0.3 * head
            )
            value = near + 0.2 * noise(model, seed, layer, head)
            for images, much in (("true", value), ("shuffled", value + 0.7)):
                yield {"metric": "attention_distance", "layer": layer, "head": head, "images": images, "value": much}


def recall_rows(cell):
    yield {"metric": "accuracy", "split": "test", "value": accuracy(cell)}
    yield {"metric": "accuracy", "split": "train", "value": 0.99}
    yield from reach_rows(cell["model"])
    for row in influence_rows(cell["model"], cell["seed"]):
        yield {("distance" if name == "distance" else name): value for name, value in row.items()}


def recall_history(cell):
    """Validation accuracy at every 50th update; distant cells take longer."""
    final = accuracy(cell)
    late = 100 * (1 + cell["distance"]) * math.exp(0.2 * noise(cell["model"], cell["seed"]))
    slow = {0.001: 0.6, 0.003: 1.0, 0.01: 0.4}.get(cell.get("learning_rate"), 1.0)
    for update in range(50, 2001, 50):
        yield {"update": update, "val_accuracy": CHANCE + slow * (final - CHANCE) * (update > late), "train_loss": 0.1}


def recall_records(*, models=MODELS, distances=DISTANCES, seeds=SEEDS, factors=None, **options):
    table = {"model": models, **(factors or {}), "distance": distances, "seed": seeds}
    return make_records(table, recall_rows, history=recall_history, **options)


def image_rows(cell):
    for rows in (
        influence_rows(cell["model"], cell["seed"], trained=cell.get("weights", "trained") == "trained"),
        map_rows(cell["model"], cell["seed"]),
        field_rows(cell["model"]),
        head_rows(cell["model"], cell["seed"], cell.get("train_size", 500)),
    ):
        yield from rows


def image_records(*, models=MODELS, sizes=(50, 500, 4000), seeds=SEEDS, factors=None, **options):
    table = {"model": models, **(factors or {}), "train_size": sizes, "seed": seeds}
    return make_records(table, image_rows, classes=10, **options)
