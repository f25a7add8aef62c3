"""Cores and memory, under the quotas of made-up containers."""

import os

import pytest

from vision_attn import resources

COUNT = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
MIB = 1 << 20


def machine(root, files):
    for name, text in {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   4096 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("50000 100000", 1),
        ("max 100000", COUNT),
        ("100000 100000", 1),
        ("150000 100000", 1),
        ("99900000 100000", COUNT),
    ],
)
def test_a_quota_of_the_container_counts_as_cores(tmp_path, quota, expected):
    root = machine(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota}\n"})
    assert resources.cores(root) == expected


def test_the_smallest_quota_on_the_way_up_counts(tmp_path):
    files = {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "100000 100000\n"}
    root = machine(tmp_path, {**files, "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"})
    assert resources.cores(root) == 1


@pytest.mark.parametrize("quota", ["-1", "50000"])
def test_quotas_of_the_first_version_count_too(tmp_path, quota):
    place = "sys/fs/cgroup/cpu,cpuacct/job"
    files = {f"{place}/cpu.cfs_quota_us": quota, f"{place}/cpu.cfs_period_us": "100000"}
    root = machine(tmp_path, {"proc/self/cgroup": "4:memory:/job\n1:cpu,cpuacct:/job\n", **files})
    assert resources.cores(root) == (COUNT if quota == "-1" else 1)


def test_free_memory_is_the_least_of_what_the_machine_and_the_container_leave(tmp_path):
    files = {"proc/self/cgroup": "0::/job\n"}
    assert resources.free_memory(machine(tmp_path, files)) == 4 * MIB
    inner = {"sys/fs/cgroup/job/memory.max": str(3 * MIB), "sys/fs/cgroup/job/memory.current": str(2 * MIB)}
    assert resources.free_memory(machine(tmp_path, {**files, **inner})) == 1 * MIB
    files_of_disk = {"sys/fs/cgroup/job/memory.stat": f"anon 7\ninactive_file {MIB}\n"}
    assert resources.free_memory(machine(tmp_path, files_of_disk)) == 2 * MIB


def test_a_machine_that_says_nothing_has_no_limit_but_its_cores(tmp_path):
    assert resources.free_memory(tmp_path) is None
    assert resources.cores(tmp_path) == COUNT
