"""The pretended GPU refuses what a real one does."""

import pytest
import torch
from pretended_gpu import PretendedGpu, deterministic_algorithms


@pytest.fixture
def gpu():
    with PretendedGpu() as gpu:
        yield gpu


def test_it_is_a_device_apart(gpu):
    there = torch.ones(3).to("cuda")
    assert (there.device.type, there.is_cuda) == ("cuda", True)
    assert torch.zeros_like(there).is_cuda
    assert not there.cpu().is_cuda
    for mixed in (lambda: there + torch.ones(3), lambda: torch.ones(3) * there, lambda: torch.ones(3).add_(there[0])):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()
    assert (there + torch.tensor(1.0)).tolist() == [2, 2, 2]  # a single number may come from the CPU


def test_it_has_generators_of_its_own(gpu):
    torch.rand(2, generator=torch.Generator("cuda"), device="cuda")
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(2, generator=torch.Generator(), device="cuda")
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(2, generator=torch.Generator("cuda"))


def test_its_numbers_are_not_numpys(gpu):
    with pytest.raises(TypeError, match="cuda:0"):
        torch.ones(3, device="cuda").numpy()


def test_it_has_no_repeatable_kernel_for_everything(gpu):
    x = torch.ones(1, 1, 4, 4, device="cuda", requires_grad=True)
    found = torch.nn.functional.adaptive_avg_pool2d(x, 3).sum()
    with deterministic_algorithms(), pytest.raises(RuntimeError, match="deterministic"):
        found.backward()


def test_it_says_what_would_be_waited_for(gpu):
    there = torch.ones(3, device="cuda")
    assert gpu.waits == []
    there.sum().item()
    there[there > 0]
    there.cpu()
    torch.tensor([1.0], device="cuda")
    assert gpu.waits == ["_local_scalar_dense", "index", "_to_copy", "tensor"]
