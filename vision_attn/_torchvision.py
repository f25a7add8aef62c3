"""torchvision beside a CPU-only torch: declare the two operators whose absence stops its import.

The wheels of torchvision for CUDA carry operators that a CPU-only torch cannot load; the import then fails on shape
functions registered for them, although transforms, models and data sets need none, and with it that of timm.
"""

import functools
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_LIBRARY = "torchvision"


class RepairingFinder(MetaPathFinder):
    """Finds torchvision as the other finders do; where its import fails on an operator, it is repeated with those.

    Where torchvision works already nothing is declared, and any other failure passes through. Nothing is imported
    before someone imports torchvision.
    """

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _LIBRARY:
            return None
        others = (finder for finder in sys.meta_path if not isinstance(finder, RepairingFinder))
        found = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if found is not None and found.loader is not None:
            execute = functools.partial(_execute, found.loader.exec_module)
            found.loader.exec_module = execute  # type: ignore[method-assign]
        return found


def _execute(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Execute torchvision, a second time with the operators declared if the first one fails for want of them."""
    try:
        execute(module)
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    else:
        return
    for name in [name for name in sys.modules if name.startswith(f"{_LIBRARY}.")]:
        del sys.modules[name]
    _declare()
    execute(module)


def _declare() -> None:
    import torch

    for operator in OPERATORS:
        if not hasattr(torch.ops.torchvision, operator):
            torch.library.define(f"torchvision::{operator}", SCHEMA)


def install() -> None:
    """From now on `import torchvision` works, and with it that of timm; calling it again changes nothing."""
    if not any(isinstance(finder, RepairingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, RepairingFinder())
