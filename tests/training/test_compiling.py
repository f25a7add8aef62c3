import copy
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import EAGER, TinyAttention, TinyConv, bits, data, rows, start, steps

from vision_attn.training import Recipe
from vision_attn.training.compiling import compiled_cross_entropy, cross_entropy
from vision_attn.training.compute import choose

RECIPE = Recipe(updates=4, batch_size=8, compile="on")


def test_models_built_alike_share_one_compiled_function_and_others_have_their_own():
    assert compiled_cross_entropy(TinyConv()) is compiled_cross_entropy(TinyConv())
    assert compiled_cross_entropy(TinyConv()) is not compiled_cross_entropy(TinyAttention())


@pytest.mark.slow
def test_a_second_run_of_an_architecture_compiles_nothing():
    from torch._dynamo.utils import counters

    choices = dataclasses.replace(EAGER, compile=True)
    counters.clear()
    graphs = []
    for seed in range(3):
        state = start(TinyConv, RECIPE, seed=seed)
        list(steps(state, RECIPE, data(), choices))
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs == [1, 1, 1]


@pytest.mark.slow
def test_more_architectures_than_dynamo_keeps_for_one_function_all_compile():
    from torch._dynamo import config
    from torch._dynamo.utils import counters

    counters.clear()
    images, labels = torch.randn(4, 3, 16, 16), torch.arange(4)
    models = [TinyConv(dropout=0.01 * k).eval() for k in range(4)]
    with config.patch(recompile_limit=2):
        for model in models:
            torch.testing.assert_close(
                compiled_cross_entropy(model)(model, images, labels, 0.1), cross_entropy(model, images, labels, 0.1)
            )
    assert counters["stats"]["unique_graphs"] == len(models)


@pytest.mark.slow
@pytest.mark.parametrize("make_model", [TinyConv, TinyAttention])
def test_compiled_training_is_repeatable_and_agrees_with_eager(make_model):
    def trained(compile: bool):
        state = start(lambda: make_model(dropout=0.0), RECIPE)
        found = rows(steps(state, RECIPE, data(), dataclasses.replace(EAGER, compile=compile)))
        return bits(state.model), [row["train_loss"] for row in found]

    compiled = trained(True)
    assert trained(True) == compiled
    assert trained(False)[1] == pytest.approx(compiled[1], rel=1e-4)


@pytest.mark.slow
def test_the_trial_step_leaves_the_model_and_the_random_numbers_alone_and_is_what_training_uses():
    from torch._dynamo.utils import counters

    images, model = data(), TinyConv()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    recipe = RECIPE.replace(label_smoothing=0.1)
    choices = choose(recipe, model, data=images, device=torch.device("cpu"), threads=1)
    assert choices.compile
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    graphs = counters["stats"]["unique_graphs"]
    list(steps(start(TinyConv, recipe), recipe, images, choices))
    assert counters["stats"]["unique_graphs"] == graphs


SCRIPT = """
import torch
from tiny_training import TinyConv, data
from vision_attn.training import Recipe
from vision_attn.training.compute import choose

choices = choose(Recipe(updates=4, compile="on"), TinyConv(), data=data(), device=torch.device("cpu"), threads=1)
print(choices.compile, choices.compile_reason)
"""


@pytest.mark.slow
def test_without_a_compiler_the_run_is_trained_uncompiled_and_says_why(tmp_path):
    here = Path(__file__).resolve().parent
    surroundings = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1]), *sys.path]),
        "CXX": str(tmp_path / "no-compiler"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=surroundings, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False compilation failed: ")
