"""How many labelled images does self-attention need to match convolution?

Networks of equal size learn from nested subsets of CIFAR-10, with the same number of updates on the same number of
images at every subset size: a small vision transformer (ViT), the same with a depthwise convolution in the place of
attention, two steps between them (attention to the nearest patches, and a convolutional stem), a CIFAR ResNet, a
ConvNeXt, and a ResNet of as many FLOPs as the ViT. Models share the subset and the data order of a seed, so differences
are paired. Recipes come from `recipe_search.py`: the same number of trials for every family, judged on validation
images. Augmentation is weak (crops and flips) or, for three of the models, strong (RandAugment, Mixup and CutMix too).
A seed draws subset, initial weights and order of the data anew, so that intervals know of all three; where results
scatter most, with weak augmentation and up to 500 images, there are twice as many seeds. The preset "longer" trains
three of the models four times as long on two of the sizes.
"""

from recipe_search import ARMS, SCALES, chosen_trial, configured, dataset, models

from vision_attn import Accuracy, Experiment, Gap, LearningCurve, Run, cell
from vision_attn.figures import (
    ConditionCurve,
    Crossover,
    DataEquivalence,
    FittedCurves,
    Generalisation,
    Matching,
    OcclusionCurve,
    ShiftSawtooth,
    ShuffleCurve,
    Summary,
)
from vision_attn.probes import AttentionDistance, Occlusion, PatchShuffle, ShiftConsistency, Size
from vision_attn.verdicts import AllOf, DifferenceVerdict

PROBES = (
    Accuracy(),
    Size(),
    AttentionDistance(images=32),
    ShiftConsistency(images=200),
    PatchShuffle(images=200, repeats=2),
    Occlusion(images=200, repeats=2),
)
"""Asked right after training."""
SMALL, MOST = (250, 500, 1000, 2000), 8000
SCATTERED, FEW = 500, 3
"""Up to so many images the small networks have all seeds with weak augmentation, else so few."""


def run(data, scale, augmentation, model, train_size, updates, seed):
    if augmentation == "strong" and model not in ARMS["strong"]:
        return None
    is_scattered = train_size <= SCATTERED and augmentation == "weak"
    if scale == "small" and seed >= FEW and not is_scattered:
        return None
    trial = chosen_trial(model, augmentation, train_size)
    network, recipe = configured(
        model, trial, augmentation, scale, updates=updates, batch_size=32 if scale == "small" else 128
    )
    return Run(model=network, data=dataset(data, train_size, seed), recipe=recipe, seed=seed)


GIVEN = cell(augmentation="weak", split="test")
RIVALS = ("ResNet", "ViT, 3x3 convolution")
WORSE = AllOf(
    claim="C2",
    statement="On small data self-attention is worse than convolution.",
    parts=tuple(
        DifferenceVerdict(
            claim="C2",
            statement=f"With {size:,} images the ViT is worse than {rival}.",
            at=cell(model="ViT", train_size=size),
            reference=cell(model=rival, train_size=size),
            side="below",
            given=GIVEN,
        )
        for rival in RIVALS
        for size in SMALL
    ),
)
CAUGHT_UP = AllOf(
    claim="C3",
    statement=f"With more data, up to {MOST:,} images, attention catches up with convolution.",
    parts=tuple(
        DifferenceVerdict(
            claim="C3",
            statement=f"With {MOST:,} images the ViT is better than {rival}.",
            at=cell(model="ViT", train_size=MOST),
            reference=cell(model=rival, train_size=MOST),
            given=GIVEN,
        )
        for rival in RIVALS
    ),
)
MOST_DATA = cell(augmentation="weak", train_size=MOST)

experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "scale": ("small",),
        "augmentation": tuple(ARMS),
        "seed": range(2 * FEW),
        "model": tuple(models("small")),
        "train_size": (*SMALL, 4000, MOST),
        "updates": (1500,),
    },
    presets={
        "small": {"augmentation": ("weak",), "train_size": (250, 500), "updates": (100,), "seed": range(2)},
        "longer": {
            "augmentation": ("weak",),
            "model": ("ResNet", "ViT", "ViT, 3x3 convolution"),
            "train_size": (1000, MOST),
            "updates": (6000,),
            "seed": range(FEW),
        },
        "full": {
            "data": ("cifar10",),
            "scale": tuple(SCALES),
            "seed": range(5),
            "train_size": (*SMALL, 4000, MOST, 16000, 32000, 50000),
            "updates": (20000,),
        },
    },
    run=run,
    probes=PROBES,
    figures=(
        LearningCurve(),
        Gap(reference="ResNet"),
        FittedCurves(),
        Crossover(reference="ResNet"),
        DataEquivalence(reference="ResNet"),
        Generalisation(),
        ConditionCurve(condition="augmentation", baseline="weak"),
        Matching(reference="ViT"),
        Summary(
            parts=(
                LearningCurve(),
                Gap(reference="ResNet"),
                DataEquivalence(reference="ResNet"),
                ShiftSawtooth(given=MOST_DATA),
                ShuffleCurve(given=MOST_DATA),
                OcclusionCurve(given=MOST_DATA),
            )
        ),
    ),
    verdicts=(WORSE, CAUGHT_UP),
)
