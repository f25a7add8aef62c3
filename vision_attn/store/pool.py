"""The pool of runs: one folder a run, `<first two letters of its digest>/<hint>--<digest>`.

Fanned out, no folder of a file system gets more than a few hundred entries for every 100,000 runs. Folders that lie
flat in the pool, as those of earlier versions and of archives, are found as well: by their config.json, whatever their
name. An index in `.index/` spares the reading of files that have not changed since they were seen intact. It is never
the truth: it is checked against the files' signatures, and where it is missing or damaged it is made again.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vision_attn.store.files import SCHEMA, sealed, write_atomic
from vision_attn.store.folder import CONFIG, PROBES, RunFolder
from vision_attn.store.locks import locked
from vision_attn.store.seen import Seen, signature

INDEX, INDEX_SCHEMA = ".index", 1
PLANS = "plans"
"""The folder of plans in the pool, which holds no run."""

_FAN = re.compile("[0-9a-f]{2}")


class Store:
    """The pool of run folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders: dict[str, RunFolder] = {}
        """Every folder with a config.json that the last `index` has found, by its name in the pool."""

    def index(self) -> dict[str, RunFolder]:
        """Every run folder with an intact config.json, by the run's digest; of several, the one that got furthest."""
        known = {name: seen for shard in self._shards() for name, seen in self._load(shard).items()}
        self.folders = {}
        by_digest: dict[str, list[str]] = {}
        for name in self._names():
            folder = RunFolder(self.root / name, seen=known.get(name))
            if signature(f"{self.root}/{name}/{CONFIG}") is None:
                continue
            self.folders[name] = folder
            if (digest := folder.seen.look(folder.path, CONFIG, folder.read_config, keep=("digest",))) is not None:
                folder.seen.digest = digest["digest"]
                by_digest.setdefault(digest["digest"], []).append(name)
        return {digest: self.folders[self._furthest(names)] for digest, names in by_digest.items()}

    def remember(self) -> None:
        """Write down what was seen since `index`, so that it need not be read again; nothing where that is refused."""
        changed = {
            folder.seen.digest[:2] for folder in self.folders.values() if folder.seen.digest and folder.seen.is_new
        }
        shards: dict[str, dict[str, Any]] = {shard: {} for shard in changed}
        for name, folder in self.folders.items():
            if folder.seen.digest and folder.seen.digest[:2] in changed:
                shards[folder.seen.digest[:2]][name] = folder.seen.to_json()
                folder.seen.is_new = False
        try:
            for shard, content in shards.items():
                payload = json.dumps({"schema": INDEX_SCHEMA, "folders": content}, separators=(",", ":")).encode()
                seal = hashlib.sha256(payload).hexdigest().encode()
                (self.root / INDEX).mkdir(exist_ok=True)
                write_atomic(self.root / INDEX / f"{shard}.json", seal + b"\n" + payload, durable=False)
        except OSError:
            return

    def damaged_configs(self) -> list[str]:
        """The names of folders, as `index` has found them, of which nobody can say which run they hold."""
        return [name for name, folder in self.folders.items() if folder.seen.digest is None]

    def find(self, digest: str, *, hint: str) -> RunFolder | None:
        """The folder of one run, without a look at those of others; None where there is none."""
        if not (self.root / INDEX).is_dir():
            self.index()
            self.remember()
        names = [name for name, seen in self._load(digest[:2]).items() if seen.digest == digest]
        names += [_name(digest, hint), f"{hint}--{digest[:12]}"]
        self.folders = {name: RunFolder(self.root / name) for name in dict.fromkeys(names)}
        found = [name for name, folder in self.folders.items() if folder.digest == digest]
        return self.folders[self._furthest(found)] if found else None

    def open(self, digest: str, *, hint: str, run: dict[str, Any], index: dict[str, RunFolder]) -> RunFolder:
        """The folder of a run, made where there is none, and put into `index`. Safe against others doing the same.

        Raises `LeaseLost` where the folder stays locked, `InputError` where its file system has no locks, `OSError`.
        """
        if digest not in index:
            index[digest] = self.find(digest, hint=hint) or self._made(digest, hint, run)
        return index[digest]

    def _made(self, digest: str, hint: str, run: dict[str, Any]) -> RunFolder:
        content = {"schema": SCHEMA, "digest": digest, "hint": hint, "run": run}
        for name in (_name(digest, hint), f"{digest[:2]}/{digest}"):
            folder = RunFolder(self.root / name)
            folder.path.mkdir(parents=True, exist_ok=True)
            with locked(folder.path):
                if folder.digest is None:
                    write_atomic(folder.path / CONFIG, sealed(content))
                if folder.digest == digest:
                    return folder
        raise AssertionError(f"the folder {digest} holds another run")

    def _furthest(self, names: list[str]) -> str:
        """Of the folders of one run the one that is done, or has been measured most, or was begun."""

        def rank(name: str) -> tuple[Any, ...]:
            folder = self.folders[name]
            probes = [path.name for path in folder.path.glob(f"{PROBES}/*.json")]
            is_at_work = folder.holder() is not None
            measured = sum(map(folder.has_probe, probes))
            return folder.ended() is not None, measured, is_at_work, len(folder.attempts()), name

        return names[0] if len(names) == 1 else max(names, key=rank)

    def _names(self) -> Iterator[str]:
        """The folders that may be those of runs, by their names in the pool."""
        for name in _subfolders(self.root):
            if _FAN.fullmatch(name):
                yield from (f"{name}/{inner}" for inner in _subfolders(self.root / name))
            if name != PLANS:
                yield name

    def _shards(self) -> list[str]:
        try:
            return sorted(name.removesuffix(".json") for name in os.listdir(self.root / INDEX) if name[0] != ".")
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _load(self, shard: str) -> dict[str, Seen]:
        """What the index says of runs whose digests begin so, by the names of their folders."""
        try:
            seal, _, payload = (self.root / INDEX / f"{shard}.json").read_bytes().partition(b"\n")
            content = json.loads(payload) if seal.decode() == hashlib.sha256(payload).hexdigest() else {}
            if content.get("schema") != INDEX_SCHEMA:
                return {}
            return {name: Seen.from_json(data) for name, data in content["folders"].items()}
        except (OSError, ValueError):
            return {}


def _name(digest: str, hint: str) -> str:
    return f"{digest[:2]}/{hint}--{digest[:12]}"


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.name[0] != "." and _is_folder(entry))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round in circles
        return False
