"""Test processes side by side share the cores: each keeps to one thread. The package stands before timm."""

import os

from hypothesis import settings

import vision_attn  # noqa: F401 - a test file may then import timm and torchvision beside a CPU-only torch

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("without times", deadline=None)  # a loaded machine is slow, and no test is about that
settings.load_profile("without times")
