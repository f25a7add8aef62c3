"""Do maps of attention change when a network has learned labels that say nothing?

A map that explains what a network has learned must be another one where it has learned something else. Here the same
vision transformer learns 400 images twice: with their labels, and with the labels dealt out among them at random, which
it can only know by heart (the second sanity check of Adebayo et al. 2018, arXiv:1810.03292; the first, weights in
random order, is in saliency.py). Both see the same images in the same order from the same start. On planted glyphs the
label is the one thing that decides: a map of the network that learned it points there, and that of the other need not.
Then the maps of both for the same test images are compared patch by patch.

The comparison means something only where the permuted labels have been learned: more than 95 % of them, which the rule
asks for first. So no patches are missing in training, unlike in saliency.py.

Expected: 15 minutes on two cores.
"""

from saliency import GLYPHS, HALF, IMAGES, NETWORKS, VIT

from vision_attn import Accuracy, Experiment, Mnist5k, Quantity, Recipe, Run, cell, claim
from vision_attn.data import PermutedLabels, PlantedGlyph
from vision_attn.figures import DotPlot, MethodPlot
from vision_attn.probes import MapRanks, Pointing, Size

TRUE, PERMUTED = "true", "permuted"
ATTENTION = ("attention", "rollout", "gradient x attention")
DATA = {GLYPHS: PlantedGlyph(of=Mnist5k()), IMAGES: Mnist5k()}
TRAIN_SIZE = 400
RECIPE = Recipe(updates=1000, batch_size=32, learning_rate=1e-3, crop_padding=0)
"""One permuted run of another length knew all its labels by heart from 750 updates on; nothing else was looked at."""


def run(seed, task, labels):
    data = DATA[task] if labels == TRUE else PermutedLabels(of=DATA[task], label_seed=seed)
    own = data.replace(train_size=TRAIN_SIZE, subset_seed=seed)
    return Run(model=NETWORKS["mnist5k"][VIT], data=own, recipe=RECIPE, seed=seed)


known = Quantity("accuracy", given=cell(labels=PERMUTED, split="train"))
rank = Quantity("map_rank", along=("image", "patch"))
hits = Quantity("hit_share", given=cell(task=GLYPHS))
LEARNED = claim(
    "C11",
    "Maps of attention show what was learned: they are others where the labels were permuted.",
    *(
        known(task=task).above(0.95, f"Of {task} the permuted labels are known by heart. Otherwise not testable here.")
        for task in (GLYPHS, IMAGES)
    ),
    *(
        rank(method=method, task=task, labels=PERMUTED)
        .correlation(rank(method=method, task=task, labels=TRUE))
        .below(HALF, f"{method.capitalize()}, {task}: the maps of both networks correlate by less than {HALF:g}.")
        for method in ATTENTION
        for task in (GLYPHS, IMAGES)
    ),
    *(
        (hits(method=method, labels=PERMUTED) - hits(method=method, labels=TRUE)).below(
            0, f"{method.capitalize()} points at the glyph less often where the glyph is not the label."
        )
        for method in ATTENTION
    ),
)

experiment = Experiment(
    question=__doc__,
    factors={"seed": range(5), "task": (GLYPHS, IMAGES), "labels": (TRUE, PERMUTED)},
    run=run,
    probes=(Accuracy(), Pointing(), MapRanks(methods=ATTENTION, images=12), Size()),
    figures=(
        DotPlot(hue="labels"),
        DotPlot(hue="labels", split="train"),
        MethodPlot(metric="hit_share", hue="labels", given=cell(task=GLYPHS)),
    ),
    verdicts=(LEARNED,),
)
