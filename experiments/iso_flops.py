"""With as much arithmetic, is a wider network that sees fewer images better than a narrow one that sees more?

The ladder of `data_size.py` gives all models as many images, whatever one of them costs. Here they get as many
floating-point operations (iso-FLOP profiles: Hoffmann et al. 2022, arXiv:2203.15556, approach 2): of each of three
budgets, those of the ViT there at its three budgets of images, networks of three widths see as many images as it pays
for. Both are of one depth and width: the ViT, and its twin with a 3 x 3 depthwise convolution in the place of
attention, which costs less and so sees 1.6 to 1.9 times as many. A training step is counted as three forward passes.

On 8,000 images. Recipes are those that the search of `tuning.py` found best with 4,000 images, at a width of 64, after
as many images seen as the ViT of that width sees: every budget has its own, no width has. With the largest budget the
narrowest networks see each image hundreds of times.

Expected: four hours on two cores with bf16 arithmetic, an hour of it for the two smaller budgets.
"""

import functools

from data_size import LADDER, MOST, TWIN, made
from tuning import SCALES, SHAPE, chosen_at, dataset, recipe

from vision_attn import Accuracy, Experiment, Gap, LearningCurve, Run
from vision_attn.figures import Matching
from vision_attn.models import count_flops
from vision_attn.probes import BranchScale, Size

REFERENCE = SCALES["small"]
WIDTH = REFERENCE.dim
BUDGETS = {f"{3 * images * count_flops(REFERENCE, **SHAPE) / 1e12:.3g} TFLOPs": images for images in LADDER}
"""What the ViT of the middle width costs in training, and the images that it sees for it."""


def network(model, dim, images_seen):
    return made(model, chosen_at(model, MOST, images_seen), "small").replace(dim=dim)


@functools.cache
def paid_for(model, dim, images_seen):
    """So many images cost the model what `images_seen` cost the ViT of the middle width."""
    own = count_flops(network(model, dim, images_seen), **SHAPE)
    return images_seen * count_flops(REFERENCE, **SHAPE) / own


def run(data, seed, model, dim, compute, train_size):
    images_seen = BUDGETS[compute]
    return Run(
        model=network(model, dim, images_seen),
        data=dataset(data, train_size, seed),
        recipe=recipe(chosen_at(model, MOST, images_seen), paid_for(model, dim, images_seen)),
        seed=seed,
    )


experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "seed": range(3),
        "model": ("ViT", TWIN),
        "compute": tuple(BUDGETS),
        "dim": (WIDTH // 2, WIDTH, 2 * WIDTH),
        "train_size": (MOST,),
    },
    presets={
        "small": {"seed": range(2), "compute": tuple(BUDGETS)[:1], "train_size": (250,)},
        "short": {"compute": tuple(BUDGETS)[:2]},
        "full": {"data": ("cifar10",)},
    },
    run=run,
    probes=(Accuracy(), Size(), BranchScale()),
    figures=(
        LearningCurve(x="dim", hue="compute"),
        LearningCurve(x="dim"),
        Gap(reference="ViT", x="dim"),
        Matching(reference="ViT"),
    ),
)
