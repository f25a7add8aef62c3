"""What a benchmark sets in its process is set back after it; the heap of the process keeps what it once has."""

import contextlib
import ctypes
from collections.abc import Iterator

import pytest
import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As in malloc.h."""


@pytest.fixture(autouse=True, scope="session")
def _heap_is_kept() -> None:
    """Give nothing back to the system, where the C library is glibc.

    Else whoever happens to stand at the end of the heap fetches its pages anew in every call, which took a fifth of the
    time of attention on 32 samples of 64 tokens, of ours in one process and of timm's in the next.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)


@pytest.fixture(autouse=True)
def _process_settings() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
