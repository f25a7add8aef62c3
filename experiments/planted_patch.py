"""How many images does it take to find one patch that matters among many, with and without the right prior?

One patch of k carries the sign of the class, the others are noise, and which one it is changes from image to image.
Theory says how many images a network needs (Lahoti et al. 2024, arXiv:2403.15707): about k + d where all patches share
their weights, k^2 d where every pixel has its own, for patches of d pixels. Both are built here from the trunk: patches
that share their weights and are pooled, without any mixing, and one patch as large as the image, which is a fully
connected network. Attention stands between them and is in no theory: its patches share weights too, and it may learn to
look at the one that matters; with learned positions it may also learn where patches are, which is of no use here.
Learning curves for 4, 16 and 64 patches of 16 pixels; to the right of the steepest rise a network has found the patch.
A locally connected network, between the two in theory, is not among them, and no exponents are fitted: with 250 images,
the fewest here, most networks that share weights are past the rise already.

Expected: 20 minutes on two cores.
"""

from vision_attn import Accuracy, Experiment, LearningCurve, Quantity, Recipe, Run, SelfAttention, ViT, cell, claim
from vision_attn.data import PlantedPatch
from vision_attn.figures import Gap
from vision_attn.models import ZeroMixer
from vision_attn.probes import Size

SHARED, CONNECTED, BLIND, PLACED = "shared, pooled", "fully connected", "attention", "attention with positions"
TRUNK = ViT(dim=32, depth=1, mlp_ratio=2, patch_size=4, position="none")
MODELS = {
    SHARED: TRUNK.replace(mixer=ZeroMixer()),
    CONNECTED: TRUNK.replace(mixer=ZeroMixer()),
    BLIND: TRUNK.replace(mixer=SelfAttention(num_heads=2)),
    PLACED: TRUNK.replace(mixer=SelfAttention(num_heads=2), position="learned"),
}


def run(seed, patches, model, train_size):
    data = PlantedPatch(num_patches=patches, train_size=train_size, subset_seed=seed)
    network = MODELS[model]
    if model == CONNECTED:
        network = network.replace(patch_size=4 * round(patches**0.5))
    recipe = Recipe(updates=1000, batch_size=64, crop_padding=0, learning_rate=3e-3, compile="off")
    return Run(model=network, data=data, recipe=recipe, seed=seed)


accuracy = Quantity("accuracy", given=cell(split="test", patches=16))


def lead(model, size):
    """What a network is better than a fully connected one."""
    return accuracy(model=model, train_size=size) - accuracy(model=CONNECTED, train_size=size)


SHARING = claim(
    "sharing",
    "Where one patch matters, wherever it is, patches that share weights need fewer images; attention has that too.",
    *(
        lead(model, size).above(0.05, f"{model}, {size:,} images: five points better than fully connected.")
        for model in (SHARED, BLIND, PLACED)
        for size in (1000, 4000)
    ),
)

experiment = Experiment(
    question=__doc__,
    factors={
        "seed": range(5),
        "patches": (4, 16, 64),
        "model": tuple(MODELS),
        "train_size": (250, 1000, 4000, 16000),
    },
    run=run,
    probes=(Accuracy(), Size()),
    figures=(LearningCurve(), LearningCurve(split="train"), Gap(reference=CONNECTED)),
    verdicts=(SHARING,),
)
