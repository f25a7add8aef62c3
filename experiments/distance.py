"""How far apart may cue and answer lie for attention, convolution and recurrence of equal size to relate them?

A cue in one cell of an 8 x 8 lattice tells a direction; the answer is the glyph d cells away in that direction, and is
read out at the cue's own token, so what a network does not carry from there to here it cannot know: beyond its reach it
is at chance, one in eight. (Read out from all tokens pooled a network of any reach may know: the control.) Every
distance has the same number of pairs of cue and answer, 32, as many as the farthest has, and which these are is drawn
by the seed: near distances have up to seven times as many, which takes who learns pairs by heart longer. For an LSTM a
distance is a number of steps in its sequence, 1 or 8 a cell by direction, so one reads row by row and one column by
column. Every update sees fresh images; training ends when the loss has stalled for 1,500 updates, or at 6,000. Runs
may fail to learn at all, so claims are about the share of seeds that do.

The learning rate of each family was chosen from the same four on validation images, for the member that stands for it,
with a seed that is used for nothing else, on the task with all pairs and at most 2,400 updates: the preset "rates"
does that over. To save hours, distances are thinned to four and models to those of a claim; the preset "full" has
all. The preset "controls" asks some models with nothing but the answer in the image, from all tokens pooled, and on
lattices that are moved by pixels.
"""

from similarity import RECALL_RECIPE

from vision_attn import Accuracy, Experiment, Quantity, Run, SelfAttention, ViT, cell, claim, match
from vision_attn.data import CuedRecall
from vision_attn.figures import ConvergenceSteps, DistanceCurve, LagCurve, Matching, PsychometricMidpoint, Selection
from vision_attn.models import LSTM, ConvStack, Neighbourhood, rf_dial
from vision_attn.probes import AccuracyByDistance, AccuracyByLag, Influence, ReceptiveField, Size

SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 8}
HEADS = 2
TRUNK = ViT(
    dim=48, depth=2, mlp_ratio=2, patch_size=4, pool="none", position="none", mixer=SelfAttention(num_heads=HEADS)
)
RELATIVE = TRUNK.replace(mixer=SelfAttention(num_heads=HEADS, position="relative"))


def sized(family):
    """The member of the family that has as many parameters as attention with relative positions, within 3 %."""
    return match(family, reference=RELATIVE, tolerance=0.03, **SHAPE)


MODELS = {  # attention with one encoding or another is one network, but for the few parameters of the encoding itself
    "attention, relative": RELATIVE,
    "attention, no position": TRUNK,
    "attention, learned": TRUNK.replace(position="learned"),
    "attention, sine-cosine": TRUNK.replace(position="sincos2d"),
    "attention, rotary": TRUNK.replace(mixer=SelfAttention(num_heads=HEADS, position="rotary")),
    "attention, convolutional": TRUNK.replace(mixer=SelfAttention(num_heads=HEADS, position="convolution")),
    "attention to radius 1": TRUNK.replace(
        mixer=SelfAttention(num_heads=HEADS, position="relative", pattern=Neighbourhood(radius=1))
    ),
    "CNN, radius 1": sized(rf_dial(1, depth=4).replace(pool="none")),
    "CNN, radius 2": sized(rf_dial(2, depth=4).replace(pool="none")),
    "CNN, radius 4": sized(rf_dial(4, depth=4).replace(pool="none")),
    "dilated CNN, radius 7": sized(ConvStack(kernels=(3, 3, 3), dilations=(1, 2, 4), pool="none")),
    "large-kernel CNN, radius 7": sized(ConvStack(kernels=(7, 7, 3), depthwise=True, pool="none")),
    "LSTM": sized(TRUNK.replace(mixer=LSTM(bidirectional=False))),
    "LSTM, both ways": sized(TRUNK.replace(mixer=LSTM(bidirectional=True))),
}
MODELS["LSTM by columns, both ways"] = MODELS["LSTM, both ways"].replace(mixer=LSTM(order="columns"))
MAIN = (
    *("attention, relative", "attention, no position", "attention, learned", "attention, sine-cosine"),
    *("attention, rotary", "CNN, radius 2", "CNN, radius 4", "dilated CNN, radius 7"),
    *("LSTM, both ways", "LSTM by columns, both ways"),
)
FAMILIES = {
    name: "LSTM, both ways" if "LSTM" in name else "CNN, radius 4" if "CNN" in name else "attention, learned"
    for name in MODELS
}
RATES = {"attention, learned": 3e-3, "CNN, radius 4": 3e-3, "LSTM, both ways": 3e-3}
"""The learning rate of each family, by the member that stands for it."""


