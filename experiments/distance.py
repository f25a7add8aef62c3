"""How far away may it lie for attention, convolution and recurrence of equal size to recall it?

A cue in one cell of an 8 x 8 lattice tells a direction; the answer is the glyph d cells away in that direction, and is
read out at the cue's own token, so what a network does not carry from there to here it cannot know: beyond its reach it
is at chance, one in eight. (Read out from all tokens pooled a network of any reach may know: the control.) Every update
sees fresh images; training ends when the loss stalls, or at the cap. The learning rate of each family was chosen from
the same four on validation images, for the member that stands for it, with a seed that is used for nothing else:
the preset "rates". The preset "controls" asks some of the models with nothing but the answer in the image, from all
tokens pooled, and on lattices that are moved by pixels; the preset "full" asks it of all.
"""

from vision_attn import (
    LSTM,
    Accuracy,
    AccuracyByDistance,
    AllOf,
    BoundVerdict,
    Choice,
    ConvergenceSteps,
    ConvStack,
    CuedRecall,
    DifferenceVerdict,
    EquivalenceVerdict,
    Experiment,
    Influence,
    Matching,
    RecallByDistance,
    ReceptiveField,
    Recipe,
    Run,
    SelfAttention,
    Size,
    StepPosition,
    ViT,
    cell,
    match,
    rf_dial,
)

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
        mixer=SelfAttention(num_heads=HEADS, position="relative", pattern="neighbourhood", pattern_size=1)
    ),
    "CNN, radius 1": sized(rf_dial(1, depth=4).replace(pool="none")),
    "CNN, radius 2": sized(rf_dial(2, depth=4).replace(pool="none")),
    "CNN, radius 4": sized(rf_dial(4, depth=4).replace(pool="none")),
    "dilated CNN, radius 7": sized(ConvStack(kernels=(3, 3, 3), dilations=(1, 2, 4), pool="none")),
    "large-kernel CNN, radius 7": sized(ConvStack(kernels=(7, 7, 3), depthwise=True, pool="none")),
    "LSTM": sized(TRUNK.replace(mixer=LSTM(bidirectional=False))),
    "LSTM, both ways": sized(TRUNK.replace(mixer=LSTM(bidirectional=True))),
}
FAMILIES = {
    name: "LSTM, both ways" if "LSTM" in name else "CNN, radius 4" if "CNN" in name else "attention, learned"
    for name in MODELS
}
RATES = {"attention, learned": 3e-3, "CNN, radius 4": 3e-3, "LSTM, both ways": 3e-3}
"""The learning rate of each family, by the member that stands for it."""
MULTISET = 0.192
"""What the commonest of 63 glyphs gives: the most that filled recall yields without places."""


def run(variant, aligned, model, distance, learning_rate, seed):
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
        ),
        recipe=Recipe(
            updates=2400,
            batch_size=32,
            crop_padding=0,
            learning_rate=RATES[FAMILIES[model]] if learning_rate == "chosen" else learning_rate,
            schedule="constant",
            warmup_fraction=1 / 24,
            patience=10,
            history_rows=24,
        ),
        seed=seed,
    )


def at(model, distance, **coordinates):
    return cell(model=model, distance=distance, **coordinates)


ALL_DISTANCES = cell(variant="filled", aligned=True)
FILLED = (*ALL_DISTANCES, *cell(split="test"))
MIDWAY, NEAR_CHANCE = (1 + 1 / 8) / 2, 1 / 8 + 0.03
PLACED = [name for name in MODELS if name.startswith("attention, ") and name != "attention, no position"]
RADII = (("CNN, radius 1", 1, 2), ("CNN, radius 2", 2, 4), ("CNN, radius 4", 4, 7))

