"""Trained for long on 4,000 images, is attention still behind, with the best recipes that were found?

Every model sees 768,000 images, each of the 4,000 about 190 times. In `data_size.py` all families have the recipe there
that was best after a quarter of that, chosen among trials of which those of the ViT, of its twin and of the ResNet were
without random crops. Here each has the one that does best after as much training as here, of the two that did best
after a quarter of that once crops were tried (`tuning.py --preset crops`, then `longest`), on validation images.
Networks, subsets and seeds are those of `data_size.py`: the ViT, its convolutional twin of as many parameters, a CIFAR
ResNet, and a network in which no token sees another. That one has the ViT's recipe and none of its own, so that the ViT
may lead it by what does not suit it. Training accuracy is measured beside: who is far below 100 % there may be still
learning.

Expected: two and a half hours on two cores with bf16 arithmetic.
"""

from data_size import ALL, LADDER, MARGIN, RIVALS, SMALL, USED
from online import FIGURES, MODELS, reached, run

from vision_attn import Accuracy, Experiment, claim
from vision_attn.probes import Size

SEARCHED = SMALL[-1]

WORSE = claim(
    "worse after long training",
    f"Trained for long on {SEARCHED:,} images, self-attention is worse than convolution by more than 2 points.",
    *(
        (reached(model="ViT", train_size=SEARCHED) - reached(model=rival, train_size=SEARCHED)).below(
            -MARGIN, f"The ViT is more than 2 points worse than {rival}."
        )
        for rival in RIVALS
    ),
)
IN_USE = claim(
    "attention used after long training",
    "The ViT makes use of attention: with nothing in its place it is more than 5 points worse.",
    (reached(model="ViT", train_size=SEARCHED) - reached(model="ViT, zero mixer", train_size=SEARCHED)).above(USED),
)

experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "seed": range(5),
        "model": MODELS,
        "train_size": (SEARCHED,),
        "images_seen": LADDER[-1:],
    },
    presets={
        "small": {"seed": range(2), "train_size": (250,), "images_seen": (1280,)},
        "full": {"data": ("cifar10",), "train_size": (SEARCHED, ALL)},
    },
    run=run,
    probes=(Accuracy(), Size()),
    figures=FIGURES,
    verdicts=(WORSE, IN_USE),
)
