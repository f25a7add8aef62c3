"""What a cluster needs of a store, each check on a file system that has it and on a stand-in for one that has not."""

import collections
import errno
import importlib.metadata
import os
import shutil
import time

import pytest

from vision_attn import doctor_cluster
from vision_attn.executors import queue


def found(tmp_path, engine="slurm"):
    return {check.name: check for check in doctor_cluster.examine(engine, tmp_path / "not" / "yet" / "there")}


@pytest.fixture(autouse=True)
def answers(monkeypatch):
    monkeypatch.setattr(queue, "listed", lambda arrays: [])
    monkeypatch.setattr(queue, "submit", lambda arguments: "")


def refuse(*arguments):
    raise OSError(errno.EINVAL, "Invalid argument")


def test_a_local_folder_has_what_a_store_needs_and_nothing_is_left_behind(tmp_path):
    checks = found(tmp_path)
    needed = ("file system", "locks", "renames", "syncs", "clock", "free space", "free files")
    assert [name for name in needed if not checks[name].ok] == []
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_keeps_nobody_out_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_cluster.fcntl, "flock", lambda *arguments: None)
    assert found(tmp_path)["locks"].found == "flock keeps nobody out: two workers could take one run"


@pytest.mark.parametrize(("owner", "name", "check"), [("fcntl", "flock", "locks"), ("os", "fsync", "syncs")])
def test_a_file_system_without_it_is_told(tmp_path, monkeypatch, owner, name, check):
    monkeypatch.setattr(getattr(doctor_cluster, owner), name, refuse)
    assert not found(tmp_path)[check].ok


@pytest.mark.parametrize(("distance", "is_ok"), [(-200, False), (200, False), (30, True)])
def test_the_distance_of_clocks_is_told(tmp_path, monkeypatch, distance, is_ok):
    now = time.time
    monkeypatch.setattr(doctor_cluster.time, "time", lambda: now() - distance)
    check = found(tmp_path)["clock"]
    assert check.ok == is_ok
    assert f"{distance:+d}" in check.found


def test_too_little_space_and_too_few_files_are_told(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1, 1, 1 << 20))
    stat = collections.namedtuple("stat", "f_files f_favail")
    monkeypatch.setattr(os, "statvfs", lambda place: stat(10**6, 1000))
    checks = found(tmp_path)
    assert "only 0.00 GiB free" in checks["free space"].found
    assert "only 1,000 more files fit" in checks["free files"].found


def test_a_controller_that_cannot_be_reached_and_a_refusal_are_told(tmp_path, monkeypatch):
    def unreachable(arrays):
        raise queue.Unreachable("Unable to contact slurm controller")

    def refused(arguments):
        raise queue.Refused("invalid account")

    monkeypatch.setattr(queue, "listed", unreachable)
    monkeypatch.setattr(queue, "submit", refused)
    checks = found(tmp_path)
    assert "Unable to contact slurm controller" in checks["Slurm's controller"].found
    assert "invalid account" in checks["submission"].found


def test_a_store_that_cannot_be_written_is_one_check(tmp_path, monkeypatch):
    def read_only(**options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(doctor_cluster.tempfile, "TemporaryDirectory", read_only)
    (check,) = found(tmp_path).values()
    assert not check.ok
    assert check.found.endswith("cannot be written: Read-only file system")


def test_what_brings_ray_is_named_where_it_is_not_installed(tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    told = found(tmp_path, "ray")["Ray"]
    assert (told.ok, told.found.startswith("engine 'ray' needs Ray, which is not installed: pip install")) == (
        False,
        True,
    )


@pytest.mark.parametrize(("version", "is_ok"), [("2.53.9", False), ("2.54.0", True), ("3.0.0", True)])
def test_an_old_ray_is_told(tmp_path, monkeypatch, version, is_ok):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(doctor_cluster.importlib.metadata, "version", lambda name: version)
    checks = found(tmp_path, "ray")
    assert checks["Ray"].ok == is_ok
    assert "for this machine alone" in checks["Ray's cluster"].found
