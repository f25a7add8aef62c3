"""How long runs are expected to last, and how they are cut into tasks."""

import pytest

from vision_attn.executors.sizing import ASSUMED_SECONDS, expected_seconds, tasks


class Folder:
    """A run done in so many seconds of training and of its one probe."""

    def __init__(self, training, probe, state="done"):
        self.training, self.measured, self.state = training, probe, state

    def result(self):
        return {"state": self.state, "measured": {"total_seconds": self.training}}

    def probe(self, file):
        return {"seconds": self.measured}


def spec(model, *, seed=0, subset_seed=0, train_size=100):
    data = {"kind": "Data", "train_size": train_size, "subset_seed": subset_seed}
    return {"model": {"kind": model}, "recipe": {"kind": "Recipe"}, "data": data, "seed": seed}


def expected(runs, folders):
    return expected_seconds(runs, folders, dict.fromkeys(runs, ("probe",)))


def test_runs_that_differ_in_seeds_alone_are_expected_to_last_alike_with_their_probes():
    runs = {
        "a": spec("ViT", seed=0),
        "b": spec("ViT", seed=1, subset_seed=1),
        "c": spec("ViT", seed=2),
        "larger": spec("ViT", train_size=500),
        "other": spec("ResNet"),
    }
    found = expected(runs, {"a": Folder(10, 2), "b": Folder(30, 2), "larger": Folder(100, 8)})
    assert found == {"a": 22, "b": 22, "c": 22, "larger": 108, "other": 32}


def test_a_model_without_a_like_run_takes_the_median_of_its_own_runs():
    runs = {"a": spec("ViT"), "b": spec("ViT", train_size=500), "c": spec("ResNet")}
    assert expected(runs, {"a": Folder(10, 0), "c": Folder(90, 0)})["b"] == 10


def test_without_a_run_done_a_time_is_assumed_and_a_diverged_one_is_none():
    runs = {"a": spec("ViT"), "b": spec("ViT", seed=1)}
    assert set(expected(runs, {}).values()) == {ASSUMED_SECONDS}
    assert set(expected(runs, {"a": Folder(1, 1, state="diverged")}).values()) == {ASSUMED_SECONDS}


@pytest.mark.parametrize(
    ("runs", "seconds", "sizes"),
    [
        (10, 100, [6, 4]),  # little to do: 10 minutes each
        (10_000, 10, [312] * 32 + [16]),  # more: as many tasks as are wanted
        (400, 1000, [3] * 133 + [1]),  # much: an hour each
        (3, 9000, [1, 1, 1]),  # a run longer than any task
    ],
)
def test_tasks_last_ten_to_sixty_minutes_and_longer_ones_the_more_there_is_to_do(runs, seconds, sizes):
    groups = [(str(number),) for number in range(runs)]
    made = tasks(groups, {key: seconds for (key,) in groups}, shortest=600, longest=3600)
    assert [len(task) for task in made] == sizes
    assert [group for task in made for group in task] == groups


def test_a_group_is_never_cut():
    groups = [("a", "b", "c"), ("d",), ("e", "f")]
    made = tasks(groups, dict.fromkeys("abcdef", 250.0), shortest=600, longest=3600)
    assert made == [[("a", "b", "c")], [("d",)], [("e", "f")]]
