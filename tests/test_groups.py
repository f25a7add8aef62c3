"""Which runs of a plan are trained together."""

import pytest

from vision_attn import Accuracy, Experiment, Recipe, Run, ViT
from vision_attn.data import Mnist5k
from vision_attn.experiment import plan
from vision_attn.models import DepthwiseConv
from vision_attn.sweep import groups

ATTENTION = ViT(dim=16, depth=1)
MODELS = {"attention": ATTENTION, "convolution": ATTENTION.replace(mixer=DepthwiseConv(kernel_size=3))}


def grouped(recipe: Recipe, *, at_most: int, sizes=(50, 100), seeds=range(5), left=lambda keys: keys):
    """The models, sizes and seeds of every group."""

    def run(model, train_size, seed):
        data = Mnist5k(train_size=train_size, subset_seed=seed)
        return Run(model=MODELS[model], data=data, recipe=recipe, seed=seed)

    factors = {"seed": seeds, "model": tuple(MODELS), "train_size": sizes}
    made = plan(Experiment(question="Which?", factors=factors, run=run, probes=(Accuracy(),)), name="question")
    cells = {cell.run: (cell.factors["model"], cell.factors["train_size"], cell.factors["seed"]) for cell in made.cells}
    return [[cells[key] for key in group] for group in groups(made, left(list(made.runs)), at_most=at_most)]


def test_runs_of_one_model_go_together_over_seeds_and_sizes():
    found = grouped(Recipe(updates=5), at_most=16)
    assert [len(group) for group in found] == [10, 10]
    assert all(len({model for model, _, _ in group}) == 1 for group in found)


def test_where_larger_subsets_get_more_updates_each_size_goes_alone():
    found = grouped(Recipe(epochs=2.0), at_most=16)
    assert [len(group) for group in found] == [5] * 4
    assert all(len({size for _, size, _ in group}) == 1 for group in found)


@pytest.mark.parametrize(("at_most", "sizes"), [(16, [10, 10]), (4, [4, 4, 2] * 2), (6, [5, 5] * 2), (1, [1] * 20)])
def test_groups_are_as_even_as_they_can_be(at_most, sizes):
    assert [len(group) for group in grouped(Recipe(updates=5), at_most=at_most)] == sizes


def test_a_continued_sweep_makes_the_same_groups_without_what_is_done():
    whole = grouped(Recipe(updates=5), at_most=6)
    rest = grouped(Recipe(updates=5), at_most=6, left=lambda keys: keys[3:])
    assert [set(group) <= set(before) for group, before in zip(rest, whole, strict=True)] == [True] * 4
    assert sum(map(len, rest)) == 17
