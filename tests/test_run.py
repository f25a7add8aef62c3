"""One run, executed in this process: what is trained, measured, kept and refused."""

import errno
import hashlib
import os
import re
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from vision_attn import Accuracy, Mnist5k, Recipe, Run, ViT, group, worker
from vision_attn.data import Data, Dataset
from vision_attn.execution import classified, execute
from vision_attn.models import Model
from vision_attn.probes import Size
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import InputError, digest, spec, to_json
from vision_attn.store import (
    CHECKPOINT,
    RESULT,
    WEIGHTS,
    Store,
    attempts,
    files,
    lease,
    probe_file,
    read_json,
    verify,
    write_json,
)

CPU = torch.device("cpu")
RUN = Run(
    model=ViT(dim=16, depth=1, patch_size=7),
    data=Mnist5k(train_size=50),
    recipe=Recipe(updates=40, batch_size=8, compile="off"),
    seed=0,
)


@spec
class Constant(Probe):
    """Yields one number, whatever the model."""

    number: int = 1

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        yield {"metric": "constant", "value": self.number / (self.number - 13)}


@spec
class NotANumber(Probe):
    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        yield {"metric": "nonsense", "value": float("nan")}


@spec
class TooLarge(Probe):
    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        raise MemoryError


@spec
class Nested(Probe):
    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        yield {"metric": "nonsense", "value": [1.0]}


class Leave(BaseException):
    """What own code raises to end the process."""


@spec
class Ending(Probe):
    """Raises where it is asked whether it fits, or where it measures."""

    at: str
    error: str

    def skip(self, model: Model, data: Dataset) -> str | None:
        return self.end("skip")

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        yield {"metric": "ending", "value": 1.0}
        self.end("call")

    def end(self, place: str) -> None:
        if self.at == place:
            raise {one.__name__: one for one in (KeyboardInterrupt, GeneratorExit, SystemExit, Leave)}[self.error]


@pytest.fixture
def folder(tmp_path):
    return Store(tmp_path).open(digest(RUN), hint=RUN.hint, run=to_json(RUN), index={})


def go(folder, *probes, run=RUN, **options):
    return execute(folder, run, probes or (Accuracy(),), device=CPU, threads=1, **options)


def weights(folder):
    return hashlib.sha256((folder.path / WEIGHTS).read_bytes()).hexdigest()


def stop_after(calls):
    counter = iter(range(10**6))
    return lambda: next(counter) >= calls


def test_a_run_leaves_weights_history_result_and_one_file_a_probe(folder):
    assert go(folder, Accuracy(), Size()).name == "done"
    result = folder.result()
    assert result["updates"] == 40
    assert result["images_seen"] == 320
    assert result["files"][WEIGHTS] == weights(folder)
    assert {path.name for path in folder.path.glob("probes/*.json")} == {
        probe_file(to_json(Accuracy())),
        probe_file(to_json(Size())),
    }
    assert folder.holder() is None
    assert not (folder.path / CHECKPOINT).exists()


def test_a_probe_added_later_measures_and_does_not_train(folder):
    go(folder)
    before = (folder.path / "result.json").read_bytes()
    assert go(folder, Accuracy(), Constant()).name == "done"
    assert (folder.path / "result.json").read_bytes() == before
    assert folder.probe(probe_file(to_json(Constant())))["records"][0]["metric"] == "constant"


def test_asked_again_there_is_nothing_to_do_and_no_attempt(folder):
    go(folder)
    assert go(folder).name == "done"
    assert len(folder.attempts()) == 1


def test_a_run_without_its_weights_is_trained_again_to_the_same_bits(folder):
    go(folder)
    before = weights(folder)
    (folder.path / WEIGHTS).unlink()
    assert go(folder, Accuracy(), Constant()).name == "done"
    assert weights(folder) == before


def test_a_checkpoint_that_an_attempt_has_left_behind_its_result_goes(folder):
    go(folder)
    (folder.path / CHECKPOINT).write_bytes(b"left")
    assert go(folder, Accuracy(), Constant()).name == "done"
    assert not (folder.path / CHECKPOINT).exists()


def test_weights_with_a_flipped_bit_are_not_measured(folder):
    go(folder)
    before = weights(folder)
    payload = bytearray((folder.path / WEIGHTS).read_bytes())
    payload[-5] ^= 4
    (folder.path / WEIGHTS).write_bytes(bytes(payload))
    assert go(folder, Accuracy(), Constant()).name == "done"
    assert weights(folder) == before


