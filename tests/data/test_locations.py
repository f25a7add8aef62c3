"""Where data are looked for."""

import os
from pathlib import Path

import pytest

from vision_attn.data.locations import cache_dir, data_dirs, is_offline


def test_data_folders_come_from_the_environment_in_order(monkeypatch):
    monkeypatch.setenv("VISION_ATTN_DATA", os.pathsep.join(["/b", "", "a b"]))
    assert data_dirs() == [Path("/b"), Path("a b")]
    monkeypatch.delenv("VISION_ATTN_DATA")
    assert data_dirs() == []


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"VISION_ATTN_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/vision-attn"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/vision-attn"),
        ({}, "/home/me/.cache/vision-attn"),
        ({"VISION_ATTN_CACHE": "~/c"}, "/home/me/c"),
    ],
)
def test_the_cache_is_the_first_of_three_places(monkeypatch, environment, folder):
    for name in ("VISION_ATTN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(folder)


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("0", False), ("", False), ("yes", True)])
def test_downloads_can_be_forbidden(monkeypatch, value, offline):
    monkeypatch.setenv("VISION_ATTN_OFFLINE", value)
    assert is_offline() is offline
