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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vision_attn.store.files import SCHEMA, refusal, sealed, write_atomic
from vision_attn.store.folder import CONFIG, RunFolder, State
from vision_attn.store.locks import locked
from vision_attn.store.seen import Seen, signature

INDEX, INDEX_SCHEMA = ".index", 1
PLANS = "plans"
"""The folder of plans in the pool, which holds no run."""

_FAN, _SHARD = re.compile("[0-9a-f]{2}"), re.compile("[0-9a-f]{2}[.]json")


class Store:
    """The pool of run folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders: dict[str, RunFolder] = {}
        """Every folder with a config.json that the last `index` has found, by its name in the pool."""
        self._refused: dict[str, OSError] = {}
        self.unread: dict[str, OSError] = {}
        """Why the last `index` could not read a folder of a run, or list one of the pool, by its name in the pool."""

    def index(self) -> dict[str, RunFolder]:
        """Every run folder with an intact config.json, by the run's digest; of several, the one that got furthest."""
        known = {name: seen for shard in self._shards() for name, seen in self._load(shard).items()}
        self.folders, self.unread, root = {}, {}, os.fspath(self.root)
        by_digest: dict[str, list[str]] = {}
        for name in self._names():
            folder = RunFolder(f"{root}/{name}", seen=known.get(name))
            try:
                found = folder.seen.look(folder.place, CONFIG, folder.read_config, keep=("digest",))
                is_run = found is not None or signature(f"{folder.place}/{CONFIG}") is not None
            except OSError as error:  # another user's, or on a bad disk: it costs this run alone
                found, is_run = None, True
                self.unread[name] = error
            folder.seen.digest = None if found is None else found["digest"]
            if folder.seen.digest is not None:
                by_digest.setdefault(folder.seen.digest, []).append(name)
            if is_run:
                self.folders[name] = folder
        self._refused = {name.rpartition("/")[2].rpartition("--")[2]: error for name, error in self.unread.items()}
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

    def unlisted(self) -> dict[str, OSError]:
        """Why folders of the pool that hold those of several runs could not be listed by `index`, by their names."""
        return {name: error for name, error in self.unread.items() if name not in self.folders}

    def absent(self, digest: str) -> State:
        """The state of a run that `index` has not found: failed for now where it may lie in what cannot be read."""
        tails = (digest, digest[:12], digest[:2]) if self.unread else ()
        error = next((self._refused[tail] for tail in tails if tail in self._refused), None)
        return State("pending") if error is None else State("failed", refusal(error))

    def find(self, digest: str) -> RunFolder | None:
        """The folder of one run, without a look at those of others; None where there is none."""
        if not (self.root / INDEX).is_dir():
            self.index()
            self.remember()
        indexed = [name for name, seen in self._load(digest[:2]).items() if seen.digest == digest]
        return self._among(digest, indexed) or self._among(digest, self._likely(digest))

    def _among(self, digest: str, names: list[str]) -> RunFolder | None:
        self.folders = {name: RunFolder(self.root / name) for name in names}
        found = [name for name, folder in self.folders.items() if folder.digest == digest]
        return self.folders[self._furthest(found)] if found else None

    def _likely(self, digest: str) -> list[str]:
        """The folders whose names end like those that are made for the run; their config.json decides."""
        ends = (f"--{digest[:12]}", digest)
        inner = [f"{digest[:2]}/{name}" for name in _subfolders(self.root / digest[:2])]
        return [name for name in [*inner, *_subfolders(self.root)] if name.endswith(ends)]

    def open(self, digest: str, *, hint: str, run: dict[str, Any], index: dict[str, RunFolder]) -> RunFolder:
        """The folder of a run, made where there is none, and put into `index`. Safe against others doing the same.

        Raises `LeaseLost` where the folder stays locked, `InputError` where its file system has no locks, `OSError`.
        """
        if digest not in index:
            index[digest] = self.find(digest) or self._made(digest, hint, run)
        return index[digest]

    def _made(self, digest: str, hint: str, run: dict[str, Any]) -> RunFolder:
        content = {"schema": SCHEMA, "digest": digest, "hint": hint, "run": run}
        blocked = None
        for name in (f"{digest[:2]}/{hint}--{digest[:12]}", f"{digest[:2]}/{digest}"):
            folder = RunFolder(self.root / name)
            folder.path.mkdir(parents=True, exist_ok=True)
            with locked(folder.path):
                if folder.digest is None:
                    try:
                        write_atomic(folder.path / CONFIG, sealed(content))
                    except IsADirectoryError as error:  # a folder has its name: the run is made beside it
                        blocked = error
                if folder.digest == digest:
                    return folder
        raise blocked or AssertionError(f"the folder {digest} holds another run")

    def _furthest(self, names: list[str]) -> str:
        """Of the folders of one run the one that is done, or has been measured most, or was begun."""

        def rank(name: str) -> tuple[Any, ...]:
            folder = self.folders[name]
            try:
                measured = sum(map(folder.has_probe, folder.probe_files()))
                return folder.ended() is not None, measured, folder.holder() is not None, len(folder.attempts()), name
            except OSError:  # another user's: what can be read comes first
                return False, -1, False, 0, name

        return names[0] if len(names) == 1 else max(names, key=rank)

    def _names(self) -> Iterator[str]:
        """The folders that may be those of runs, by their names in the pool."""
        for name in _subfolders(self.root):
            if _FAN.fullmatch(name):
                try:
                    yield from [f"{name}/{inner}" for inner in _subfolders(self.root / name)]
                except OSError as error:
                    self.unread[name] = error
                    continue
            if name != PLANS:
                yield name

    def _shards(self) -> list[str]:
        try:
            return sorted(name[:2] for name in os.listdir(self.root / INDEX) if _SHARD.fullmatch(name))
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


class Folders(Mapping[str, RunFolder]):
    """The folders of the runs of a plan by their digests, each made in the pool when it is asked for.

    `planned` gives the hint and the JSON of a run; `index` is what `Store.index` has found.
    """

    def __init__(
        self, store: Store, planned: Mapping[str, tuple[str, dict[str, Any]]], index: dict[str, RunFolder]
    ) -> None:
        self.store, self.planned, self.index = store, planned, index

    def __getitem__(self, digest: str) -> RunFolder:
        hint, run = self.planned[digest]
        return self.store.open(digest, hint=hint, run=run, index=self.index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.planned)

    def __len__(self) -> int:
        return len(self.planned)

    def attempts(self, digest: str) -> int:
        """How many attempts at a run are on record; no folder is made for it."""
        return len(self.index[digest].attempts()) if digest in self.index else 0


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
