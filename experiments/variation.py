"""How much do single results scatter by the training subset, and how much by the seed?

What a seed of the other experiments draws at once is taken apart here: several subsets of CIFAR-10, and on each of them
several initial weights with their own order of the data. Models share subset and seed, so it is seen too what pairing
is worth. Networks and recipes are those of `data_size.py` with weak augmentation.
"""

from recipe_search import chosen_trial, configured, dataset

from vision_attn import Accuracy, Experiment, Run
from vision_attn.figures import Matching, Variation
from vision_attn.probes import Size


def run(data, model, train_size, updates, subset, seed):
    network, recipe = configured(model, chosen_trial(model, "weak", train_size), "weak", updates=updates, batch_size=32)
    own = subset if seed == 0 else 1000 * seed + subset  # the first is the run of data_size.py
    return Run(model=network, data=dataset(data, train_size, subset), recipe=recipe, seed=own)


experiment = Experiment(
    question=__doc__,
    factors={
        "data": ("cifar10-jpeg",),
        "model": ("ResNet", "ViT", "ViT, 3x3 convolution"),
        "train_size": (500,),
        "updates": (1500,),
        "subset": range(6),
        "seed": range(3),
    },
    presets={
        "small": {"updates": (100,), "subset": range(2), "seed": range(2)},
        "full": {"data": ("cifar10",), "train_size": (500, 4000), "updates": (20000,), "subset": range(10)},
    },
    run=run,
    probes=(Accuracy(), Size()),
    figures=(Variation(reference="ResNet"), Matching(reference="ViT")),
)
