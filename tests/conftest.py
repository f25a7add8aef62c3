"""Test processes side by side share the cores: each keeps to one thread. The package stands before timm."""

import os

import vision_attn  # noqa: F401 - a test file may then import timm and torchvision beside a CPU-only torch

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