@pytest.mark.parametrize("damage", [None, "flip", "cut", "empty", "torn history"])
def test_a_stopped_run_continues_or_starts_anew_with_the_same_result(folder, tmp_path, damage):
    assert go(folder, stopping=stop_after(50)).name == "interrupted"
    path = folder.path / CHECKPOINT
    payload = bytearray(path.read_bytes())
    if damage == "flip":
        payload[len(payload) // 2] ^= 1
    path.write_bytes(bytes(payload[: {"cut": -9, "empty": 0}.get(damage, len(payload))]))
    if damage == "torn history":
        lines = (folder.path / "history.jsonl").read_bytes()
        (folder.path / "history.jsonl").write_bytes(lines + b'{"update": 39, "train_')
    assert go(folder).name == "done"
    undisturbed = Store(tmp_path / "other").open(digest(RUN), hint=RUN.hint, run=to_json(RUN), index={})
    go(undisturbed)
    assert weights(folder) == weights(undisturbed)
    assert (folder.path / "history.jsonl").read_bytes() == (undisturbed.path / "history.jsonl").read_bytes()


def test_a_checkpoint_made_with_other_threads_is_not_continued(folder, caplog):
    assert go(folder, stopping=stop_after(50)).name == "interrupted"
    assert execute(folder, RUN, (Accuracy(),), device=CPU, threads=2).name == "done"
    assert "a different environment" in caplog.text
    torch.set_num_threads(1)


@pytest.mark.parametrize("probe", [NotANumber(), Nested()])
def test_a_probe_that_yields_something_else_than_flat_finite_rows_fails_the_run(folder, probe):
    outcome = go(folder, probe)
    assert outcome.name == "failed"
    assert folder.state([probe_file(to_json(probe))]).name == "failed"
    assert not list(folder.path.glob("probes/*"))


@pytest.mark.parametrize("at", ["skip", "call"])
@pytest.mark.parametrize("error", ["KeyboardInterrupt", "GeneratorExit", "SystemExit", "Leave"])
def test_own_code_that_would_end_the_process_fails_its_run_in_one_line_with_file_and_line(folder, at, error):
    probe = Ending(at=at, error=error)
    outcome = go(folder, probe, run=RUN.replace(recipe=RUN.recipe.replace(updates=0)))
    assert outcome.name == "failed"
    assert re.fullmatch(rf"(.* fails: )?{error} \(.*test_run\.py, line \d+\)", outcome.error)
    assert folder.holder() is None
    assert folder.failure().reason == outcome.error


def test_own_code_that_would_end_the_process_fails_no_other_way_where_a_run_is_read_or_trained_in_a_stack(
    folder, monkeypatch, caplog
):
    def end(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "from_json", end)
    with pytest.raises(InputError, match=r"own code fails: KeyboardInterrupt \(.*test_run\.py, line \d+\)"):
        worker._run_of(folder, digest(RUN))
    monkeypatch.setattr(group, "prepare", end)
    other = Store(folder.path.parent).open("0" * 64, hint="other", run=to_json(RUN), index={})
    members = [(one, RUN, lambda update: None) for one in (folder, other)]
    assert group.train_group(members, device=CPU, threads=1) == {}
    assert "the runs are executed one by one" in caplog.text
    assert (folder.holder(), other.holder()) == (None, None)


def members_of(store, runs):
    return [
        (store.open(digest(run), hint=run.hint, run=to_json(run), index={}), run, lambda update: None) for run in runs
    ]


def short_of_memory(monkeypatch, sizes, *, at_most=2, error=None):
    """Let stacks of more than so many runs run out of memory after an update; note how large those tried are."""
    train_stack = group.train_stack

    def small(attempts, *, stopping):
        sizes.append(len(attempts))
        if len(attempts) > at_most:
            for attempt in attempts:
                next(attempt.train_alone())  # what has been drawn and learned by then is forgotten
            raise error or torch.OutOfMemoryError("CUDA out of memory")
        train_stack(attempts, stopping=stopping)

    monkeypatch.setattr(group, "train_stack", small)


def test_runs_that_do_not_fit_into_memory_together_are_trained_in_halves(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="vision_attn")
    runs = [RUN.replace(seed=seed) for seed in range(5)]
    members, sizes = members_of(Store(tmp_path), runs), []
    short_of_memory(monkeypatch, sizes)
    assert group.train_group(members, device=CPU, threads=1) == {}
    assert sizes == [5, 3, 2, 2]
    assert [text for text in caplog.messages if "memory" in text] == [
        "5 runs do not fit into memory together",
        "3 runs do not fit into memory together",
    ]
    results = [folder.result() for folder, _, _ in members]
    assert [result and result["choices"]["stacked"] for result in results] == [2, 2, None, 2, 2]
    assert [folder.holder() for folder, _, _ in members] == [None] * 5
    assert group.train_group(members[:3], device=CPU, threads=1) == {}
    assert sizes == [5, 3, 2, 2], "of these one is left, which is trained alone"
    monkeypatch.undo()
    last = members_of(Store(tmp_path / "other"), runs[3:])
    group.train_group(last, device=CPU, threads=1)
    assert [folder.result()["files"] for folder, _, _ in last] == [result["files"] for result in results[3:]]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    ],
)
def test_want_of_memory_is_known_by_any_of_its_names(tmp_path, monkeypatch, error):
    assert classified(error).name == "oom"
    members, sizes = members_of(Store(tmp_path), [RUN.replace(seed=seed) for seed in range(3)]), []
    short_of_memory(monkeypatch, sizes, at_most=1, error=error)
    assert group.train_group(members, device=CPU, threads=1) == {}
    assert sizes == [3, 2]


