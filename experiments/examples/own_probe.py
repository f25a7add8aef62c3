"""How sure are small networks of their answers, right or wrong?"""

from vision_attn import Accuracy, Experiment, LearningCurve, Mnist5k, Recipe, ResNet, Run, ViT
from vision_attn.probes import Probe
from vision_attn.spec import spec
from vision_attn.training.evaluate import logits


@spec
class Confidence(Probe):
    """The mean of the largest softmax probability on test images, in [0, 1]."""

    temperature: float = 1.0

    def __call__(self, model, data):
        scores = logits(model, data.test.images, normalise=data.normalise) / self.temperature
        yield {"metric": "confidence", "split": "test", "value": scores.softmax(1).amax(1).mean().item()}


MODELS = {"ViT": ViT(dim=32, depth=1, patch_size=7), "ResNet": ResNet(width=8, blocks=1)}


def run(model, train_size, seed):
    data = Mnist5k(train_size=train_size, subset_seed=seed)
    return Run(model=MODELS[model], data=data, recipe=Recipe(updates=200, batch_size=32), seed=seed)


experiment = Experiment(
    question=__doc__,
    factors={"model": tuple(MODELS), "train_size": (50, 200, 1000), "seed": range(3)},
    run=run,
    probes=(Accuracy(), Confidence()),
    figures=(LearningCurve(), LearningCurve(metric="confidence")),
)
