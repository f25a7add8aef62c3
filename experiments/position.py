"""Does self-attention know where things are, and how much does it matter which position encoding tells it?

Without an encoding attention sees a set of patches. Six encodings are given to one network: learned vectors and
sine-cosine added to the tokens, a learned bias for relative positions, rotary embedding, a depthwise convolution, and
rotary beside learned vectors. Classes are read from the mean of the tokens or from a class token. The data are
handwritten digits in 16 patches of 7 pixels, where a network that learns nothing of places is far behind: on CIFAR-10
at 48,000 images seen attention hardly uses them (see results/LOG.md), so no encoding could show its worth there. Then
the images are enlarged by half without further training, and each encoding must extend to the new grid.

Presence is decided: each encoding is more than two points better than none. Kind is decided too: encodings are within
two points of each other. Expected: 10 minutes on two cores; the preset "images", CIFAR-10 with 2.5 million images seen,
takes a GPU. Digits are not cropped: within 800 updates crops alone keep a ViT from learning (see results/LOG.md).
"""

from vision_attn import (
    Accuracy,
    Cifar10,
    Experiment,
    ImageFolder,
    Mnist5k,
    Quantity,
    Recipe,
    Run,
    SelfAttention,
    ViT,
    cell,
    claim,
)
from vision_attn.figures import DotPlot, MetricCurve
from vision_attn.probes import AccuracyAtSize, PatchShuffle, Size

NONE = "none"
ENCODINGS = {  # added to the tokens once; in every layer of attention
    NONE: ("none", "none"),
    "learned": ("learned", "none"),
    "sine-cosine": ("sincos2d", "none"),
    "relative bias": ("none", "relative"),
    "rotary": ("none", "rotary"),
    "convolution": ("none", "convolution"),
    "learned and rotary": ("learned", "rotary"),
}
POOLS = {"mean": "mean", "class token": "token"}
DATA = {"mnist5k": Mnist5k(), "cifar10": Cifar10(), "cifar10-jpeg": ImageFolder(name="cifar10-jpeg")}
NETWORKS = {"mnist5k": ViT(dim=48, depth=2, patch_size=7), "cifar10": ViT(dim=96, depth=6, patch_size=4)}
NETWORKS["cifar10-jpeg"] = NETWORKS["cifar10"]
RECIPES = {
    "mnist5k": Recipe(updates=800, batch_size=32, learning_rate=3e-3, crop_padding=0),
    "cifar10": Recipe(updates=20000, batch_size=128, learning_rate=1e-3),
}
RECIPES["cifar10-jpeg"] = RECIPES["cifar10"]


def run(seed, data, pool, model):
    added, inside = ENCODINGS[model]
    network = NETWORKS[data].replace(position=added, pool=POOLS[pool], mixer=SelfAttention(position=inside))
    return Run(model=network, data=DATA[data], recipe=RECIPES[data], seed=seed)


accuracy = Quantity("accuracy", given=cell(split="test"))
POINTS = 0.02
GIVEN = tuple(ENCODINGS)[1:]


def lead(model, pool):
    """What an encoding is better than none."""
    return accuracy(model=model, pool=pool) - accuracy(model=NONE, pool=pool)


PRESENCE = claim(
    "C7",
    "Self-attention carries no position information; a position encoding mends it.",
    *(
        lead(model, pool).above(POINTS, f"{model}, read from the {pool}: more than two points better than none.")
        for pool in POOLS
        for model in GIVEN
    ),
)
KIND = claim(
    "C7",
    "Which encoding it is matters little: all are within two points of the learned one.",
    *(
        (accuracy(model=model, pool=pool) - accuracy(model="learned", pool=pool)).within(
            POINTS, f"{model}, read from the {pool}: as accurate as learned positions, ±2 points."
        )
        for pool in POOLS
        for model in GIVEN[1:]
    ),
)

experiment = Experiment(
    question=__doc__,
    factors={"seed": range(5), "data": ("mnist5k",), "pool": tuple(POOLS), "model": tuple(ENCODINGS)},
    presets={"images": {"data": ("cifar10",)}, "other-seeds": {"seed": range(5, 16)}},
    run=run,
    probes=(Accuracy(), AccuracyAtSize(), PatchShuffle(grids=(1, 4), repeats=2, images=500), Size()),
    figures=(
        DotPlot(),
        DotPlot(reference=NONE),
        MetricCurve(x="image_size"),
    ),
    verdicts=(PRESENCE, KIND),
)
