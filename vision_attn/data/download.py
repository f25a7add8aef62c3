"""Download of one file, verified by its checksum before it gets its name."""

import errno
import hashlib
import http.client
import logging
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from vision_attn.data.locations import MissingData
from vision_attn.spec import InputError

TIMEOUT_SECONDS = 30.0
MAX_BYTES = 2 * 2**30
_CHUNK = 2**20
_log = logging.getLogger(__name__)


def download(
    url: str, target: Path, *, expected_md5: str, remedy: str, progress: Callable[[int, int | None], None]
) -> None:
    """Fetch `url` into `target`, which appears only whole and with the right md5.

    Raises `MissingData` that ends in the remedy where there is no connection, the download breaks off or is not the
    file that was asked for.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "xb") as file:
            problem = _fetch(url, file, expected_md5=expected_md5, progress=progress)
        if problem is None:
            part.replace(target)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        problem = f"no connection or a broken one: {getattr(error, 'reason', None) or error}"
    except OSError as error:
        full = " (the disk is full)" if error.errno == errno.ENOSPC else ""
        problem = f"'{target.parent}' cannot be written: {error.strerror}{full}"
    finally:
        _discard(part)
    if problem is not None:
        raise MissingData(f"Downloading {url} failed, {problem}. {remedy}.")


def md5(path: Path) -> str:
    """md5, in hex, of a file; the checksum that the publishers of data sets give."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error


def log_progress(received: int, total: int | None) -> None:
    """Tell the log how far a download is."""
    _log.info("%d of %s bytes", received, "unknown" if total is None else total)


def _fetch(url: str, file: IO[bytes], *, expected_md5: str, progress: Callable[[int, int | None], None]) -> str | None:
    """Write what the server sends; the problem with it, or None."""
    digest = hashlib.md5(usedforsecurity=False)
    received = 0
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310  # url: from torchvision
        total = int(response.headers["Content-Length"]) if response.headers["Content-Length"] else None
        for chunk in _chunks(response):
            if received == 0 and chunk.lstrip()[:1] == b"<":
                return "a web page came instead of the file"
            received += len(chunk)
            if received > MAX_BYTES:
                return f"more than {MAX_BYTES // 2**30} GiB came"
            file.write(chunk)
            digest.update(chunk)
            progress(received, total)
    if total is not None and received != total:
        return f"{received} of {total} bytes came"
    if digest.hexdigest() != expected_md5:
        return f"the file that came has md5 {digest.hexdigest()}, not {expected_md5}"
    return None


def _chunks(response: IO[bytes]) -> Iterator[bytes]:
    while chunk := response.read(_CHUNK):
        yield chunk


def _discard(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError:
        _log.warning("%s could not be removed.", part)
