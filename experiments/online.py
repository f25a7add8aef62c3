"""After little training, is attention behind because it learns slowly, or because few images tell it less?

Every model sees 48,000 images. Where there are 50,000 of them it sees none twice and cannot learn any by heart: what it
reaches there is its speed of learning (online learning; Nakkiran et al. 2021, arXiv:2010.08127). What it reaches less
where it sees 1,000 or 4,000 images again and again is what their small number costs it.

Each family has the best recipe with AdamW that the search of `tuning.py` has found at this budget, on validation
images: with 1,000 images where there are 1,000, else with 4,000. `data_size.py` has recipes that were best after four
times as much training, which for the ViT are others. Networks, subsets and seeds are those of `data_size.py`: the ViT,
its convolutional twin of as many parameters (with 1,000 images with other positions), a CIFAR ResNet, and, with the
ViT's recipe, a network in which no token sees another.

Expected: half an hour on two cores with bf16 arithmetic.
"""

from data_size import ALL, FAMILY, LADDER, MARGIN, RIVALS, SMALL, made
from tuning import chosen_at, dataset, recipe

from vision_attn import Accuracy, Experiment, Gap, LearningCurve, Quantity, Run, cell, claim
from vision_attn.figures import Generalisation, Matching, Summary
from vision_attn.probes import Size

FEW, MORE = SMALL[1:]
MODELS = ("ViT", *RIVALS, "ViT, zero mixer")
SHOWN = (LearningCurve(), Gap(reference="ViT"), Generalisation())


def run(data, seed, model, train_size, images_seen):
    trial = chosen_at(FAMILY.get(model, model), train_size, images_seen)
    subset = dataset(data, train_size, seed)
    return Run(model=made(model, trial, "small"), data=subset, recipe=recipe(trial, images_seen), seed=seed)


reached = Quantity("accuracy", given=cell(split="test"))


def cost(model):
    """What few images cost a model."""
    return reached(model=model, train_size=ALL) - reached(model=model, train_size=FEW)


SLOWER = claim(
    "speed of learning",
    f"Where it sees no image twice, attention learns more slowly: after {LADDER[0]:,} images it is behind.",
    *(
        (reached(model="ViT", train_size=ALL) - reached(model=rival, train_size=ALL)).below(
            -MARGIN, f"The ViT is more than 2 points behind {rival}."
        )
        for rival in RIVALS
    ),
)
COSTLIER = claim(
    "cost of few images",
    f"That there are {FEW:,} images in the place of {ALL:,} costs attention more than convolution.",
    *(
        (cost("ViT") - cost(rival)).above(MARGIN, f"It costs the ViT over 2 points more than {rival}.")
        for rival in RIVALS
    ),
)

experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "seed": range(5),
        "model": MODELS,
        "train_size": (FEW, MORE, ALL),
        "images_seen": LADDER[:1],
    },
    presets={
        "small": {"seed": range(2), "train_size": (250, 500), "images_seen": (1280,)},
        "full": {"data": ("cifar10",)},
    },
    run=run,
    probes=(Accuracy(), Size()),
    figures=(*SHOWN, Matching(reference="ViT", tolerance=0.06), Summary(parts=SHOWN)),
    verdicts=(SLOWER, COSTLIER),
)