def test_no_half_is_begun_once_the_worker_is_asked_to_stop(tmp_path, monkeypatch):
    members, sizes = members_of(Store(tmp_path), [RUN.replace(seed=seed) for seed in range(4)]), []
    short_of_memory(monkeypatch, sizes)
    found = group.train_group(members, device=CPU, threads=1, stopping=lambda: len(sizes) == 2)
    assert (sizes, {place: outcome.name for place, outcome in found.items()}) == (
        [4, 2],
        dict.fromkeys(range(4), "interrupted"),
    )


def test_where_there_is_no_room_for_the_log_the_disk_is_said_to_be_full_and_the_worker_goes_on(folder, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    told = []
    monkeypatch.setattr(worker, "_output_to", full)
    options = {"device": CPU, "threads": 1, "stopping": lambda: False}
    tell = lambda kind, key, **more: told.append((kind, more))  # noqa: E731
    worker._execute([digest(RUN)], Store(folder.path.parent.parent), {}, [], options, tell)
    said = f"No space left on device: '{folder.path / 'log.txt'}'"
    assert [kind for kind, _ in told] == ["started", "finished"]
    assert told[1][1]["outcome"] == "disk full"
    assert told[1][1]["error"].startswith(said)


def test_a_file_that_is_damaged_as_soon_as_it_is_written_does_not_match_the_result(folder, monkeypatch):
    written = {}

    def damaging(path, payload, **options):
        files.write_atomic(path, payload, **options)
        if path.name in (WEIGHTS, "history.jsonl"):
            path.write_bytes(payload[:-2] + b"?\n")
            written[path.name] = hashlib.sha256(payload).hexdigest()

    monkeypatch.setattr(lease, "write_atomic", damaging)
    assert go(folder, Size()).name == "done"
    assert folder.result()["files"].items() >= written.items()
    assert {
        fault.file.rpartition("/")[2] for _, found in verify(Store(folder.path.parent.parent)) for fault in found
    } == {WEIGHTS, "history.jsonl"}


def test_a_disk_that_is_full_at_any_write_costs_the_attempt_and_nothing_that_was_written(tmp_path, monkeypatch):
    """The first write fails, in the next attempt the second, until an attempt ends before."""
    run, write, left = RUN.replace(recipe=RUN.recipe.replace(updates=2)), files.write_atomic, [0]
    folder = Store(tmp_path).open(digest(run), hint=run.hint, run=to_json(run), index={})

    def fill(path, payload, **options):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, payload, **options)

    for module in (lease, attempts, files):
        monkeypatch.setattr(module, "write_atomic", fill)
    outcomes, kept = [], {}
    while not outcomes or outcomes[-1] != "done":
        left[0] = len(outcomes) + 1
        outcomes.append(go(folder, run=run).name)
        for path in [path for path in (folder.path / RESULT, *folder.path.glob("probes/*.json")) if path.exists()]:
            assert kept.setdefault(path, path.read_bytes()) == path.read_bytes()
        assert len(outcomes) < 20
    assert set(outcomes) == {"disk full", "done"}
    assert len(kept) == 2
    assert not list(folder.path.rglob("*.tmp"))


def test_a_run_that_memory_does_not_suffice_for_leaves_the_next_one_alone(folder, tmp_path):
    assert go(folder, TooLarge()).name == "oom"
    assert folder.state([probe_file(to_json(TooLarge()))]).name == "oom"
    run = RUN.replace(seed=1)
    other = Store(tmp_path).open(digest(run), hint=run.hint, run=to_json(run), index={})
    assert go(other, run=run).name == "done"


def test_other_data_under_the_same_name_are_refused(folder):
    go(folder)
    result = folder.result()
    write_json(folder.path / "result.json", {**result, "data": {**result["data"], "fingerprint": "f" * 64}})
    outcome = go(folder, Constant())
    assert outcome.name == "failed"
    assert outcome.error.startswith(f"fingerprint of mnist5k must be {'f' * 64}, as when the run was trained.")


def test_a_run_that_another_process_has_is_left_alone(folder):
    lease = folder.acquire()
    assert go(folder).name == "busy"
    lease.release_unused()
    assert go(folder).name == "done"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (MemoryError(), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "oom"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), "oom"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk full"),
        (OSError(errno.EACCES, "Permission denied"), "failed"),
        (RuntimeError("shapes do not match"), "failed"),
    ],
)
def test_failures_are_told_apart(error, name):
    assert classified(error).name == name


def test_the_model_and_its_label_decide_nothing_else_than_the_model():
    assert digest(RUN) == digest(RUN.replace())
    for change in ({"seed": 1}, {"data": Mnist5k(train_size=100)}, {"recipe": RUN.recipe.replace(updates=41)}):
        assert digest(RUN.replace(**change)) != digest(RUN)


def test_the_environment_in_a_record_holds_no_more_than_what_is_listed(folder):
    go(folder)
    listed = {"python", "torch", "torchvision", "timm", "numpy", "vision_attn", "platform", "cpu", "commit"}
    assert set(read_json(folder.path / "result.json")["environment"]) == listed
