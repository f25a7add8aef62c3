"""Is what attention lacks on small data the prior that near pixels belong together, wherever they are?

Convolution is built on it. Here it is made false, for convolution and attention alike: the patches, or the pixels, of
all images change places in one fixed way. It is given back to attention: by looking at near patches only, and by a
convolutional stem. And it is asked for: objects stand in one quadrant while the networks learn, and in all when they
are tested; images are shifted, zoomed, shuffled in pieces and partly covered. Networks are of equal size, recipes those
of `recipe_search.py` with weak augmentation.
"""

from recipe_search import MODELS, chosen_trial, configured, dataset

from vision_attn import Accuracy, Experiment, Gap, Quantity, Run, cell, claim
from vision_attn.data import Permuted, Quadrants
from vision_attn.figures import (
    ConditionCurve,
    Matching,
    MinimumHeadDistance,
    OcclusionCurve,
    QuadrantAccuracy,
    ShiftSawtooth,
    ShuffleCurve,
    Summary,
    ZoomCurve,
)
from vision_attn.probes import (
    AttentionDistance,
    Occlusion,
    PatchShuffle,
    ShiftConsistency,
    Size,
    SubgroupAccuracy,
    Zoom,
)

ARRANGEMENTS = {
    "intact": lambda images: images,
    "patches permuted": lambda images: Permuted(of=images, patch_size=4),
    "pixels permuted": lambda images: Permuted(of=images, patch_size=1),
    "in one quadrant": lambda images: Quadrants(of=images, train_quadrants=(0,), inset=1),
    "in four quadrants": lambda images: Quadrants(of=images, train_quadrants=(0, 1, 2, 3), inset=1),
}
"""Quadrants lie 14 pixels apart, three patches and a half: whole patches a transformer may move for nothing."""
PROBES = (
    Accuracy(),
    SubgroupAccuracy(attribute="quadrant"),
    SubgroupAccuracy(attribute="seen"),
    Size(),
    AttentionDistance(images=32),
    ShiftConsistency(images=200, random_images=2000, off_grid=4),
    Zoom(images=2000, scales=(0.5, 0.75, 1.0, 1.33, 2.0)),
    PatchShuffle(images=200, repeats=2),
    Occlusion(images=200, repeats=2),
)
"""What a verdict or a mean over corners rests on has 2,000 images: a difference of 5 points then stands out."""
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


accuracy = Quantity("accuracy", given=cell(split="test"))
of_data = Quantity("accuracy", given=cell(split="test"), needs_data_limited="updates")
consistency = Quantity("correct_random_shift_consistency", given=cell(split="test", border="padded"))
RIVALS = ("ResNet", "ViT, 3x3 convolution")


def at(model, arrangement, size):
    return of_data(model=model, arrangement=arrangement, train_size=size)


def lead(model, arrangement, size):
    """What a model is ahead of the ViT."""
    return at(model, arrangement, size) - at("ViT", arrangement, size)


def drop(model):
    """What a model trained in one quadrant loses in the others."""
    seen, unseen = (accuracy(model=model, arrangement="in one quadrant", train_size=8000, seen=one) for one in (1, 0))
    return seen - unseen


MADE_FALSE = claim(
    "C4",
    "Convolution leads by its prior of near pixels: where that is false, more than half of its lead goes.",
    *(
        (at("ViT", "patches permuted", size) - at("ViT", "intact", size)).within(
            0.03, f"Permuted patches leave the ViT as good as it was, with {size:,} images."
        )
        for size in SIZES
    ),
    *(
        lead(rival, "intact", size).above(0, f"With {size:,} intact images {rival} is better than the ViT.")
        for size in SIZES
        for rival in RIVALS
    ),
    *(
        (lead(rival, "intact", size) / 2 - lead(rival, f"{what} permuted", size)).above(
            0, f"Of {size:,} images with permuted {what} less than half of the lead of {rival} is left."
        )
        for size in SIZES
        for rival in RIVALS
        for what in ("patches", "pixels")
    ),
    leave_out="budget-limited",
)
GIVEN_BACK = claim(
    "C4",
    "Given the prior back, attention is better on small data.",
    *(
        lead(model, "intact", size).above(0, f"With {size:,} images the {model} is better than the ViT.")
        for model in ("ViT, to radius 1", "ViT, convolutional stem")
        for size in (500, 2000)
    ),
    leave_out="budget-limited",
)
TRANSLATION = claim(
    "C4",
    "Attention must learn what convolution is given: that an object is the same elsewhere.",
    *(
        (drop("ViT") - drop(rival)).above(
            0, f"Outside the quadrant that it was trained in the ViT loses more than {rival}."
        )
        for rival in RIVALS
    ),
    *(
        (
            consistency(model=rival, arrangement="intact", train_size=8000)
            - consistency(model="ViT", arrangement="intact", train_size=8000)
        ).above(0, f"Of the images that it gets right, {rival} keeps the class under shifts more often.")
        for rival in RIVALS
    ),
)
INTACT = cell(arrangement="intact", train_size=8000)

experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "arrangement": tuple(ARRANGEMENTS),
        "seed": range(5),
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
    probes=PROBES,
    figures=(
        ConditionCurve(condition="arrangement", baseline="intact"),
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
                ConditionCurve(condition="arrangement", baseline="intact"),
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
