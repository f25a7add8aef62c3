"""The cache: made once, never used damaged, and never needed."""

import dataclasses
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from vision_attn.data.arrays import PARTS, Arrays
from vision_attn.data.cache import MANIFEST, Source, load_arrays, open_entry
from vision_attn.data.catalog import verify


@dataclasses.dataclass(frozen=True)
class Made(Source):
    """Made-up arrays; every reading adds a line to a file."""

    log: Path

    def read(self):
        with open(self.log, "a") as log:
            log.write("read\n")
        chance = np.random.default_rng(0)
        labels = np.arange(8) % 2
        images = chance.integers(0, 256, (2, 8, 3, 4, 4), dtype=np.uint8)
        return Arrays(images[0], labels, images[1], labels, ("a", "b"))

    def readings(self):
        return self.log.read_text().count("read")


@pytest.fixture
def source(tmp_path):
    return Made(name="made", identity="1", log=tmp_path / "log")


def afresh(source, cache):
    """What another process would load."""
    load_arrays.cache_clear()
    return load_arrays(source, cache)


def test_a_source_is_read_once_for_all_processes(source, cache):
    first, second = afresh(source, cache), afresh(source, cache)
    assert source.readings() == 1
    assert first.fingerprint == second.fingerprint == source.read().fingerprint()
    for part in PARTS:
        assert np.array_equal(getattr(second.arrays, part), getattr(source.read(), part))


def test_another_identity_name_or_kind_is_another_entry(source, cache):
    kind = dataclasses.make_dataclass("Other", [], bases=(Made,), frozen=True)
    others = [dataclasses.replace(source, identity="2"), dataclasses.replace(source, name="else")]
    others.append(kind(name="made", identity="1", log=source.log))
    assert len({each.entry(cache) for each in [source, *others]}) == 4
    moved = dataclasses.replace(source, log=Path("elsewhere"))
    assert moved.entry(cache) == source.entry(cache)


def test_what_is_loaded_cannot_be_written_to(source, cache):
    with pytest.raises(ValueError, match="read-only"):
        load_arrays(source, cache).arrays.train_images[0] = 0


@pytest.mark.parametrize("name", [*(f"{part}.npy" for part in PARTS), MANIFEST])
@pytest.mark.parametrize("damage", ["flip a bit", "half", "empty", "gone", "last byte", "first byte"])
def test_a_damaged_entry_is_noticed_and_made_again(source, cache, name, damage):
    good = afresh(source, cache)
    entry = source.entry(cache)
    content = bytearray((entry / name).read_bytes())
    middle = len(content) * 3 // 4
    changed = {
        "flip a bit": content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :],
        "half": content[: len(content) // 2],
        "empty": b"",
        "gone": None,
        "last byte": content[:-1],
        "first byte": bytes([content[0] ^ 1]) + content[1:],
    }[damage]
    (entry / name).unlink()
    if changed is not None:
        (entry / name).write_bytes(changed)
    if name == MANIFEST and damage == "last byte":  # the line end: nothing is lost
        assert open_entry(entry) is not None
        return
    assert open_entry(entry) is None
    assert afresh(source, cache).fingerprint == good.fingerprint
    assert source.readings() == 2
    assert open_entry(entry) is not None
    assert [path.name for path in cache.iterdir() if not path.name.endswith(".lock")] == [entry.name]


def test_verify_names_the_damaged_entry(source, cache):
    afresh(source, cache)
    afresh(dataclasses.replace(source, name="other"), cache)
    (source.entry(cache) / "test_labels.npy").write_bytes(b"")
    assert {row["entry"].split("-")[0]: row["ok"] for row in verify()} == {"made": False, "other": True}


def test_what_a_killed_process_left_behind_is_removed(source, cache):
    leftover = cache / f".{source.entry(cache).name}.0123abcd.tmp"
    leftover.mkdir(parents=True)
    (leftover / "train_images.npy").write_bytes(b"half")
    afresh(source, cache)
    assert not leftover.exists()


def test_a_cache_that_cannot_be_written_is_done_without(source, tmp_path):
    (tmp_path / "file").write_text("in the way")
    loaded = load_arrays(source, tmp_path / "file" / "cache")
    assert loaded.fingerprint == source.read().fingerprint()
    readings = source.readings()
    load_arrays(source, tmp_path / "file" / "cache")
    assert source.readings() == readings


def test_a_full_disk_is_survived(source, cache, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        assert afresh(source, cache).fingerprint == source.read().fingerprint()
    assert not list(cache.glob("*made*tmp"))
    assert not source.entry(cache).exists()


PROCESS = """
    import sys, time, dataclasses
    from pathlib import Path
    from test_cache import Made, load_arrays

    class Slow(Made):
        def read(self):
            time.sleep(0.3)
            return super().read()

    cache, log, ready = map(Path, sys.argv[1:])
    while not ready.exists():
        time.sleep(0.01)
    print(load_arrays(Slow(name="made", identity="1", log=log), cache).fingerprint)
"""


def test_processes_that_ask_at_once_read_once_and_agree(source, cache, tmp_path):
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PROCESS), str(cache), str(source.log), str(tmp_path / "ready")],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    (tmp_path / "ready").touch()
    printed = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert printed == [source.read().fingerprint()] * 3
    assert source.readings() == 1 + 1


def test_an_entry_may_be_removed_while_it_is_in_use(source, cache):
    loaded = afresh(source, cache)
    shutil.rmtree(cache)
    assert loaded.arrays.fingerprint() == loaded.fingerprint
