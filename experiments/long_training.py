"""Trained longer and longer on 4,000 images, is attention behind, with the best recipes found for each length?

Every model sees 48,000 images, or 192,000, or 768,000: each of the 4,000 about 12, 48 or 190 times. In `data_size.py` a
family has one recipe at all three, that which was best at the second, chosen among trials of which those of the ViT, of
its twin and of the ResNet were without random crops. Here each has at each the one of AdamW that does best after as
much training, on validation images: of all trials at the first, of those with and without crops at the second
(`tuning.py --preset crops`), of the best two of these and of rates beside the better at the third ("longest").
Networks, subsets and seeds are those of `data_size.py`: the ViT, its convolutional twin of as many parameters, a CIFAR
ResNet, and a network in which no token sees another. That one has the ViT's recipe and none of its own, so that the ViT
may lead it by what does not suit it. Training accuracy is measured beside: who is far below 100 % there may be still
learning. The first rung shares its runs with `online.py`, whose rules are about it.

Expected: three hours on two cores with bf16 arithmetic.
"""

from data_size import ALL, LADDER, SMALL, USED, behind
from online import MODELS, run

from vision_attn import Accuracy, Experiment, Gap, Quantity, cell, claim
from vision_attn.figures import Budget, Generalisation, Matching, Summary
from vision_attn.probes import Size

SEARCHED = SMALL[-1]
SHOWN = (Budget(), Gap(reference="ViT", x="images_seen"), Generalisation(x="images_seen"))


def after(images_seen):
    return Quantity("accuracy", given=cell(split="test", images_seen=images_seen))


def worse(images_seen):
    """The claim that attention is worse after so many images seen."""
    return claim(
        f"worse after {images_seen:,} images",
        f"After {images_seen:,} images seen, of {SEARCHED:,}, self-attention is over 2 points worse than convolution.",
        *behind(after(images_seen), sizes=(SEARCHED,)),
    )


def used(images_seen):
    """The claim that attention is worth something after so many images seen."""
    vit, without = (after(images_seen)(model=model, train_size=SEARCHED) for model in ("ViT", "ViT, zero mixer"))
    return claim(
        f"attention used after {images_seen:,} images",
        "The ViT makes use of attention: with nothing in its place it is more than 5 points worse.",
        (vit - without).above(USED),
    )


experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "seed": range(5),
        "model": MODELS,
        "train_size": (SEARCHED,),
        "images_seen": LADDER,
    },
    presets={
        "small": {"seed": range(2), "train_size": (250,), "images_seen": (1280, 5120)},
        "full": {"data": ("cifar10",), "train_size": (SEARCHED, ALL)},
    },
    run=run,
    probes=(Accuracy(), Size()),
    figures=(*SHOWN, Matching(reference="ViT", tolerance=0.06), Summary(parts=SHOWN)),
    verdicts=(*map(worse, LADDER[1:]), *map(used, LADDER[1:])),
)
