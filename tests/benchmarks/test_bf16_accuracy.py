"""bf16 against fp32: the same runs, paired by seed, on real digits. `pytest -m slow -s tests/benchmarks`."""

import math
import statistics

import pytest
import torch
from scipy import stats

from vision_attn.data import Mnist5k
from vision_attn.models import ResNet, SelfAttention, ViT
from vision_attn.probes import Accuracy
from vision_attn.training import Recipe, train
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.compute import choose
from vision_attn.training.seeding import Streams

SEEDS = range(5)
UPDATES = {"ViT": 1000, "ResNet": 200}
BOUND = 0.01
MODELS = {
    "ViT": ViT(dim=48, depth=3, patch_size=7, mixer=SelfAttention(num_heads=3)),
    "ResNet": ResNet(width=8, blocks=1),
}
CPU = torch.device("cpu")


def measured(name: str, precision: str, seed: int) -> float:
    data = Mnist5k(train_size=1000, subset_seed=seed).load()
    recipe = Recipe(
        updates=UPDATES[name], batch_size=64, learning_rate=3e-3, crop_padding=2, precision=precision, compile="off"
    )
    streams = Streams(seed)
    with streams.initialising():
        module = MODELS[name].build(image_size=data.image_size, in_chans=data.in_chans, num_classes=data.num_classes)
    choices = choose(recipe, module, data=data, device=CPU, threads=torch.get_num_threads())
    state = TrainState(module, recipe=recipe, streams=streams, num_updates=UPDATES[name])
    for _ in train(
        state, train=data.train, val=None, normalise=data.normalise, flip=data.flip, recipe=recipe, choices=choices
    ):
        pass
    with choices.autocast():
        rows = list(Accuracy()(module.eval(), data))
    return next(row["value"] for row in rows if row["metric"] == "accuracy" and row["split"] == "test")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", list(MODELS))
def test_bf16_is_as_accurate_as_fp32_within_the_noise_of_seeds(name):
    fp32, bf16 = ([measured(name, precision, seed) for seed in SEEDS] for precision in ("fp32", "bf16"))
    differences = [b - a for a, b in zip(fp32, bf16, strict=True)]
    mean, spread = statistics.mean(differences), statistics.stdev(differences)
    half = stats.t.ppf(0.975, len(differences) - 1) * spread / math.sqrt(len(differences))
    print(f"\n{name}, {len(differences)} seeds: fp32 {statistics.mean(fp32):.4f} (sd {statistics.stdev(fp32):.4f}),")
    print(
        f"bf16 {statistics.mean(bf16):.4f}, difference {mean:+.4f}, 95 % from {mean - half:+.4f} to {mean + half:+.4f}"
    )
    assert statistics.mean(fp32) > 0.6, "the runs must have learnt something for their noise to mean anything"
    assert abs(mean) <= half or abs(mean) < BOUND
