"""How many images does it take to find one patch that matters among many, with and without the right prior?

One patch of k carries the sign of the class, the others are noise, and which one it is changes from image to image.
Theory says how many images a network needs (Lahoti et al. 2024, arXiv:2403.15707), for patches of d pixels: about k + d
where all patches share their weights, k d where each place has its own, k^2 d where every pixel has. All three are
built here from the trunk: patches that share their weights and are pooled, without any mixing; the same with an
embedding of its own at every place, which is a locally connected network; and one patch as large as the image, which is
a fully connected one. Attention stands among them and is in no theory: its patches share weights too, and it may learn
to look at the one that matters; with learned positions it may also learn where patches are, which is of no use here.
Learning curves for 4, 16 and 64 patches of 16 pixels, and for 16 patches of 4 and 64 pixels with a signal as strong
over all; to the right of the steepest rise a network has found the patch. Two figures read off them how many images 80
% test accuracy takes, against k and against d, with the exponent: theory's are at most 1, 1 and 2 in k, at most 1, 1
and 1 in d, for many patches and a signal that stands clear of the noise. An exponent speaks against one of these where
its interval leaves it out; where a network is at 80 % with the fewest images, or not with the most, a level has only a
bound and is no part of it. Sizes begin with the number of patches or of their pixels; patches of 4 pixels have up to
1,000 images, of 64 pixels up to 4,000, and no attention with positions.

The rule on fully connected networks was written before the first runs. Those on locally connected ones were written
when 250 and more images of the four other networks were known, and no locally connected network was trained.

Expected: 35 minutes on two cores.
"""

from vision_attn import Accuracy, Experiment, LearningCurve, Quantity, Recipe, Run, SelfAttention, ViT, cell, claim
from vision_attn.data import PlantedPatch
from vision_attn.figures import Gap, ImagesNeeded
from vision_attn.models import ZeroMixer
from vision_attn.probes import Size

SHARED, LOCAL, CONNECTED = "shared, pooled", "locally connected", "fully connected"
BLIND, PLACED = "attention", "attention with positions"
TRUNK = ViT(dim=32, depth=1, mlp_ratio=2, patch_size=4, position="none")
MODELS = {
    SHARED: TRUNK.replace(mixer=ZeroMixer()),
    LOCAL: TRUNK.replace(mixer=ZeroMixer(), stem="local"),
    CONNECTED: TRUNK.replace(mixer=ZeroMixer()),
    BLIND: TRUNK.replace(mixer=SelfAttention(num_heads=2)),
    PLACED: TRUNK.replace(mixer=SelfAttention(num_heads=2), position="learned"),
}
USUAL = 16
"""Patches, and pixels of a patch, where the other number varies."""


def run(seed, patches, patch_pixels, model, train_size):
    if train_size < max(patches, patch_pixels):
        return None
    if patch_pixels != USUAL and (patches != USUAL or model == PLACED or train_size > min(256 * patch_pixels, 4000)):
        return None
    side = round(patch_pixels**0.5)
    strength = (USUAL / patch_pixels) ** 0.5
    data = PlantedPatch(
        num_patches=patches, patch_size=side, strength=strength, train_size=train_size, subset_seed=seed
    )
    network = MODELS[model].replace(patch_size=side * round(patches**0.5) if model == CONNECTED else side)
    recipe = Recipe(updates=1000, batch_size=64, crop_padding=0, learning_rate=3e-3, compile="off")
    return Run(model=network, data=data, recipe=recipe, seed=seed)


accuracy = Quantity("accuracy", given=cell(split="test", patch_pixels=USUAL))


def lead(model, other, patches, size):
    """What a network is better than another."""
    at = {"patches": patches, "train_size": size}
    return accuracy(model=model, **at) - accuracy(model=other, **at)


def ahead(model, other, patches, size):
    """A part of a claim: five points better."""
    return lead(model, other, patches, size).above(
        0.05, f"{model}, {patches} patches, {size:,} images: five points better than {other}."
    )


SHARING = claim(
    "sharing",
    "Where one patch matters, wherever it is, patches that share weights need fewer images; attention has that too.",
    *(
        lead(model, CONNECTED, USUAL, size).above(
            0.05, f"{model}, {size:,} images: five points better than fully connected."
        )
        for model in (SHARED, BLIND, PLACED)
        for size in (1000, 4000)
    ),
)
BETWEEN = claim(
    "between",
    "A locally connected network needs more images than one that shares weights, fewer than a fully connected one.",
    *(ahead(SHARED, LOCAL, patches, size) for patches, size in ((16, 250), (64, 1000))),
    *(ahead(LOCAL, CONNECTED, patches, size) for patches, size in ((16, 4000), (64, 16000))),
)
PLACES = claim(
    "places",
    "Attention needs fewer images than a locally connected network, with learned positions too.",
    *(ahead(model, LOCAL, patches, size) for model in (BLIND, PLACED) for patches, size in ((16, 250), (64, 1000))),
)

experiment = Experiment(
    question=__doc__,
    factors={
        "seed": range(5),
        "patches": (4, 16, 64),
        "patch_pixels": (4, 16, 64),
        "model": tuple(MODELS),
        "train_size": (16, 64, 250, 1000, 4000, 16000),
    },
    run=run,
    probes=(Accuracy(), Size()),
    figures=(
        ImagesNeeded(x="patches", given=(("patch_pixels", USUAL),)),
        ImagesNeeded(x="patch_pixels", given=(("patches", USUAL),)),
        LearningCurve(),
        LearningCurve(split="train", given=(("patch_pixels", USUAL),)),
        Gap(reference=CONNECTED, given=(("patch_pixels", USUAL),)),
    ),
    verdicts=(SHARING, BETWEEN, PLACES),
)
