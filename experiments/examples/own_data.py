"""Do small networks learn which of two lines is longer?"""

import numpy as np

from vision_attn import Accuracy, Experiment, LearningCurve, Recipe, Run, ViT
from vision_attn.data import Arrays, Dataset, select
from vision_attn.models import ConvStack
from vision_attn.spec import spec


@spec
class Lines(Dataset):
    contrast: int = 255
    label = "lines"

    def load(self):
        train, test = (self.drawn(count, np.random.default_rng(seed)) for seed, count in enumerate((2000, 500)))
        arrays = Arrays(*train, *test, classes=("upper", "lower"))
        return select(self, arrays, fingerprint=arrays.fingerprint(), flip=True)

    def drawn(self, count, random):
        images, labels = np.zeros((count, 1, 16, 16), np.uint8), np.arange(count) % 2
        for image, label in zip(images[:, 0], labels, strict=True):
            longer, shorter = random.integers(9, 13), random.integers(4, 8)
            for row, length in ((4, shorter if label else longer), (11, longer if label else shorter)):
                image[row, 2 : 2 + length] = self.contrast
        return images, labels


MODELS = {"ViT": ViT(dim=32, depth=1, patch_size=4), "CNN": ConvStack(width=16, kernels=(3, 3))}


def run(model, train_size, seed):
    data = Lines(train_size=train_size, subset_seed=seed)
    return Run(model=MODELS[model], data=data, recipe=Recipe(updates=100, batch_size=32), seed=seed)


factors = {"model": tuple(MODELS), "train_size": (50, 200), "seed": range(3)}
experiment = Experiment(question=__doc__, factors=factors, run=run, probes=(Accuracy(),), figures=(LearningCurve(),))