def run(seed, variant, aligned, model, distance, learning_rate):
    if not aligned and (distance == 7 or variant != "filled"):
        return None  # 7 x 7 cells leave no room for 7; the controls are asked on one lattice
    pooled = variant == "filled, pooled"
    return Run(
        model=MODELS[model].replace(pool="mean" if pooled else "none"),
        data=CuedRecall(
            distance=distance,
            variant="popout" if variant == "popout" else "filled",
            pooled=pooled,
            train_cues=16 if variant == "filled" else 1,
            aligned=aligned,
            num_pairs=32 if aligned else 28,
            pair_seed=seed,
        ),
        recipe=RECALL_RECIPE.replace(
            learning_rate=RATES[FAMILIES[model]] if learning_rate == "chosen" else learning_rate
        ),
        seed=seed,
    )


FILLED = cell(variant="filled", aligned=True)
LEARNED, MOST, FEWER = 0.95, 0.4, 0.6
"""A run has learned at this accuracy. All of five runs are a share above 40 %, none of five is one below 60 %: five
seeds can support such a rule, not refute it."""
accuracy = Quantity("accuracy", given=(*FILLED, *cell(split="test")))
reach = Quantity("reach", given=FILLED, reduce="max", exact=True, min_seeds=2)
PLACED = [name for name in MAIN if name.startswith("attention, ") and name != "attention, no position"]
RADII = {"CNN, radius 2": 2, "CNN, radius 4": 4}
LSTMS = {"LSTM, both ways": "row by row", "LSTM by columns, both ways": "column by column"}


def learns(model, distance, **coordinates):
    """The share of seeds that learn it."""
    return accuracy(model=model, distance=distance, **coordinates).share(LEARNED)


REACH = claim(
    "C1",
    "Attention reaches any distance; a convolution reaches as far as its theoretical radius.",
    *(learns("attention, learned", d).above(MOST, f"Attention learns it at a distance of {d}.") for d in (1, 2, 4, 7)),
    *(learns(name, r).above(MOST, f"{name} learns it at the edge of its radius, {r}.") for name, r in RADII.items()),
    *(
        reach(model=name, layer=4, direction="any", mode="dependency").below(
            r + 0.5, f"{name}, trained, sees no farther than {r} at any distance asked."
        )
        for name, r in RADII.items()
    ),
)
PLACES = claim(
    "C7",
    "Attention alone knows no places; every position encoding fixes this.",
    *(learns(name, 4).above(MOST, f"{name} learns it at a distance of 4.") for name in PLACED),
)
RECURRENCE = claim(
    "C10",
    "A recurrent network relates what is few steps apart in its sequence and forgets over many; attention does not.",
    *(
        learns(name, 7, lag=7).above(MOST, f"An LSTM that reads {order} learns the target 7 cells and 7 steps back.")
        for name, order in LSTMS.items()
    ),
    *(
        learns(name, 7, lag=56).below(FEWER, f"Not so the one 7 cells and 56 steps back, reading {order}.")
        for name, order in LSTMS.items()
    ),
    learns("attention, learned", 7, lag=56).above(MOST, "Attention learns that one."),
)

experiment = Experiment(
    question=__doc__,
    factors={
        "seed": range(5),  # first, so that whole seeds are done early
        "variant": ("filled",),
        "aligned": (True,),
        "model": MAIN,
        "distance": (1, 2, 4, 7),
        "learning_rate": ("chosen",),
    },
    presets={
        "rates": {
            "model": tuple(RATES),
            "distance": (2, 4),
            "learning_rate": (3e-4, 1e-3, 3e-3, 1e-2),
            "seed": (100,),
        },
        "controls": {
            "variant": ("filled", "popout", "filled, pooled"),
            "aligned": (True, False),
            "model": ("attention, no position", "attention, learned", "CNN, radius 1", "CNN, radius 4"),
            "distance": (1, 4, 6),
        },
        "full": {
            "variant": ("filled", "popout", "filled, pooled"),
            "aligned": (True, False),
            "model": tuple(MODELS),
            "distance": range(8),
        },
    },
    run=run,
    probes=(
        *(Accuracy(), AccuracyByDistance(), AccuracyByLag()),
        *(ReceptiveField(), Influence(images=8, maps=False), Size()),
    ),
    figures=(
        DistanceCurve(),
        DistanceCurve(direction=True, given=FILLED),
        LagCurve(given=FILLED),
        ConvergenceSteps(),
        PsychometricMidpoint(),
        Selection(),
        Matching(reference="attention, relative", tolerance=0.03),
    ),
    verdicts=(REACH, PLACES, RECURRENCE),
)
