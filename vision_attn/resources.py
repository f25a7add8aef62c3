"""Resources: how many cores and how much memory this process may use, quotas of containers included."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
UNLIMITED = 1 << 60
"""Bytes from which on a limit says that there is none."""


def cores(root: Path = ROOT) -> int:
    """The cores that this process may keep busy: those it may run on, but no more than its CPU quota, at least one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(int(quota) for quota in _cpu_quotas(root))]))


def free_memory(root: Path = ROOT) -> int | None:
    """Bytes that this process may still take without swapping or being killed; None where the system does not say."""
    found = [*_memory_left(root)]
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
    return min(found, default=None)


def _cpu_quotas(root: Path) -> Iterator[float]:
    """Cores a group of processes, this one's and those it lies in, may use at once (cgroups, version 2 and 1)."""
    for folder in _groups(root, "cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        with contextlib.suppress(OSError, ValueError):
            quota = (folder / "cpu.cfs_quota_us").read_text()
            if int(quota) > 0:
                yield int(quota) / int((folder / "cpu.cfs_period_us").read_text())


def _memory_left(root: Path) -> Iterator[int]:
    """Bytes below the limits of the same groups. Pages of files count as free: they are given up first."""
    names = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
    for folder in _groups(root, "memory"):
        for limit, used in names:
            with contextlib.suppress(OSError, ValueError):
                most = int((folder / limit).read_text())
                if most < UNLIMITED:
                    yield max(0, most - int((folder / used).read_text()) + _cached(folder))


def _cached(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        rows = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
        return sum(int(row[1]) for row in rows if row[0] == "inactive_file")
    return 0


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the control groups that this process is in, up to the top of each hierarchy."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        tops = [root / "sys/fs/cgroup" / names, root / "sys/fs/cgroup" / controller] if names else []
        top = next((one for one in tops if one.is_dir()), root / "sys/fs/cgroup")
        inner = top / path.strip("/")
        yield from [inner, *(parent for parent in inner.parents if parent.is_relative_to(top))]