REACH = AllOf(
    claim="C1",
    statement="Attention reaches any distance alike; a convolution is at chance beyond its theoretical radius.",
    parts=(
        EquivalenceVerdict(
            claim="C1",
            statement="Attention recalls from 7 cells away as from 1.",
            at=at("attention, learned", 7),
            reference=at("attention, learned", 1),
            margin=0.05,
            given=FILLED,
        ),
        *(
            BoundVerdict(
                claim="C1",
                statement=f"{name} recalls from {inside} away, inside its radius.",
                at=at(name, inside),
                bound=MIDWAY,
                bound_name="midway from chance to all,",
                given=FILLED,
            )
            for name, inside, _ in RADII
        ),
        *(
            BoundVerdict(
                claim="C1",
                statement=f"{name} provably sees no farther than {radius}, trained, at any distance asked.",
                metric="reach",
                at=cell(model=name, layer=4, direction="any", mode="dependency"),
                reduce="max",
                bound=radius + 0.5,
                side="below",
                given=ALL_DISTANCES,
            )
            for name, radius, _ in RADII
        ),
        *(
            BoundVerdict(
                claim="C1",
                statement=f"{name} is near chance at {outside}, outside its radius.",
                at=at(name, outside),
                bound=NEAR_CHANCE,
                bound_name="chance and three points,",
                side="below",
                given=FILLED,
            )
            for name, _, outside in RADII
        ),
        DifferenceVerdict(
            claim="C1",
            statement="At 7 cells attention recalls what a CNN of smaller radius cannot.",
            at=at("attention, learned", 7),
            reference=at("CNN, radius 4", 7),
            bound=0.25,
            given=FILLED,
        ),
    ),
)
PLACES = AllOf(
    claim="C7",
    statement="Attention alone knows no places; every position encoding mends it.",
    parts=(
        BoundVerdict(
            claim="C7",
            statement="Without a position encoding it does not beat the commonest glyph.",
            at=at("attention, no position", 4),
            bound=MULTISET + 0.03,
            bound_name="the commonest glyph and three points,",
            side="below",
            given=FILLED,
        ),
        *(
            DifferenceVerdict(
                claim="C7",
                statement=f"{name} recalls by place.",
                at=at(name, 4),
                reference=at("attention, no position", 4),
                bound=0.25,
                given=FILLED,
            )
            for name in PLACED
        ),
    ),
)
RECURRENCE = AllOf(
    claim="C10",
    statement="A recurrent net passes on step by step and forgets with distance; attention does not.",
    parts=(
        DifferenceVerdict(
            claim="C10",
            statement="An LSTM recalls worse from 7 cells away than from 1.",
            at=at("LSTM, both ways", 7),
            reference=at("LSTM, both ways", 1),
            bound=-0.1,
            side="below",
            given=FILLED,
        ),
        DifferenceVerdict(
            claim="C10",
            statement="At 7 cells attention recalls better than an LSTM.",
            at=at("attention, learned", 7),
            reference=at("LSTM, both ways", 7),
            bound=0.1,
            given=FILLED,
        ),
        BoundVerdict(
            claim="C10",
            statement="An LSTM in raster order knows nothing of what lies to the right.",
            at=at("LSTM", 1, direction="right"),
            along=("distance",),
            bound=NEAR_CHANCE,
            bound_name="chance and three points,",
            side="below",
            given=FILLED,
        ),
    ),
)

experiment = Experiment(
    question=__doc__,
    factors={
        "variant": ("filled",),
        "aligned": (True,),
        "model": tuple(MODELS),
        "distance": range(8),
        "learning_rate": ("chosen",),
        "seed": range(3),
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
            "seed": range(5),
        },
    },
    run=run,
    probes=(Accuracy(), AccuracyByDistance(), ReceptiveField(), Influence(images=8, maps=False), Size()),
    figures=(
        RecallByDistance(),
        StepPosition(),
        ConvergenceSteps(),
        Choice(),
        RecallByDistance(direction=True, given=ALL_DISTANCES),
        Matching(reference="attention, relative"),
    ),
    verdicts=(REACH, PLACES, RECURRENCE),
)
