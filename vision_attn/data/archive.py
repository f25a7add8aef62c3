"""The files of a tar or zip archive, read as a stream and never written to disk, with bounds on everything.

Refused with one sentence: names that leave the archive, links, devices, names given twice, and more bytes or members
than a data set that fits in memory can have.
"""

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vision_attn.spec import InputError

MAX_MEMBERS = 2_000_000
MAX_MEMBER_BYTES = 64 * 2**20
MAX_TOTAL_BYTES = 32 * 2**30
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_READ_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    UnicodeDecodeError,
    ValueError,
)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\\\\]")


class Member(NamedTuple):
    """A file of an archive, by the parts of its name, or a folder, which has no content."""

    parts: tuple[str, ...]
    content: bytes | None

    @property
    def name(self) -> str:
        return "/".join(self.parts)


def members(path: Path) -> Iterator[Member]:
    """The folders and plain files of an archive, in its order. Raises `InputError` on the first that is not safe."""
    seen: set[tuple[str, ...]] = set()
    source = _zip_members(path) if _magic(path).startswith(b"PK") else _tar_members(path)
    while True:
        try:
            member = next(source, None)
        except InputError:
            raise
        except _READ_ERRORS as error:
            reason = str(error) or type(error).__name__
            raise InputError(f"'{path}' must be a whole tar or zip archive. Reading it failed: {reason}.") from error
        if member is None:
            return
        if member.content is not None and member.parts in seen:
            raise InputError(f"'{path}' holds {member.name!r} twice; every file must have a name of its own.")
        seen.add(member.parts)
        yield member


def is_hidden(parts: tuple[str, ...]) -> bool:
    """Whether a file is one that systems leave behind: dot files, __MACOSX, Thumbs.db, desktop.ini."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or (
        bool(parts) and parts[-1].lower() in ("thumbs.db", "desktop.ini")
    )


def _magic(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(6)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error


def safe_parts(name: str, path: Path) -> tuple[str, ...]:
    """The parts of a member's name, where it is one that stays inside the archive."""
    if _UNPRINTABLE.search(name):
        raise InputError(f"'{path}' holds the name {name!r}; names must be plain text with '/' between folders.")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts:
        raise InputError(f"'{path}' holds the name {name!r}, which leaves the archive.")
    return parts


def _require_bounds(path: Path, name: str, *, count: int, size: int) -> None:
    if count > MAX_MEMBERS:
        raise InputError(f"'{path}' must hold at most {MAX_MEMBERS} files. It holds more.")
    if not 0 <= size <= MAX_MEMBER_BYTES:
        raise InputError(f"{name!r} in '{path}' must be at most {MAX_MEMBER_BYTES // 2**20} MiB. It says {size} bytes.")


def _not_plain(path: Path, name: str, kind: str) -> InputError:
    return InputError(f"{name!r} in '{path}' is {kind}; an archive of images must hold only folders and plain files.")


def _tar_members(path: Path) -> Iterator[Member]:
    opener: dict[bytes, type[gzip.GzipFile] | type[bz2.BZ2File] | type[lzma.LZMAFile]]
    opener = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File, b"\xfd7zXZ": lzma.LZMAFile}
    magic = _magic(path)
    make = next((make for start, make in opener.items() if magic.startswith(start)), None)
    with make(path) if make else open(path, "rb") as raw:
        stream = _Forward(raw, path)
        with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
            count = 0
            while (member := tar.next()) is not None:
                tar.members = []  # tarfile would keep the header of every member
                count += 1
                yield _tar_member(member, stream, path, count)
            if stream.last_read.strip(b"\0") or not stream.last_read:
                raise EOFError("it ends before its end mark")
            while stream.read(2**20):  # to the end, where the compressed forms keep their checksum
                pass


def _tar_member(member: tarfile.TarInfo, stream: "_Forward", path: Path, count: int) -> Member:
    _require_bounds(path, member.name, count=count, size=member.size)
    if member.issym() or member.islnk():
        raise _not_plain(path, member.name, "a link")
    if member.isdir():
        return Member(safe_parts(member.name, path), None)
    if not member.isreg() or member.issparse():
        raise _not_plain(path, member.name, "a device, pipe or sparse file")
    stream.seek(member.offset_data)
    content = stream.read(member.size)
    if len(content) < member.size:
        raise EOFError(f"it ends within {member.name!r}")
    return Member(safe_parts(member.name, path), content)


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        total = 0
        for count, info in enumerate(archive.infolist(), start=1):
            name = info.orig_filename
            _require_bounds(path, name, count=count, size=info.file_size)
            total += info.file_size
            _require_total(path, total)
            mode = stat.S_IFMT(info.external_attr >> 16)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _not_plain(path, name, "a link" if mode == stat.S_IFLNK else "a device or pipe")
            if info.flag_bits & 1:
                raise InputError(f"{name!r} in '{path}' is encrypted; an archive of images must not be.")
            parts = safe_parts(name, path)
            yield Member(parts, None if info.is_dir() else archive.read(info))


def _require_total(path: Path, total: int) -> None:
    if total > MAX_TOTAL_BYTES:
        raise InputError(f"'{path}' must unpack to at most {MAX_TOTAL_BYTES // 2**30} GiB. It holds more.")


class _Forward:
    """A decompressed stream for `tarfile`: read once from front to back, so that its total and each read are bounded.

    The one step back allowed is by the byte read last, which `tarfile` takes to see whether a member is whole.
    """

    def __init__(self, stream: io.BufferedIOBase, path: Path) -> None:
        self._stream, self._path = stream, path
        self._position, self._last, self._again = 0, b"", b""
        self.last_read = b""

    def tell(self) -> int:
        return self._position - len(self._again)

    def seek(self, target: int) -> None:
        if target == self._position - 1 and self._last:
            self._again = self._last
            return
        if target < self.tell():
            raise tarfile.ReadError("its headers point backwards")
        while self.tell() < target and self.read(min(target - self.tell(), 2**20)):
            pass

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_MEMBER_BYTES:
            raise tarfile.ReadError(f"a header asks for {size} bytes at once")
        if size == 0:
            return b""
        kept, self._again = self._again, b""
        content = self._stream.read(size - len(kept))
        self._position += len(content)
        _require_total(self._path, self._position)
        self._last = content[-1:] or self._last
        self.last_read = kept + content
        return self.last_read
