"""How far do trained networks look, and does small data leave attention less local?

Networks of equal size learn to classify from small subsets; then each of their layers is asked the same three
questions: what could it see (theoretical receptive field), what moves it (influence by distance, by gradients and by
exchanged patches), and, where there is attention, how far away it attends. Untrained networks are asked too.
"""

from vision_attn import (
    LSTM,
    Accuracy,
    AllOf,
    AttentionDistance,
    AttentionDistanceByHead,
    BoundVerdict,
    Cifar10,
    DepthwiseConv,
    DifferenceVerdict,
    ErfMap,
    Experiment,
    ImageFolder,
    Influence,
    InfluenceProfile,
    Intervention,
    LearningCurve,
    Matching,
    MinimumHeadDistance,
    Mnist5k,
    ReceptiveField,
    ReceptiveFieldByLayer,
    Recipe,
    ResNet,
    Run,
    SelfAttention,
    Size,
    ViT,
    cell,
    match,
)

SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 10}
ATTENTION = ViT(dim=64, depth=4, patch_size=4)


def sized(family):
    """The member of the family that has as many parameters as the ViT, within 2 %."""
    return match(family, reference=ATTENTION, **SHAPE)


MODELS = {
    "ViT": ATTENTION,
    "ViT, to radius 1": sized(
        ATTENTION.replace(
            position="none", mixer=SelfAttention(position="relative", pattern="neighbourhood", pattern_size=1)
        )
    ),
    "ViT, 3x3 convolution": sized(ATTENTION.replace(mixer=DepthwiseConv(kernel_size=3))),
    "ViT, LSTM": sized(ATTENTION.replace(mixer=LSTM(bidirectional=True))),
    "ResNet": sized(ResNet(width=12, blocks=2)),
}
DATA = {"cifar10": Cifar10(), "cifar10-jpeg": ImageFolder(name="cifar10-jpeg"), "mnist5k": Mnist5k()}
MOST = 4000


def run(data, model, weights, train_size, updates, seed):
    if weights == "untrained" and train_size != MOST:
        return None  # without training the subset does not matter
    return Run(
        model=MODELS[model],
        data=DATA[data].replace(train_size=train_size, subset_seed=seed),
        recipe=Recipe(updates=updates if weights == "trained" else 0, batch_size=64, learning_rate=1e-3),
        seed=seed,
    )


GIVEN = cell(weights="trained", train_size=MOST)
RAW = cell(weights="untrained", train_size=MOST)


def first_layer(model):
    return cell(model=model, layer=1, own="without")


REACH = AllOf(
    claim="C1",
    statement="Attention has the larger effective receptive field: its influence is flat, that of convolution falls.",
    parts=(
        BoundVerdict(
            claim="C1",
            statement="In the first layer of the untrained ViT influence is as far away as evenly spread influence.",
            metric="influence_distance_relative",
            at=first_layer("ViT"),
            bound=0.95,
            given=RAW,
        ),
        BoundVerdict(
            claim="C1",
            statement="In the first layer of the untrained convolutional twin it is not.",
            metric="influence_distance_relative",
            at=first_layer("ViT, 3x3 convolution"),
            bound=0.5,
            side="below",
            given=RAW,
        ),
        DifferenceVerdict(
            claim="C1",
            statement="Trained, the first layer of the ViT looks farther than that of its convolutional twin.",
            metric="influence_distance_relative",
            at=first_layer("ViT"),
            reference=first_layer("ViT, 3x3 convolution"),
            bound=0.2,
            given=GIVEN,
        ),
        DifferenceVerdict(
            claim="C1",
            statement="Trained, the last layer of the ViT still looks farther than that of its convolutional twin.",
            metric="influence_distance_relative",
            at=cell(model="ViT", layer=4, own="without"),
            reference=cell(model="ViT, 3x3 convolution", layer=4, own="without"),
            bound=0.0,
            given=GIVEN,
        ),
    ),
)
RECURRENCE = AllOf(
    claim="C10",
    statement="What a recurrent net knows of earlier patches fades with every step; what attention knows does not.",
    parts=(
        DifferenceVerdict(
            claim="C10",
            statement="In the first layer of the LSTM a patch 16 steps back counts less than the one before.",
            metric="influence_lag",
            at=cell(model="ViT, LSTM", layer=1, lag=16),
            reference=cell(model="ViT, LSTM", layer=1, lag=1),
            side="below",
            given=GIVEN,
        ),
        BoundVerdict(
            claim="C10",
            statement="It counts less than a tenth of the mean patch.",
            metric="influence_lag",
            at=cell(model="ViT, LSTM", layer=1, lag=16),
            bound=0.1,
            side="below",
            given=GIVEN,
        ),
        BoundVerdict(
            claim="C10",
            statement="In the first layer of the ViT it counts at least half of the mean patch.",
            metric="influence_lag",
            at=cell(model="ViT", layer=1, lag=16),
            bound=0.5,
            given=GIVEN,
        ),
    ),
)
LOCALITY = DifferenceVerdict(
    claim="C4",
    statement="Small data leaves attention less local: the nearest head of the first layer looks farther.",
    metric="attention_distance",
    reduce="min",
    along=("head",),
    at=cell(train_size=500),
    reference=cell(train_size=MOST),
    given=cell(model="ViT", weights="trained", layer=1, images="true"),
)

experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "model": tuple(MODELS),
        "weights": ("untrained", "trained"),
        "train_size": (500, MOST),
        "updates": (800,),
        "seed": range(3),
    },
    presets={
        "digits": {"data": ("mnist5k",)},
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
        AttentionDistanceByHead(given=GIVEN),
        MinimumHeadDistance(given=cell(weights="trained")),
        InfluenceProfile(metric="intervention_relative", given=GIVEN),
        LearningCurve(),
        Matching(reference="ViT"),
    ),
    verdicts=(REACH, RECURRENCE, LOCALITY),
)
