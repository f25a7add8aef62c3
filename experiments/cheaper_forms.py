"""What do cheaper forms of attention lose on photographs?

The second tutorial says that sparse, segmented and hierarchical attention reduce the cost, which `cost.py` times. Here
each takes the place of full attention in the ViT that the search of `tuning.py` found best on validation images, on
photographs of 64 patches. In all layers a patch sees a quarter of what it saw: its own window, every second patch of
every second row, its row and column, its segment of two rows, or all patches by averages of four that are learned. The
hierarchy has full attention, but merges four patches into one after the second of the four layers. Where a form needs
more parameters, all layers are narrower. Recipe and seeds are those of the ViT in `data_size.py`, whose runs with full
attention and with nothing in its place are shared.

The rule asks about 4,000 images after 192,000 images seen, because attention is used there: with nothing in its place
the ViT is 8 points worse (results/data_size). With 1,000 images it is no worse, nor with 4,000 after 768,000 images
seen; what attention adds nothing to its cheaper forms cannot lose. So all are compared after equal training, not where
data are the limit. That attention is used is asked first, though it is known.

Expected: under two hours on two cores with bf16 arithmetic, a fifth of it for 48,000 images seen.
"""

import functools

from data_size import LADDER, MARGIN, made, trial_of
from tuning import SHAPE, dataset, recipe

from vision_attn import Accuracy, Experiment, Quantity, Run, SelfAttention, cell, claim, match
from vision_attn.figures import Budget, DotPlot, Matching
from vision_attn.models import Axial, Dilated, Segmented, SpatialReduction, Window
from vision_attn.probes import Size

FULL, NONE, HIERARCHY = "full attention", "no mixer", "hierarchical"
PATTERNS = {
    "windows of 4 x 4": Window(size=4),
    "dilated, every 2nd": Dilated(stride=2),
    "axial": Axial(),
    "segments of 16": Segmented(length=16),
    "keys reduced 2 x 2": SpatialReduction(ratio=2),
}
FORMS = (*PATTERNS, HIERARCHY)
TRAIN_SIZE = 4000


@functools.cache
def network(model, trial):
    """The ViT with another mixer; as many parameters, within 6 %, in layers that are narrower where it needs more."""
    if model == NONE:
        return made("ViT, zero mixer", trial, "small")
    vit = made("ViT", trial, "small")
    if model == HIERARCHY:
        other = vit.replace(merge_after=(2,))
    elif model in PATTERNS:
        other = vit.replace(mixer=SelfAttention(pattern=PATTERNS[model]))
    else:
        return vit
    return match(other, reference=vit, turn="width", tolerance=0.06, **SHAPE)


def run(data, train_size, seed, model, images_seen):
    trial = trial_of("ViT", train_size)
    images = dataset(data, train_size, seed)
    return Run(model=network(model, trial), data=images, recipe=recipe(trial, images_seen), seed=seed)


accuracy = Quantity("accuracy", given=cell(split="test", train_size=TRAIN_SIZE, images_seen=LADDER[1]))
LOST = claim(
    "C8",
    "Where attention is used on photographs, its cheaper forms lose less than 2 points.",
    (accuracy(model=FULL) - accuracy(model=NONE)).above(
        0.05, "Attention is used: more than five points better than none. Otherwise not testable here."
    ),
    *(
        (accuracy(model=form) - accuracy(model=FULL)).above(-MARGIN, f"{form}: less than two points are lost.")
        for form in FORMS
    ),
)

experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "train_size": (TRAIN_SIZE,),
        "seed": range(5),
        "model": (FULL, NONE, *FORMS),
        "images_seen": LADDER[:2],
    },
    presets={
        "small": {"images_seen": (1280, 5120), "seed": range(2)},
        "full": {"data": ("cifar10",)},
    },
    run=run,
    probes=(Accuracy(), Size()),
    figures=(DotPlot(), DotPlot(reference=FULL), Budget(), Matching(reference=FULL, tolerance=0.06)),
    verdicts=(LOST,),
)
