"""Made-up learning curves of known formulas: error = a n^-b + c by model, with the noise of the seed and its own."""

from frames import make_records, noise

SIZES = (250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 50000)
MODELS = ("ResNet", "ViT", "ViT, 7x7 convolution", "window", "stem", "LSTM", "pooling")
CURVES = dict(
    zip(
        MODELS,
        ((4, 0.38, 0.03), (2.8, 0.24, 0.0), (3.4, 0.33, 0.03), (3, 0.28, 0), (3.3, 0.31, 0), (2, 0.15, 0), (2, 0.1, 0)),
        strict=True,
    )
)
CHANCE = 0.1


def accuracy(cell):
    a, b, c = CURVES[cell["model"]]
    if cell.get("arrangement", "intact") == "permuted" and cell["model"] != "ViT":
        a, b = 1.9, 0.17
    both, own = noise(cell["train_size"], cell["seed"]), noise(*cell.values())
    error = (a * cell["train_size"] ** -b + c) * (1 + 0.02 * both + 0.015 * own)
    return 1 - min(error, 1 - CHANCE + 0.005 * own)


def rows(cell):
    test = accuracy(cell)
    yield {"metric": "accuracy", "split": "test", "value": test}
    yield {"metric": "accuracy", "split": "train", "value": min(1.0, test + 0.1)}


def curve_records(*, models=MODELS[:3], sizes=SIZES, seeds=(0, 1, 2), value=None, **others):
    """Records of every cell; `value(cell)` stands in for the made-up accuracy where it is given."""
    options = {name: others.pop(name) for name in ("state", "history") if name in others}
    factors = {"model": models, **others, "train_size": sizes, "seed": seeds}

    def own(cell):
        return [{"metric": "accuracy", "split": split, "value": value(cell)} for split in ("test", "train")]

    return make_records(factors, rows if value is None else own, classes=10, **options)
