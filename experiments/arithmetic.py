"""Does it change what a network learns that it is trained in bfloat16, and compiled?

Runs of the other experiments are in bfloat16 where the processor is fast at it, and compiled by `torch.compile` where
measured times say that it pays; both round otherwise than float32 does. Here the ViT is trained in three ways, with the
recipe that the search of `tuning.py` found best at this budget with 4,000 images: in float32, in bfloat16, and in
bfloat16 compiled. The three share initial weights, subset, order and crops of the images, so that differences are
paired.

Expected: ten minutes on two cores with bf16 arithmetic.
"""

from data_size import MARGIN
from tuning import BUDGETS, SIZES, chosen_at, dataset, network, recipe

from vision_attn import Accuracy, Experiment, Quantity, Run, cell, claim
from vision_attn.figures import DotPlot
from vision_attn.probes import Size

PLAIN, REDUCED, COMPILED = "float32", "bfloat16", "bfloat16, compiled"
WAYS = {
    PLAIN: {"precision": "fp32", "compile": "off"},
    REDUCED: {"precision": "bf16", "compile": "off"},
    COMPILED: {"precision": "bf16", "compile": "on"},
}


def run(data, seed, arithmetic, train_size, images_seen):
    trial = chosen_at("ViT", train_size, images_seen)
    return Run(
        model=network("ViT", trial.position, trial.large_branch),
        data=dataset(data, train_size, seed),
        recipe=recipe(trial, images_seen, **WAYS[arithmetic]),
        seed=seed,
    )


reached = Quantity("accuracy", given=cell(split="test"))

ALIKE = claim(
    "arithmetic",
    "Neither bfloat16 nor compiling changes the accuracy that the ViT reaches, within two points.",
    (reached(arithmetic=REDUCED) - reached(arithmetic=PLAIN)).within(MARGIN, "bfloat16 in the place of float32."),
    (reached(arithmetic=COMPILED) - reached(arithmetic=REDUCED)).within(MARGIN, "Compiled, in bfloat16."),
)

experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "seed": range(5),
        "arithmetic": tuple(WAYS),
        "train_size": SIZES[-1:],
        "images_seen": BUDGETS[:1],
    },
    presets={
        "small": {"seed": range(2), "train_size": (250,), "images_seen": (1280,)},
        "full": {"data": ("cifar10",), "images_seen": BUDGETS[-1:]},
    },
    run=run,
    probes=(Accuracy(), Size()),
    figures=(
        DotPlot(hue="arithmetic"),
        DotPlot(hue="arithmetic", reference=REDUCED),
    ),
    verdicts=(ALIKE,),
)
