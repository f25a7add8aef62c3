"""Does attention do better on small data when it looks at near patches only?

Convolution is built on the prior that near pixels belong together. Here it is given to attention: of the 64 patches of
an image every layer sees the eight around its own and that one, so that four layers still reach four patches far. The
rule is that of `priors.py`, where this network was still learning when the budget was spent; here it goes on until
768,000 images seen, by when its 1,000 training images should be the limit. Networks, recipes and seeds are those of
`data_size.py` and `priors.py`, so that their runs are shared.

Parameters are as many as before; only what a patch may attend to is another. Beside both stands the wider convolutional
twin, which looks as far with a kernel of 3 x 3 but weighs each neighbour by its place, the same for all images.

Expected: two and a half hours on two cores with bf16 arithmetic, half an hour of which is preset "short", the two lower
budgets.
"""

from data_size import LADDER, WIDER
from priors import NEAR, given_back, run

from vision_attn import Accuracy, Experiment, Gap
from vision_attn.figures import Budget, Matching, MinimumHeadDistance, Summary
from vision_attn.probes import AttentionDistance, Size

TRAIN_SIZE = 1000

experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "arrangement": ("intact",),
        "seed": range(5),
        "model": ("ViT", NEAR, WIDER),
        "train_size": (TRAIN_SIZE,),
        "images_seen": LADDER,
    },
    presets={
        "small": {"images_seen": (1280, 5120), "seed": range(2)},
        "short": {"images_seen": LADDER[:2]},
        "full": {"data": ("cifar10",)},
    },
    run=run,
    probes=(Accuracy(), Size(), AttentionDistance(images=32)),
    figures=(
        Budget(),
        Gap(reference="ViT"),
        MinimumHeadDistance(),
        Matching(reference="ViT", tolerance=0.06),
        Summary(parts=(Budget(), Gap(reference="ViT"), MinimumHeadDistance())),
    ),
    verdicts=(given_back(NEAR, TRAIN_SIZE),),
)
