"""How far do trained networks look, and does small data leave attention less local?

Networks of equal size learn to classify from small subsets; then each of their layers is asked the same three
questions: what could it see (theoretical receptive field), what moves it (influence by distance, by gradients and by
exchanged patches), and, where there is attention, how far away it attends. Untrained networks are asked too.

Attention enters twice: as the "ViT" is usually built, with learned positions and the default initialisation, and with
sine-cosine positions and mimetic initialisation, the best construction that the search of `tuning.py` found. Each has a
twin with its positions, in which a depthwise convolution takes the place of attention and adds vectors of the same size
at the start. All are trained with one recipe. The two constructions differ in positions and initialisation at once:
which of them makes a difference is not told. Sine-cosine positions have no parameters and want widths in steps of four,
so that these two have 2 and 6 % fewer parameters than the ViT with learned ones.

How local attention is may come from the recipe rather than from the data: CutMix alone is said to make early attention
local (arXiv:2605.16390), as a box pasted from another image makes what is far away misleading. The preset "cutmix"
trains the ViT on few and on many images with CutMix off and on, so that one can be told from the other.

Expected: four hours on one core, "cutmix" 40 minutes on one core; the preset "full", CIFAR-10 and 4,000 updates, a day.
"""

import dataclasses

from tuning import SCALES, SHAPE, convolution, network

from vision_attn import (
    Accuracy,
    Cifar10,
    Experiment,
    ImageFolder,
    Mnist5k,
    Quantity,
    Recipe,
    ResNet,
    Run,
    SelfAttention,
    cell,
    claim,
    match,
)
from vision_attn.figures import (
    AttentionDistanceByHead,
    DotPlot,
    ErfMap,
    InfluenceProfile,
    Matching,
    MinimumHeadDistance,
    ReceptiveFieldByLayer,
)
from vision_attn.models import LSTM, Neighbourhood
from vision_attn.probes import AttentionDistance, Influence, Intervention, ReceptiveField, Size

ATTENTION = SCALES["small"]
SEARCHED, SEARCHED_TWIN = "ViT, sincos2d, mimetic", "ViT, sincos2d, 3x3 convolution"
"""The construction with which attention did best on validation images, at both sizes that `tuning.py` has searched."""


def sized(family):
    """The member of the family that has as many parameters as the ViT, within 2 %."""
    return match(family, reference=ATTENTION, **SHAPE)


MODELS = {
    "ViT": ATTENTION,
    "ViT, to radius 1": sized(
        ATTENTION.replace(position="none", mixer=SelfAttention(position="relative", pattern=Neighbourhood(radius=1)))
    ),
    "ViT, 3x3 convolution": sized(ATTENTION.replace(mixer=convolution("learned", False))),
    "ViT, LSTM": sized(ATTENTION.replace(mixer=LSTM(bidirectional=True))),
    "ResNet": sized(ResNet(width=12, blocks=2)),
    SEARCHED: network("ViT", "sincos2d", True),
    SEARCHED_TWIN: network("ViT, 3x3 convolution", "sincos2d", True),
}
DATA = {"cifar10": Cifar10(), "cifar10-jpeg": ImageFolder(name="cifar10-jpeg"), "mnist5k": Mnist5k()}
MOST = 4000
CUTMIX = {"off": 0.0, "on": 1.0}
"""The alpha of CutMix; 1, as published, pastes a box into every batch, its area uniform."""


def run(data, model, weights, train_size, updates, cutmix, seed):
    if weights == "untrained" and (train_size != MOST or cutmix == "on"):
        return None  # without training neither subset nor recipe matters
    recipe = Recipe(updates=updates if weights == "trained" else 0, batch_size=64, learning_rate=1e-3)
    return Run(
        model=MODELS[model],
        data=DATA[data].replace(train_size=train_size, subset_seed=seed),
        recipe=recipe.replace(cutmix=CUTMIX[cutmix]),
        seed=seed,
    )


GIVEN = cell(weights="trained", train_size=MOST, cutmix="off")
looks = Quantity("influence_distance_relative", given=(*GIVEN, *cell(own="without")))
looks_untrained = Quantity(
    "influence_distance_relative", given=cell(weights="untrained", train_size=MOST, cutmix="off", own="without")
)
by_lag = Quantity("influence_lag", given=GIVEN)
nearest_head = Quantity(
    "attention_distance",
    given=cell(model="ViT", weights="trained", layer=1, images="true"),
    along=("head",),
    reduce="min",
    needs_data_limited="updates",
)
TWIN, FARTHEST = "ViT, 3x3 convolution", 0.46
"""The eight patches around are sqrt(2) away at most: 0.45 of the mean distance from the centre of 8 x 8 patches."""


