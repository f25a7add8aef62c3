"""An experiment file with kinds of its own, for tests of what is said when it is planned."""

FILE = '''"""Why?"""
from torch import nn
from vision_attn import Accuracy, Experiment, LearningCurve, Mnist5k, Recipe, Run, ViT
from vision_attn.figures import Figure
from vision_attn.models import Model, as_mixer, as_model
from vision_attn.probes import PatchShuffle, Probe, Size
from vision_attn.spec import spec

{own}

def run(train_size):
    return Run(model=MODEL, data=Mnist5k(train_size=train_size), recipe=Recipe(updates=1, batch_size=8), seed=0)

experiment = Experiment(question=__doc__, factors={{"train_size": (50,)}}, run=run, probes=({probes},))
'''
