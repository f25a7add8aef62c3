"""Doctor: what this installation and this machine can do, each as one check with what was found."""

import dataclasses
import fcntl
import importlib
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from vision_attn.environment import cpu_name
from vision_attn.resources import cores
from vision_attn.spec import InputError
from vision_attn.store import write_atomic

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pandas",
    "matplotlib",
    "seaborn",
    "scipy",
    "scikit-learn",
    "safetensors",
    "mlxtend",
)
IMPORTED_AS = {"scikit-learn": "sklearn"}
GIBIBYTE = 1 << 30
PREFIX = ".vision-attn-doctor-"


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing looked at: its name, whether it is as needed, what was found."""

    name: str
    ok: bool
    found: str


def examine(results: Path) -> list[Check]:
    """Every check; none of them changes anything but a temporary file under `results`."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", lambda: sys.version.split()[0]),
        *((name, lambda name=name: _package(name)) for name in PACKAGES),
        ("processor", _processor),
        ("bfloat16", _bfloat16),
        ("GPU", _gpu),
        ("compiler", _compiler),
        ("results folder", lambda: _folder(results)),
        ("cache folder", _cache),
    ]
    return [look_at(name, look) for name, look in checks]


def look_at(name: str, look: Callable[[], str]) -> Check:
    """A check: what `look` returns is as needed, what it raises is not."""
    try:
        return Check(name, True, look())
    except InputError as error:
        return Check(name, False, str(error))
    except (ImportError, RuntimeError, OSError, importlib.metadata.PackageNotFoundError) as error:
        return Check(name, False, f"{type(error).__name__}: {error}")


def _package(name: str) -> str:
    importlib.import_module(IMPORTED_AS.get(name, name))
    return importlib.metadata.version(name)


def _processor() -> str:
    import torch

    return f"{cpu_name()}, {cores()} cores, {torch.backends.cpu.get_cpu_capability()}"


def _bfloat16() -> str:
    import torch

    from vision_attn.training.compute import bf16_units

    units = bf16_units(torch.device("cpu"))
    return f"{units}: the CPU trains in bf16" if units else "no fast units: the CPU trains in fp32"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none (not needed)"
    return f"{', '.join(map(_one_gpu, range(torch.cuda.device_count())))}; CUDA {torch.version.cuda}"


def _one_gpu(index: int) -> str:
    """The name and memory of a GPU that computes. Raises `RuntimeError` where it does not."""
    import torch

    from vision_attn.training.compute import bf16_units

    device = torch.device("cuda", index)
    ones = torch.ones(8, 8, device=device)
    if (ones @ ones).sum().item() != 512:
        raise RuntimeError(f"the GPU {index} computes wrongly")
    precision = "bf16" if bf16_units(device) else "fp32"
    memory = torch.cuda.get_device_properties(device).total_memory / GIBIBYTE
    return f"{torch.cuda.get_device_name(device)}, {memory:.0f} GiB, trains in {precision}"


def _compiler() -> str:
    return next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), "none: models are not compiled")


def _folder(folder: Path) -> str:
    """Locks, renames and syncs as the store does, and the free space."""
    there = existing(folder)
    with tempfile.TemporaryDirectory(dir=there, prefix=PREFIX) as place:
        write_atomic(Path(place) / "file", b"written")
        with open(Path(place) / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    free = free_bytes(there)
    files = os.statvfs(there).f_favail
    return f"{there}: locks, renames, syncs; {free / GIBIBYTE:.0f} GiB and {files:,} files free"


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.is_dir())


def free_bytes(place: Path) -> int:
    """The bytes free at a folder. Raises `OSError` where they are less than a GiB."""
    free = shutil.disk_usage(place).free
    if free < GIBIBYTE:
        raise OSError(f"{place} has only {free / GIBIBYTE:.2f} GiB free")
    return free


def _cache() -> str:
    from vision_attn.data.locations import cache_dir

    folder = cache_dir()
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    if not os.access(there, os.W_OK):
        return f"{folder}: cannot be written, so data are decoded again in every process"
    return str(folder)
