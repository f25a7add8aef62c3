"""Do the projections of queries, keys and values need a bias?

The second tutorial leaves them out. For two of the three that is free by construction, for one it is not, and three
kinds of evidence say so. In double precision: a bias of the keys changes nothing, as the softmax cancels what is equal
for all keys; a bias of the values is one of the last projection; a bias of the queries changes the output. With
normalised queries and keys, or cosine similarity, the bias of the keys counts again. In training: networks with all
biases, with none, and with two of the three are compared on handwritten digits, and are called alike when accuracy
differs by less than one point. Where that difference scatters by a point from seed to seed eleven seeds can show it,
and half a point would need about 37. And in trained networks without a bias: the LayerNorm before the projection has a
bias beta, which the projection makes one of its own.

Expected: 10 minutes on two cores; the preset "images", CIFAR-10, an hour on two cores with fast bfloat16 arithmetic.
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
from vision_attn.figures import DotPlot
from vision_attn.probes import BiasEffect, Size

ALL = "all biases"
MIXERS = {
    ALL: SelfAttention(),
    "none": SelfAttention(qkv_bias=False),
    "no query bias": SelfAttention(q_bias=False),
    "no key bias": SelfAttention(k_bias=False),
    "no value bias": SelfAttention(v_bias=False),
    "all, q and k normed": SelfAttention(qk_norm=True),
    "all, cosine similarity": SelfAttention(similarity="cosine"),
}
TRAINED = tuple(MIXERS)[:5]
DATA = {"mnist5k": Mnist5k(), "cifar10": Cifar10(), "cifar10-jpeg": ImageFolder(name="cifar10-jpeg")}
NETWORKS = {"mnist5k": ViT(dim=48, depth=2, patch_size=7), "cifar10": ViT(dim=64, depth=4, position="sincos2d")}
NETWORKS["cifar10-jpeg"] = NETWORKS["cifar10"]


UPDATES = {"mnist5k": 800, "cifar10": 8000, "cifar10-jpeg": 8000}
CROPS = {"mnist5k": 0, "cifar10": 2, "cifar10-jpeg": 2}
"""None of digits: crops alone kept small networks from learning within so few updates."""


def run(seed, data, model, weights):
    if (weights == "trained" and model not in TRAINED) or (weights == "fresh" and seed > 4):
        return None  # what holds in exact arithmetic needs no eleven seeds
    return Run(
        model=NETWORKS[data].replace(mixer=MIXERS[model]),
        data=DATA[data],
        recipe=Recipe(
            updates=UPDATES[data] if weights == "trained" else 0,
            batch_size=32,
            learning_rate=3e-3,
            crop_padding=CROPS[data],
        ),
        seed=seed,
    )


FRESH = cell(weights="fresh")
LEARNT = cell(weights="trained")
NOTHING, POINT = 1e-12, 0.01
most = Quantity("bias_effect", given=FRESH, along=("layer",), reduce="max", exact=True)
least = Quantity("bias_effect", given=FRESH, along=("layer",), reduce="min", exact=True)
slope = Quantity("bias_gradient", given=LEARNT, along=("layer",), reduce="max", exact=True)
accuracy = Quantity("accuracy", given=(*LEARNT, *cell(split="test")))
of_norm = Quantity("norm_bias_relative", given=LEARNT, along=("layer",), reduce="mean")

REDUNDANT = claim(
    "C6",
    "A bias of the keys changes nothing, and one of the values nothing that the last projection's does not.",
    most(model=ALL, projection="k").below(NOTHING, "A bias of k changes no output, to 12 digits."),
    most(model=ALL, projection="v, absorbed").below(NOTHING, "A bias of v is one of the last projection."),
    slope(model=ALL, projection="k").below(NOTHING, "In a trained network the loss has no slope along it."),
    least(model=ALL, projection="q").above(1e-6, "A bias of q changes outputs: it is not redundant."),
    least(model="all, q and k normed", projection="k").above(1e-6, "Where q and k are normed, one of k does too."),
    least(model="all, cosine similarity", projection="k").above(1e-6, "And with cosine similarity."),
)
ALIKE = claim(
    "C6",
    "Without biases of queries, keys and values a network learns as well, within a point.",
    *(
        (accuracy(model=model) - accuracy(model=ALL)).within(POINT, f"{model}: as accurate as with all, ±1 point.")
        for model in TRAINED[1:]
    ),
)
HIDDEN = claim(
    "C6",
    "A network without these biases still has them: LayerNorm's beta makes queries and keys a bias of 1 % or more.",
    of_norm(model="none", projection="q").above(0.01, "Of the queries."),
    of_norm(model="none", projection="k").above(0.01, "Of the keys."),
)

FIRST = (("layer", 1),)
experiment = Experiment(
    question=__doc__,
    factors={"seed": range(11), "data": ("mnist5k",), "model": tuple(MIXERS), "weights": ("fresh", "trained")},
    presets={"images": {"data": ("cifar10",)}},
    run=run,
    probes=(Accuracy(), BiasEffect(), Size()),
    figures=(
        DotPlot(reference=ALL, given=LEARNT),
        DotPlot(metric="bias_effect", split=None, at=(*FIRST, ("projection", "k")), given=FRESH),
        DotPlot(metric="norm_bias_relative", split=None, at=(*FIRST, ("projection", "q")), given=LEARNT),
    ),
    verdicts=(REDUNDANT, ALIKE, HIDDEN),
)