def farther(vit, twin, which="the"):
    """What tells attention from convolution once both are trained, in the first layer and in the last."""
    return (
        (looks(model=vit, layer=1) - looks(model=twin, layer=1)).above(
            0.2, f"Trained, the first layer of {which} ViT looks farther than that of its convolutional twin."
        ),
        (looks(model=vit, layer=4) - looks(model=twin, layer=4)).above(
            0, f"Trained, the last layer of {which} ViT still looks farther than that of its convolutional twin."
        ),
    )


REACH = claim(
    "C1",
    "Attention has the larger effective receptive field: its influence is flat, that of convolution falls.",
    looks_untrained(model="ViT", layer=1).above(
        0.95, "In the first layer of the untrained ViT influence is as far away as evenly spread influence."
    ),
    dataclasses.replace(looks, exact=True)(model=TWIN, layer=1).below(
        FARTHEST, "In the first layer of the convolutional twin it is next to the patch, trained or not."
    ),
    *farther("ViT", TWIN),
)
REACH_OF_BEST = claim(
    "C1",
    "With sine-cosine positions and mimetic initialisation, the best construction found, it is larger and flat, too.",
    looks_untrained(model=SEARCHED, layer=1).above(
        0.95, "In the first layer of this ViT, untrained, influence is as far away as evenly spread influence."
    ),
    *farther(SEARCHED, SEARCHED_TWIN, which="this"),
)
RECURRENCE = claim(
    "C10",
    "What a recurrent net knows of earlier patches fades with every step; what attention knows does not.",
    (by_lag(model="ViT, LSTM", layer=1, lag=16) - by_lag(model="ViT, LSTM", layer=1, lag=1)).below(
        0, "In the first layer of the LSTM a patch 16 steps back counts less than the one before."
    ),
    by_lag(model="ViT, LSTM", layer=1, lag=16).below(0.1, "It counts less than a tenth of the mean patch."),
    by_lag(model="ViT", layer=1, lag=16).above(
        0.5, "In the first layer of the ViT it counts at least half of the mean patch."
    ),
)
LOCALITY = claim(
    "C4",
    "Small data leaves attention less local: the nearest head of the first layer looks farther.",
    (nearest_head(train_size=500, cutmix="off") - nearest_head(train_size=MOST, cutmix="off")).above(0),
)
near_of_mixed = dataclasses.replace(nearest_head, needs_data_limited=None)
MIXED = claim(
    "CutMix",
    "CutMix alone makes early attention local: the nearest head of the first layer looks less far.",
    *(
        (near_of_mixed(train_size=size, cutmix="on") - near_of_mixed(train_size=size, cutmix="off")).below(
            0, f"With {size:,} images the nearest head of the first layer looks less far with CutMix."
        )
        for size in (500, MOST)
    ),
)
LOCALITY_MIXED = claim(
    "C4",
    "Small data leaves attention less local under CutMix too.",
    (nearest_head(train_size=500, cutmix="on") - nearest_head(train_size=MOST, cutmix="on")).above(0),
)

experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "model": tuple(MODELS),
        "weights": ("untrained", "trained"),
        "train_size": (500, MOST),
        "updates": (800,),
        "cutmix": ("off",),
        "seed": range(5),
    },
    presets={
        "digits": {"data": ("mnist5k",)},
        "cutmix": {"model": ("ViT",), "weights": ("trained",), "cutmix": tuple(CUTMIX)},
        "full": {"data": ("cifar10",), "updates": (4000,), "seed": range(5)},
    },
    run=run,
    probes=(
        Accuracy(),
        ReceptiveField(),
        Influence(images=32),
        Intervention(images=32),
        AttentionDistance(images=64),
        Size(),
    ),
    figures=(
        InfluenceProfile(dashed="weights", given=cell(train_size=MOST)),
        ErfMap(given=GIVEN),
        ReceptiveFieldByLayer(own="without", given=GIVEN),
        AttentionDistanceByHead(given=cell(weights="trained", train_size=MOST)),
        MinimumHeadDistance(given=cell(weights="trained")),
        InfluenceProfile(metric="intervention_relative", given=GIVEN),
        DotPlot(given=GIVEN),
        Matching(reference="ViT", tolerance=0.07),
    ),
    verdicts=(REACH, REACH_OF_BEST, RECURRENCE, LOCALITY, MIXED, LOCALITY_MIXED),
)
