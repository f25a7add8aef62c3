"""Which learning rate and which strength of regularisation does every family of models do best with?

Every family gets the same six trials at each of two subset sizes: three learning rates, each with light and with heavy
regularisation (weight decay, drop path, and with strong augmentation the magnitude of RandAugment). The trial with the
best accuracy on 2,000 validation images, which are taken from the training data and are in no subset, is the family's
recipe; other experiments read it from `results/recipe_search`. Seed and subset are used for nothing else.
"""

import functools
from pathlib import Path

from vision_attn import Cifar10, DepthwiseConv, Experiment, ImageFolder, Recipe, ResNet, Run, SelfAttention, ViT, match
from vision_attn.figures import Matching, Selection
from vision_attn.models import ConvNeXt, Neighbourhood
from vision_attn.probes import Size
from vision_attn.tables import read_table

SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 10}
SCALES = {"small": ViT(dim=64, depth=4, patch_size=4), "large": ViT(dim=96, depth=6, patch_size=4)}
"""The vision transformer that all models of a scale are as large as: 0.21 and 0.68 million parameters."""
NEIGHBOURS = SelfAttention(position="relative", pattern=Neighbourhood(radius=1))


@functools.cache
def models(scale):
    """Models of as many parameters as the ViT of that scale, within 2 %; and a ResNet of as many FLOPs."""
    vit = SCALES[scale]
    sized = functools.partial(match, reference=vit, **SHAPE)
    return {
        "ResNet": sized(ResNet(width=12, blocks=2)),
        "ViT": vit,
        "ViT, 3x3 convolution": sized(vit.replace(mixer=DepthwiseConv(kernel_size=3))),
        "ViT, to radius 1": sized(vit.replace(position="none", mixer=NEIGHBOURS)),
        "ViT, convolutional stem": sized(vit.replace(stem="convolution")),
        "ConvNeXt": sized(ConvNeXt()),
        "ResNet, equal FLOPs": sized(ResNet(width=12, blocks=2), on="flops"),
    }


MODELS = ("ResNet", "ViT", "ViT, 3x3 convolution", "ViT, to radius 1", "ViT, convolutional stem", "ConvNeXt")
"""Those that are searched for: one a family. The ResNet of equal FLOPs has the ResNet's recipe."""
ARMS = {  # strong augmentation is costly: the ViT, its convolutional twin and the ResNet
    "weak": MODELS,
    "strong": ("ResNet", "ViT", "ViT, 3x3 convolution"),
}
SIZES = (500, 4000)
RATES = (5e-4, 1.5e-3, 4.5e-3)
STRENGTHS = {
    "light": {"weight_decay": 0.05, "drop_path": 0.0, "rand_augment": 5},
    "heavy": {"weight_decay": 0.2, "drop_path": 0.1, "rand_augment": 9},
}
TRIALS = {f"{rate:g}, {strength}": (rate, strength) for rate in RATES for strength in STRENGTHS}


def dataset(name, train_size, subset_seed, val_size=0):
    """CIFAR-10 by its own name, or an image folder such as cifar10-jpeg, found through --data-dir."""
    kind = Cifar10() if name == "cifar10" else ImageFolder(name=name)
    return kind.replace(train_size=train_size, subset_seed=subset_seed, val_size=val_size)


def configured(model, trial, augmentation, scale="small", **budget):
    """The model and its recipe in a trial. Weak augmentation is random crops and flips."""
    rate, strength = TRIALS[trial]
    values = STRENGTHS[strength]
    strong = {"rand_augment": values["rand_augment"], "mixup": 0.8, "cutmix": 1.0} if augmentation == "strong" else {}
    recipe = Recipe(learning_rate=rate, weight_decay=values["weight_decay"], **budget, **strong)
    return models(scale)[model].replace(drop_path=values["drop_path"]), recipe


@functools.cache
def _choice():
    cell = ("augmentation", "model", "train_size")
    folder = Path(__file__).parents[1] / "results" / "recipe_search"
    table = read_table(folder, "tables/Choice", (*cell, "trial", "chosen"))
    best = table[table["chosen"].astype(bool)]
    return dict(zip(best[list(cell)].itertuples(index=False, name=None), best["trial"], strict=True))


def chosen_trial(model, augmentation, train_size):
    """The trial chosen for the model's family at the searched size that is nearer, by ratio."""
    family = "ResNet" if model == "ResNet, equal FLOPs" else model
    nearest = SIZES[0] if train_size**2 < SIZES[0] * SIZES[1] else SIZES[1]
    return _choice()[augmentation, family, nearest]


def run(data, augmentation, model, train_size, trial, updates, seed):
    if model not in ARMS[augmentation]:
        return None
    network, recipe = configured(model, trial, augmentation, updates=updates, batch_size=32, history_rows=4)
    return Run(model=network, data=dataset(data, train_size, seed, val_size=2000), recipe=recipe, seed=seed)


experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "augmentation": tuple(ARMS),
        "model": MODELS,
        "train_size": SIZES,
        "trial": tuple(TRIALS),
        "updates": (1000,),
        "seed": (100,),
    },
    presets={
        "small": {"train_size": (250, 500), "updates": (100,)},
        "full": {"data": ("cifar10",), "updates": (10000,), "seed": range(100, 103)},
    },
    run=run,
    probes=(Size(),),
    figures=(
        Selection(choose="trial", by=("augmentation", "train_size")),
        Matching(reference="ViT"),
    ),
)
