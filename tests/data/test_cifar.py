"""CIFAR: the official archive or nothing. Whatever comes instead is refused before it is unpickled."""

import hashlib
import http.server
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import threading
from typing import ClassVar

import numpy as np
import pytest
from image_trees import write_tar

from vision_attn.data import Cifar10, Cifar100, cifar
from vision_attn.data.cache import load_arrays
from vision_attn.data.catalog import catalog
from vision_attn.data.cifar import Official, fetch, official_archive
from vision_attn.spec import InputError

FOLDER = "cifar-10-batches-py"
CLASSES = ["cat", "dog"]


class Python2Pickler(pickle._Pickler):
    """Writes texts and bytes as Python 2 did, as the official batches have them."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_text(self, value):
        encoded = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(encoded)) + encoded)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_text

    def save_global(self, value, name=None):
        module = "numpy.core.multiarray" if value.__name__ == "_reconstruct" else value.__module__
        self.write(pickle.GLOBAL + f"{module}\n{value.__name__}\n".encode())
        self.memoize(value)

    for kind in (type, type(len), type(lambda: 0)):
        dispatch[kind] = save_global


def pickled(value):
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def batch(seed, *, key="labels"):
    data = np.random.default_rng(seed).integers(0, 256, (4, 3072), dtype=np.uint8)
    return {"batch_label": "one", key: [0, 1, 1, 0], "data": data, "filenames": ["a.png"] * 4}


def batches(key="labels", names="label_names"):
    return {
        "data_batch_1": pickled(batch(1, key=key)),
        "data_batch_2": pickled(batch(2, key=key)),
        "test_batch": pickled(batch(3, key=key)),
        "batches.meta": pickled({names: CLASSES, "num_vis": 3072}),
    }


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Make an archive of files, and torchvision's description of it, `url` included, point to it."""

    def publish(files, *, url=None, listed=None, class_names="label_names"):
        folder = tmp_path / "server"
        folder.mkdir(exist_ok=True)
        path = write_tar(
            folder / "cifar-10-python.tar.gz", {f"{FOLDER}/{name}": content for name, content in files.items()}
        )
        sums = {name: md5(content) for name, content in (listed or files).items()}
        described = Official(
            filename=path.name,
            url=url or path.as_uri(),
            md5=md5(path.read_bytes()),
            folder=FOLDER,
            train=tuple((name, sums[name]) for name in ("data_batch_1", "data_batch_2")),
            test=(("test_batch", sums["test_batch"]),),
            meta=("batches.meta", sums["batches.meta"]),
            class_names=class_names,
        )
        monkeypatch.setattr(cifar, "official_archive", lambda name: described)
        return path

    return publish


@pytest.fixture
def server(tmp_path):
    """A web server on this machine: `serve(answer)` gives the address where `answer(handler)` answers."""
    running = []

    def serve(answer):
        handler = type("Handler", (http.server.BaseHTTPRequestHandler,), {})
        handler.do_GET = answer
        handler.log_message = lambda *_: None
        running.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}/cifar-10-python.tar.gz"

    yield serve
    for each in running:
        each.shutdown()
        each.server_close()


def refusal():
    with pytest.raises(InputError) as found:
        Cifar10().load()
    assert "\n" not in str(found.value)
    return str(found.value)


def test_images_and_labels_are_those_of_the_batches_in_order(published):
    published(batches())
    data = Cifar10().load()
    pixels = np.concatenate([batch(1)["data"], batch(2)["data"]]).reshape(8, 3, 32, 32)
    assert np.array_equal(data.train.images.numpy(), pixels)
    assert data.train.labels.tolist() == [0, 1, 1, 0] * 2
    assert np.array_equal(data.test.images.numpy(), batch(3)["data"].reshape(4, 3, 32, 32))
    assert (data.name, data.classes, data.flip) == ("cifar10", ("cat", "dog"), True)


def test_cifar100_has_its_fine_labels(published):
    published(batches("fine_labels", "fine_label_names"), class_names="fine_label_names")
    data = Cifar100(train_size=4).load()
    assert data.name == "cifar100"
    assert sorted(data.train.labels.tolist()) == [0, 0, 1, 1]


def test_an_archive_in_a_data_folder_is_used_without_a_download(published, data_dir, monkeypatch):
    path = published(batches(), url="http://127.0.0.1:9/refused")
    monkeypatch.setenv("VISION_ATTN_OFFLINE", "1")
    path.rename(data_dir / path.name)
    assert len(Cifar10().load().train) == 8


def test_what_was_downloaded_is_kept_and_needs_no_second_download(published, cache):
    path = published(batches())
    first = Cifar10().load()
    path.unlink()
    load_arrays.cache_clear()
    assert Cifar10().load().fingerprint == first.fingerprint
    assert [each.name for each in (cache / "downloads").iterdir()] == [path.name]


def test_the_cached_data_set_does_not_import_torchvision(published, monkeypatch):
    published(batches())
    Cifar10().load()
    load_arrays.cache_clear()
    monkeypatch.setattr(cifar, "official_archive", None)
    assert len(Cifar10().load().train) == 8


