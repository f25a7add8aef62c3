"""Is mixing tokens by one learned matrix (Tolstikhin et al. 2021) as good as attention, in the same network?"""

import torch
from torch import nn

from vision_attn import Accuracy, Experiment, LearningCurve, Mnist5k, Recipe, Run, SelfAttention, ViT
from vision_attn.models import as_mixer


class TokenMatrix(nn.Module):
    def __init__(self, tokens, scale):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(tokens, tokens) * scale / tokens**0.5)

    def forward(self, x):  # (B, N, dim)
        return torch.einsum("nm,bmd->bnd", self.weight, x)


@as_mixer
def MatrixMixer(grid, scale: float = 1.0):
    return TokenMatrix(grid[0] * grid[1], scale)


MIXERS = {"attention": SelfAttention(), "matrix": MatrixMixer(), "small matrix": MatrixMixer(scale=0.1)}


def run(mixer, train_size, seed):
    network = ViT(dim=32, depth=2, patch_size=7, mixer=MIXERS[mixer])
    data = Mnist5k(train_size=train_size, subset_seed=seed)
    return Run(model=network, data=data, recipe=Recipe(updates=200, batch_size=32), seed=seed)


experiment = Experiment(
    question=__doc__,
    factors={"mixer": tuple(MIXERS), "train_size": (50, 200, 1000), "seed": range(3)},
    run=run,
    probes=(Accuracy(),),
    figures=(LearningCurve(hue="mixer"),),
)
