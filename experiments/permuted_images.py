"""Is what convolution is ahead by on small data the prior that near pixels belong together?

It is made false: the patches, or all pixels, of all images change places in one fixed way, in training and in tests. A
prior that is false cannot help, so that a lead which rests on it has to go. The rule is that of `priors.py`, where both
networks were still learning from permuted images when the budget was spent; here they go on until 768,000 images seen,
by when every one is limited by its 1,000 training images. Networks, recipes and seeds are those of `data_size.py` and
`priors.py`, so that their runs are shared.

What changes places is patches of 4 x 4 pixels with the pixels in them as they were, or every pixel. Crops and flips are
made before. Attention by itself is blind to the order of patches; this ViT is not, as it has sine-cosine positions,
which are alike for near patches, and starts with weights that make use of them (mimetic initialisation).

Expected: five hours on two cores with bf16 arithmetic, 50 minutes of which are preset "short", the two lower budgets.
"""

from data_size import LADDER, WIDER
from priors import ARRANGEMENTS, made_false, run

from vision_attn import Accuracy, Experiment, Gap
from vision_attn.figures import Budget, ConditionCurve, Matching, MinimumHeadDistance, Summary
from vision_attn.probes import AttentionDistance, Size

TRAIN_SIZE = 1000

experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "arrangement": tuple(ARRANGEMENTS)[:3],
        "seed": range(5),
        "model": ("ViT", WIDER),
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
        ConditionCurve(condition="arrangement", baseline="intact"),
        Gap(reference="ViT"),
        Budget(),
        MinimumHeadDistance(),
        Matching(reference="ViT", tolerance=0.06),
        Summary(parts=(ConditionCurve(condition="arrangement", baseline="intact"), Gap(reference="ViT"), Budget())),
    ),
    verdicts=(made_false(WIDER, TRAIN_SIZE),),
)
