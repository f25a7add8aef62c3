"""The surroundings that decide bits and may differ between machines: versions, platform, processor, commit."""

import contextlib
import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any


@functools.cache
def environment(*packages: str) -> dict[str, Any]:
    """What is stored with every result, with the versions of `packages` that it depends on beside those of all.

    A list of allowed facts: nothing of the user's environment variables.
    """
    names = ("torch", "torchvision", "timm", "numpy", *packages)
    versions = {name: importlib.metadata.version(name) for name in names}
    return {
        "python": platform.python_version(),
        **versions,
        "vision_attn": own_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "commit": _commit(),
    }


def own_version() -> str:
    try:
        return importlib.metadata.version("vision-attn")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _commit() -> str | None:
    """The commit of the checkout that this package lies in, with `-dirty` where the package was changed since."""
    package = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != package.parent:
            return None
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
