"""What was found in a run folder, and by which files: it holds as long as these are the same files, unchanged."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Self

Signature = tuple[int, int, int]


def signature(path: str) -> Signature | None:
    """Size, time of the last change and number of a file, which another content would have to share; None: no file."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


@dataclasses.dataclass(slots=True)
class Seen:
    """The run's digest, and of every file that was found intact its signature and what is kept of its content.

    Files are kept as they stand in the index, of which 100,000 runs have 400,000: size, time, number, content.
    """

    digest: str | None = None
    files: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    is_new: bool = False
    """Whether something was seen that is not in the index yet."""

    def look(
        self, folder: str, name: str, read: Callable[[], dict[str, Any] | None], *, keep: Sequence[str] = ()
    ) -> dict[str, Any] | None:
        """What is kept of a file's content, which `read` returns; None where there is none that is intact."""
        try:
            now = os.stat(f"{folder}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        known = self.files.get(name)
        if known and known[0] == now.st_size and known[1] == now.st_mtime_ns and known[2] == now.st_ino:
            return known[3]
        content = read()
        if content is None:
            return None
        kept = {field: content.get(field) for field in keep}
        self.files[name] = [now.st_size, now.st_mtime_ns, now.st_ino, kept]
        self.is_new = True
        return kept

    def to_json(self) -> list[Any]:
        return [self.digest, self.files]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        digest, files = data
        return cls(digest, files)