def test_progress_is_told_up_to_the_last_byte(published):
    path = published(batches())
    told = []
    fetch("cifar10", progress=lambda received, total: told.append((received, total)))
    assert told[-1] == (path.stat().st_size,) * 2


REMEDY = "Put cifar-10-python.tar.gz (from {url}) into a folder and pass the folder with --data-dir."


def test_offline_says_what_to_do(published, monkeypatch):
    url = published(batches()).as_uri()
    monkeypatch.setenv("VISION_ATTN_OFFLINE", "1")
    assert refusal() == f"cifar10 is not here and VISION_ATTN_OFFLINE forbids the download. {REMEDY.format(url=url)}"


def test_no_connection_says_what_to_do(published):
    published(batches(), url="http://127.0.0.1:9/cifar-10-python.tar.gz")
    sentence = refusal()
    assert sentence.startswith("Downloading http://127.0.0.1:9/cifar-10-python.tar.gz failed, no connection")
    assert sentence.endswith(REMEDY.format(url="http://127.0.0.1:9/cifar-10-python.tar.gz"))


def answer(handler, body, *, length=None, status=200):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda good: {"body": b"\n<!DOCTYPE html><title>Log in</title>"}, "a web page came instead of the file"),
        (lambda good: {"body": good[:-5], "length": len(good)}, "(IncompleteRead|bytes came)"),
        (lambda good: {"body": good[:-5]}, "the file that came has md5"),
        (lambda good: {"body": good[:200] + bytes([good[200] ^ 1]) + good[201:]}, "the file that came has md5"),
        (lambda good: {"body": b""}, "the file that came has md5"),
        (lambda good: {"body": b"gone", "status": 404}, "Not Found"),
    ],
)
def test_a_download_that_is_not_the_archive_is_refused_and_not_kept(published, server, cache, change, words):
    good = published(batches()).read_bytes()
    url = server(lambda handler: answer(handler, **change(good)))
    published(batches(), url=url)
    sentence = refusal()
    assert re.search(words, sentence)
    assert sentence.endswith(REMEDY.format(url=url))
    assert list((cache / "downloads").iterdir()) == []


def test_a_wrong_archive_in_a_data_folder_is_named(published, data_dir):
    good = published(batches())
    (data_dir / good.name).write_bytes(good.read_bytes()[:-1])
    assert refusal().startswith(f"'{data_dir / good.name}' must be the official archive with md5 ")


class Hostile:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_a_hostile_pickle_is_not_read_when_its_checksum_is_wrong(published, tmp_path):
    hostile = {**batches(), "test_batch": pickle.dumps(Hostile(tmp_path / "trace"))}
    published(hostile, listed=batches())
    assert "must have the official md5" in refusal()
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_runs_no_code_even_when_its_checksum_is_right(published, tmp_path, protocol):
    hostile = pickle.dumps({"data": Hostile(tmp_path / "trace")}, protocol=protocol)
    published({**batches(), "data_batch_2": hostile})
    assert "mkdir, which no array needs" in refusal()
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickled([1, 2]), "must be a pickled dict. Got a list instead."),
        (pickled(batch(1))[:-100], "must be a pickled batch of arrays"),
        (b"", "must be a pickled batch of arrays"),
        (pickled({"data": np.zeros((4, 3072), np.uint8)}), "must hold batches of 32 x 32 images with labels"),
        (pickled({**batch(1), "data": np.zeros((4, 7), np.uint8)}), "must hold batches of 32 x 32 images with labels"),
        (pickled({**batch(1), "data": np.zeros((4, 3072))}), "must hold batches of 32 x 32 images with labels"),
    ],
)
def test_a_batch_of_another_kind_is_refused(published, content, words):
    published({**batches(), "data_batch_1": content})
    assert words in refusal()


def test_a_missing_batch_is_named(published):
    files = batches()
    published({name: content for name, content in files.items() if name != "test_batch"}, listed=files)
    assert f"must hold {FOLDER}/test_batch, which is not there." in refusal()


def test_two_processes_at_once_download_once(published, server, cache, tmp_path):
    good = published(batches()).read_bytes()
    asked = []

    def slowly(handler):
        asked.append(1)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(good)))
        handler.end_headers()
        for start in range(0, len(good), 1000):
            handler.wfile.write(good[start : start + 1000])
            threading.Event().wait(0.02)

    published(batches(), url=server(slowly))
    (tmp_path / "described.pickle").write_bytes(pickle.dumps(cifar.official_archive("cifar10")))
    program = (
        "import pickle, sys; from vision_attn.data import Cifar10, cifar;"
        "described = pickle.load(open(sys.argv[1], 'rb')); cifar.official_archive = lambda name: described;"
        "print(Cifar10().load().fingerprint)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "described.pickle")],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    printed = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert printed == {Cifar10().load().fingerprint}
    assert len(asked) == 1


def test_torchvision_describes_both_archives():
    for name, train, count in (("cifar10", 5, 10), ("cifar100", 1, 100)):
        described = official_archive(name)
        row = next(row for row in catalog() if row["spec"].lower() == f"{name}()")
        assert (len(described.train), row["classes"]) == (train, count)
        assert described.url.endswith(described.filename)
        assert all(len(checksum) == 32 for _, checksum in (*described.train, *described.test, described.meta))
