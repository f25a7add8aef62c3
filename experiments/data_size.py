"""How many labelled images does self-attention need to match convolution?

Networks of equal size learn from nested subsets of CIFAR-10, with the same number of updates on the same number of
images at every subset size: a small vision transformer, the same network with a depthwise convolution in the place of
attention, and a CIFAR ResNet. Models share the subset and the data order of a seed, so differences are paired.
"""

from vision_attn import (
    Accuracy,
    Cifar10,
    DepthwiseConv,
    Experiment,
    Gap,
    Generalisation,
    ImageFolder,
    LearningCurve,
    Matching,
    Recipe,
    ResNet,
    Run,
    SelfAttention,
    Size,
    ViT,
    match,
)

SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 10}
ATTENTION = ViT(dim=96, depth=6, patch_size=4, mixer=SelfAttention())
MODELS = {
    "ResNet": match(ResNet(width=16, blocks=3), reference=ATTENTION, **SHAPE),
    "ViT": ATTENTION,
    "ViT, 7x7 convolution": match(ATTENTION.replace(mixer=DepthwiseConv(kernel_size=7)), reference=ATTENTION, **SHAPE),
}


def dataset(name: str, train_size: int, subset_seed: int) -> Cifar10 | ImageFolder:
    """CIFAR-10 by its own name, or an image folder such as cifar10-jpeg found through --data-dir."""
    if name == "cifar10":
        return Cifar10(train_size=train_size, subset_seed=subset_seed)
    return ImageFolder(name=name, train_size=train_size, subset_seed=subset_seed)


def run(data: str, model: str, train_size: int, updates: int, seed: int) -> Run:
    return Run(
        model=MODELS[model],
        data=dataset(data, train_size, seed),
        recipe=Recipe(updates=updates, batch_size=128, learning_rate=1e-3),
        seed=seed,
    )


experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10",),
        "model": tuple(MODELS),
        "train_size": (250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 50000),
        "updates": (20000,),
        "seed": range(5),
    },
    presets={
        "small": {"data": ("cifar10-jpeg",), "train_size": (250, 500, 1000, 2000), "updates": (200,), "seed": range(2)},
    },
    run=run,
    probes=(Accuracy(), Size()),
    figures=(LearningCurve(), Gap(reference="ResNet"), Generalisation(), Matching(reference="ViT")),
)
