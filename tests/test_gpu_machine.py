"""What is said, stored and done on a machine with a GPU, seen with a pretended one."""

import types

import pytest
import torch
from pretended_gpu import PretendedGpu

from vision_attn import Mnist5k, Recipe, Run, ViT, doctor, worker
from vision_attn.environment import environment
from vision_attn.run import Outcome, accelerator
from vision_attn.spec import InputError, digest, to_json
from vision_attn.store import Store
from vision_attn.worker import pick_device

CARD = types.SimpleNamespace(total_memory=80 * 2**30)


@pytest.fixture(autouse=True)
def _one_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: CARD)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: True)


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_gpu_that_is_there_is_taken(name):
    assert pick_device(name).type == "cuda"


def test_a_gpu_that_is_not_there_is_refused_by_the_number_of_the_last():
    with pytest.raises(
        InputError, match=r"^device must be 'cuda:0' at most, the last GPU here. Got 'cuda:3' instead.$"
    ):
        pick_device("cuda:3")


def test_a_result_names_the_gpu_beside_the_rest():
    before = dict(environment())
    assert accelerator(torch.device("cuda"))["gpu"] == "A100"
    assert accelerator(torch.device("cpu")) == {}
    assert environment() == before
    assert "gpu" not in before


def test_doctor_computes_on_the_gpu_before_it_praises_it(monkeypatch):
    with PretendedGpu():
        assert doctor.look_at("GPU", doctor._gpu).found.startswith("A100, 80 GiB, trains in bf16; CUDA ")

        def broken(*shape, device):
            raise RuntimeError("no kernel image is available for execution on the device")

        monkeypatch.setattr(torch, "ones", broken)
        assert not doctor.look_at("GPU", doctor._gpu).ok


RUNS = [
    Run(model=ViT(dim=16, depth=1, patch_size=7), data=Mnist5k(train_size=50), recipe=Recipe(updates=1), seed=seed)
    for seed in range(2)
]


@pytest.fixture
def at_work(monkeypatch, tmp_path):
    """Executes runs on a GPU that an error of the first has left useless; what was told."""
    store, told, works = Store(tmp_path), [], [True]
    for run in RUNS:
        store.open(digest(run), hint=run.hint, run=to_json(run), index={})

    def failing(*given, **options):
        works[0] = False
        return Outcome("failed", "CUDA error: an illegal memory access was encountered")

    def synchronize(device):
        if not works[0]:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(worker, "execute", failing)
    monkeypatch.setattr(worker, "train_group", lambda members, **options: failing() and {})
    options = {"device": torch.device("cuda"), "threads": 1, "stopping": lambda: False}

    def go(*runs):
        keys = [digest(run) for run in runs]
        worker._execute(keys, store, {}, [], options, lambda kind, key, **more: told.append((kind, key)))

    return go, told


def test_a_worker_ends_when_an_error_has_cost_it_its_gpu(at_work):
    go, told = at_work
    with pytest.raises(SystemExit) as ended:
        go(RUNS[0])
    assert ended.value.code == worker.BROKEN
    assert told == [("started", digest(RUNS[0])), ("finished", digest(RUNS[0]))]


def test_what_a_stack_has_broken_is_left_to_another_worker(at_work):
    go, told = at_work
    with pytest.raises(SystemExit):
        go(*RUNS)
    assert [kind for kind, _ in told] == ["started", "started"]
