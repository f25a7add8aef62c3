"""How much do single results scatter by the training subset, and how much by the seed?

What a seed of the other experiments draws at once is taken apart here: several subsets of CIFAR-10, and on each of them
several initial weights with their own order of the data. Models share subset and seed, so it is seen too what pairing
is worth. Networks, recipes and the budget in the middle are those of `data_size.py`, which shares its runs of the first
seed.
"""

from data_size import LADDER, WIDER, made, trial_of
from tuning import dataset, recipe

from vision_attn import Accuracy, Experiment, Run
from vision_attn.figures import Matching, Variation
from vision_attn.probes import Size


def run(data, model, train_size, images_seen, subset, seed):
    trial = trial_of(model, train_size)
    return Run(
        model=made(model, trial, "small"),
        data=dataset(data, train_size, subset),
        recipe=recipe(trial, images_seen),
        seed=subset if seed == 0 else 1000 * seed + subset,  # the first is the run of data_size.py
    )


experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "model": ("ViT", WIDER, "ResNet"),
        "train_size": (1000,),
        "images_seen": LADDER[1:2],
        "subset": range(6),
        "seed": range(3),
    },
    presets={
        "small": {"images_seen": (5120,), "subset": range(2), "seed": range(2)},
        "full": {"data": ("cifar10",), "train_size": (1000, 4000), "images_seen": LADDER[-1:], "subset": range(10)},
    },
    run=run,
    probes=(Accuracy(), Size()),
    figures=(Variation(reference="ResNet"), Matching(reference="ViT", tolerance=0.06)),
)
