"""What runs on a CUDA GPU alone: `pytest -m gpu tests/gpu`. Everything here is marked so, and skipped without one.

With VISION_ATTN_REHEARSE_GPU=1 it runs on the CPU instead, so that a slip costs no time on a GPU.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product on a GPU, and never again

import torch

from vision_attn.training.compute import deterministic

HERE = Path(__file__).parent
NOTED = pytest.StashKey[dict[str, float]]()
REHEARSED = os.environ.get("VISION_ATTN_REHEARSE_GPU") == "1"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOTED] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available() and not REHEARSED:
                item.add_marker(pytest.mark.skip(reason="there is no CUDA GPU"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if noted := config.stash.get(NOTED, {}):
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU, rehearsed"
        terminalreporter.section(f"largest differences on {name}, torch {torch.__version__}")
        for what, value in sorted(noted.items()):
            terminalreporter.write_line(f"{value:10.3g}  {what}")


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def noted(pytestconfig: pytest.Config) -> Callable[[str, float], None]:
    """Keeps the largest number of each name for the summary."""
    kept = pytestconfig.stash.setdefault(NOTED, {})

    def note(what: str, value: float) -> None:
        kept[what] = max(value, kept.get(what, 0.0))

    return note


@pytest.fixture(autouse=True)
def _as_a_run_is_computed() -> Iterator[None]:
    """Repeatable kernels and float32 without TF32, as in a run; afterwards as it was."""
    threads, settings = torch.get_num_threads(), (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic)
    deterministic(threads)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = settings
