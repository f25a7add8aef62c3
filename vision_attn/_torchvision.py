"""torchvision beside a CPU-only torch: declare the two operators whose absence stops its import."""

import importlib
import sys

import torch

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_LIBRARY = "torchvision"


def repair() -> None:
    """Make `import torchvision` work, and with it that of timm. Where it works already, nothing is declared.

    The wheels of torchvision for CUDA carry operators that a CPU-only torch cannot load; the import then fails on
    shape functions registered for them, although transforms, models and data sets need none. Any other failure of
    the import passes through.
    """
    if _LIBRARY in sys.modules:
        return
    try:
        importlib.import_module(_LIBRARY)
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    else:
        return
    for name in [name for name in sys.modules if name.split(".")[0] == _LIBRARY]:
        del sys.modules[name]
    for operator in OPERATORS:
        if not hasattr(torch.ops.torchvision, operator):
            torch.library.define(f"torchvision::{operator}", SCHEMA)
    importlib.import_module(_LIBRARY)


repair_torchvision = repair
"""The name under which the package exports it."""
