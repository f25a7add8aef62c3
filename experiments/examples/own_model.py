"""Does a perceptron of one's own learn digits from as few images as a small vision transformer?"""

from torch import nn

from vision_attn import Accuracy, Experiment, LearningCurve, Mnist5k, Recipe, Run, ViT
from vision_attn.models import as_model
from vision_attn.probes import Size


@as_model
def Perceptron(image_size, in_chans, num_classes, width: int = 64):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(in_chans * image_size**2, width), nn.GELU(), nn.Linear(width, num_classes)
    )


MODELS = {"perceptron": Perceptron(width=32), "ViT": ViT(dim=32, depth=1, patch_size=7)}


def run(model, train_size, seed):
    data = Mnist5k(train_size=train_size, subset_seed=seed)
    return Run(model=MODELS[model], data=data, recipe=Recipe(updates=200, batch_size=32), seed=seed)


experiment = Experiment(
    question=__doc__,
    factors={"model": tuple(MODELS), "train_size": (50, 200, 1000), "seed": range(3)},
    run=run,
    probes=(Accuracy(), Size()),
    figures=(LearningCurve(),),
)
