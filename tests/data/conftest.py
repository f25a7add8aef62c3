"""Every test of the data has a cache of its own and no data folder but the one it makes."""

import pytest

from vision_attn.data.cache import load_arrays


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("VISION_ATTN_CACHE", str(folder))
    monkeypatch.delenv("VISION_ATTN_DATA", raising=False)
    monkeypatch.delenv("VISION_ATTN_OFFLINE", raising=False)
    load_arrays.cache_clear()
    return folder


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    folder = tmp_path / "data sets"
    folder.mkdir()
    monkeypatch.setenv("VISION_ATTN_DATA", str(folder))
    return folder
