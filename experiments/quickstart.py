"""How does self-attention compare with convolution on a few thousand digits, in minutes on two cores?

Three networks of equal size learn from nested subsets of 5,000 handwritten digits: a small vision transformer (ViT),
the same network with a depthwise convolution in the place of attention, and a CIFAR ResNet. Attention has learned
positions and mimetic initialisation (Trockman and Kolter 2023, who have sine-cosine positions), the convolution starts
at the same scale. Every run makes the same number of updates on the same number of images, whole and unaltered; subsets
and data order are shared by all models of one seed. What a network should clear: logistic regression on the pixels, the
nearest neighbours, and the ViT with nothing in the place of attention, in which no patch sees another.
"""

from vision_attn import (
    Accuracy,
    DepthwiseConv,
    Experiment,
    Gap,
    LearningCurve,
    Mnist5k,
    Recipe,
    ResNet,
    Run,
    SelfAttention,
    ViT,
    match,
)
from vision_attn.figures import Generalisation, Matching
from vision_attn.models import LogisticRegression, NearestNeighbours, ZeroMixer
from vision_attn.probes import BranchScale, Size

SHAPE = {"image_size": 28, "in_chans": 1, "num_classes": 10}
ATTENTION = ViT(dim=48, depth=2, patch_size=7, mixer=SelfAttention(), init="mimetic")
CONVOLUTION = ATTENTION.replace(mixer=DepthwiseConv(kernel_size=3, branch_sd=0.46), init="default")
BASELINES = {"logistic regression": LogisticRegression(), "nearest neighbours": NearestNeighbours()}
MODELS = {
    "ResNet": match(ResNet(width=12, blocks=1), reference=ATTENTION, **SHAPE),
    "ViT": ATTENTION,
    "ViT, 3x3 convolution": match(CONVOLUTION, reference=ATTENTION, **SHAPE),
    "ViT, zero mixer": ATTENTION.replace(mixer=ZeroMixer(), init="default"),
    **BASELINES,
}
RECIPE = Recipe(updates=800, batch_size=32, learning_rate=3e-3, crop_padding=0)


def run(model: str, train_size: int, seed: int) -> Run:
    return Run(
        model=MODELS[model],
        data=Mnist5k(train_size=train_size, subset_seed=seed),
        recipe=Recipe(updates=0) if model in BASELINES else RECIPE,
        seed=seed,
    )


experiment = Experiment(
    question=__doc__,
    factors={"model": tuple(MODELS), "train_size": (50, 100, 200, 500, 1000, 4000), "seed": range(3)},
    run=run,
    probes=(Accuracy(), Size(), BranchScale()),
    figures=(
        LearningCurve(),
        Gap(reference="ResNet"),
        Generalisation(),
        Matching(reference="ViT", tolerance=0.02),
    ),
)
