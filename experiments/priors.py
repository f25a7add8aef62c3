"""Is what attention lacks on small data the prior that near pixels belong together, wherever they are?

Convolution is built on it. Here it is made false, for convolution and attention alike: the patches, or the pixels, of
all images change places in one fixed way. It is given back to attention: by looking at near patches only, and by a
convolutional stem. And it is asked for: objects stand in one quadrant while the networks learn, and in all when they
are tested; images are shifted, zoomed, shuffled in pieces and partly covered. Networks are of equal size, recipes those
of `recipe_search.py` with weak augmentation.
"""

from data_size import PROBES
from recipe_search import MODELS, chosen_trial, configured, dataset

from vision_attn import (
    AccuracyBy,
    AllOf,
    ArmCurve,
    DifferenceVerdict,
    EquivalenceVerdict,
    Experiment,
    Gap,
    Matching,
    MinimumHeadDistance,
    OcclusionCurve,
    Permuted,
    QuadrantAccuracy,
    Quadrants,
    Run,
    ShiftSawtooth,
    ShuffleCurve,
    Summary,
    ZoomCurve,
    cell,
)

ARRANGEMENTS = {
    "intact": lambda images: images,
    "patches permuted": lambda images: Permuted(of=images, patch_size=4),
    "pixels permuted": lambda images: Permuted(of=images, patch_size=1),
    "in one quadrant": lambda images: Quadrants(of=images, train_quadrants=(0,)),
    "in four quadrants": lambda images: Quadrants(of=images, train_quadrants=(0, 1, 2, 3)),
}
PLAIN = ("ResNet", "ViT", "ViT, 3x3 convolution")
SIZES = (500, 2000, 8000)


def run(data, arrangement, model, train_size, updates, seed):
    if arrangement != "intact" and model not in PLAIN:
        return None
    if "quadrant" in arrangement and train_size != SIZES[-1]:
        return None
    network, recipe = configured(model, chosen_trial(model, "weak", train_size), "weak", updates=updates, batch_size=32)
    whole = dataset(data, None, 0)
    arranged = ARRANGEMENTS[arrangement](whole)
    return Run(model=network, data=arranged.replace(train_size=train_size, subset_seed=seed), recipe=recipe, seed=seed)


def at(model, arrangement="intact", train_size=8000):
    return cell(model=model, arrangement=arrangement, train_size=train_size)


ACCURACY = cell(split="test")
MADE_FALSE = AllOf(
    claim="C4",
    statement="Convolution leads by its prior of near pixels: where that is false, its lead is gone.",
    parts=(
        *(
            EquivalenceVerdict(
                claim="C4",
                statement=f"Permuted patches leave the ViT as good as it was, with {size:,} images.",
                at=at("ViT", "patches permuted", size),
                reference=at("ViT", "intact", size),
                margin=0.03,
                given=ACCURACY,
            )
            for size in SIZES
        ),
        *(
            DifferenceVerdict(
                claim="C4",
                statement=f"With 8,000 intact images {rival} is better than the ViT.",
                at=at(rival),
                reference=at("ViT"),
                given=ACCURACY,
            )
            for rival in ("ResNet", "ViT, 3x3 convolution")
        ),
        *(
            DifferenceVerdict(
                claim="C4",
                statement=f"With 8,000 images of permuted {what} {rival} is no more than a point ahead of the ViT.",
                at=at(rival, f"{what} permuted"),
                reference=at("ViT", f"{what} permuted"),
                bound=0.01,
                side="below",
                given=ACCURACY,
            )
            for what in ("patches", "pixels")
            for rival in ("ResNet", "ViT, 3x3 convolution")
        ),
    ),
)
GIVEN_BACK = AllOf(
    claim="C4",
    statement="Given the prior back, attention is better on small data.",
    parts=tuple(
        DifferenceVerdict(
            claim="C4",
            statement=f"With {size:,} images the {model} is better than the ViT.",
            at=at(model, train_size=size),
            reference=at("ViT", train_size=size),
            given=ACCURACY,
        )
        for model in ("ViT, to radius 1", "ViT, convolutional stem")
        for size in (500, 2000)
    ),
)
TRANSLATION = AllOf(
    claim="C4",
    statement="Attention must learn what convolution is given: that an object is the same elsewhere.",
    parts=(
        *(
            DifferenceVerdict(
                claim="C4",
                statement=f"Trained in one quadrant, {rival} is better than the ViT in the others.",
                at=at(rival, "in one quadrant"),
                reference=at("ViT", "in one quadrant"),
                given=cell(split="test", seen=0),
            )
            for rival in ("ResNet", "ViT, 3x3 convolution")
        ),
        *(
            DifferenceVerdict(
                claim="C4",
                statement=f"Of the images that it gets right, {rival} keeps the class under shifts more often.",
                metric="correct_random_shift_consistency",
                at=at(rival),
                reference=at("ViT"),
                given=cell(split="test", border="padded"),
            )
            for rival in ("ResNet", "ViT, 3x3 convolution")
        ),
    ),
)
INTACT = cell(arrangement="intact", train_size=8000)

experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "arrangement": tuple(ARRANGEMENTS),
        "seed": range(3),
        "model": MODELS,
        "train_size": SIZES,
        "updates": (1500,),
    },
    presets={
        "small": {
            "arrangement": ("intact", "pixels permuted"),
            "train_size": (500,),
            "updates": (100,),
            "seed": range(2),
        },
        "full": {"data": ("cifar10",), "updates": (20000,), "seed": range(5)},
    },
    run=run,
    probes=(*PROBES, AccuracyBy(fact="quadrant"), AccuracyBy(fact="seen")),
    figures=(
        ArmCurve(arm="arrangement", baseline="intact"),
        Gap(reference="ViT"),
        QuadrantAccuracy(given=cell(train_size=8000)),
        ShiftSawtooth(given=INTACT),
        ShiftSawtooth(metric="correct_consistency", border="padded", given=INTACT),
        ZoomCurve(given=INTACT),
        ZoomCurve(place="corner", given=INTACT),
        ShuffleCurve(given=INTACT),
        OcclusionCurve(given=INTACT),
        OcclusionCurve(fill="other", given=INTACT),
        MinimumHeadDistance(given=cell(arrangement="intact")),
        Matching(reference="ViT"),
        Summary(
            parts=(
                ArmCurve(arm="arrangement", baseline="intact"),
                QuadrantAccuracy(given=cell(train_size=8000)),
                ShiftSawtooth(given=INTACT),
                ZoomCurve(given=INTACT),
                ShuffleCurve(given=INTACT),
                OcclusionCurve(given=INTACT),
            )
        ),
    ),
    verdicts=(MADE_FALSE, GIVEN_BACK, TRANSLATION),
)
