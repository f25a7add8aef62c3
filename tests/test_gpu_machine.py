"""What is said and stored of a machine with a GPU, seen with a pretended one."""

import types

import pytest
import torch
from pretended_gpu import PretendedGpu

from vision_attn import doctor
from vision_attn.environment import environment
from vision_attn.run import accelerator
from vision_attn.spec import InputError
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
