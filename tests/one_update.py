"""A few updates of any model on a made-up data set, on any device."""

import dataclasses

import torch

from vision_attn.data import Data
from vision_attn.run import built
from vision_attn.training import Recipe
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.compute import choose
from vision_attn.training.loop import train
from vision_attn.training.seeding import Streams

IMAGES = torch.randint(256, (24, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
DATA = Data.from_tensors(IMAGES, torch.arange(24) % 4)
DATA = dataclasses.replace(DATA, flip=True, val=DATA.test)
RECIPE = Recipe(updates=1, batch_size=8, history_rows=1, precision="fp32", compile="off", clip_grad=0.1)
SMALL = {"dim": 16, "depth": 1, "patch_size": 8}


def trained(spec, recipe, device):
    """The last history row, None without updates, and the module."""
    data, streams = DATA.to(device), Streams(0, device)
    with streams.initialising():
        model = built(spec, data)
    model = model.to(device)
    choices = choose(recipe, model, data=data, device=device, threads=1)
    state = TrainState(model, recipe=recipe, streams=streams, num_updates=recipe.num_updates(data.train_size))
    given = {"train": data.train, "val": data.val, "normalise": data.normalise, "flip": data.flip, "recipe": recipe}
    *_, row = train(state, **given, choices=choices, num_classes=data.num_classes)
    state.load_state_dict(state.state_dict())
    return row, model
