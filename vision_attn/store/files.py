"""Files that are written whole or not at all, sealed with their own sha256 where they are JSON."""

import errno
import gzip
import hashlib
import json
import os
import secrets
import zlib
from pathlib import Path
from typing import Any

from vision_attn.spec import InputError, json_sha256

SCHEMA = 1
"""The format of the files of a run. What is of a later one is refused, never read half."""

OF_TEXT = "text_sha256"
"""The field of a long sealed file that has the sha256 of the text before it."""

UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What a file system says of a request that it does not know."""


BLOCKED = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY)
"""What it says where a file stands in the place of a folder, or a folder in that of a file."""

UNREADABLE = (
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    ValueError,
    AttributeError,
    KeyError,
    TypeError,
    RecursionError,
    IsADirectoryError,
)
"""What reading sealed JSON raises where the bytes are others than `write_json` wrote."""


class DamagedFile(Exception):
    """A file of the store is torn, altered or of another format."""


def refusal(error: OSError) -> str:
    """What the system refused, and of which file; which of two kinds is in the way where they are mixed up."""
    place = Path(error.filename2 or error.filename or "the output")
    if error.errno in BLOCKED:
        there = next((one for one in (place, *place.parents) if os.path.lexists(one)), place)
        if not there.is_dir():
            return f"'{there}' is a file where a folder is wanted: move it away or rename it"
        if there == place:
            return f"'{place}' is a folder where a file is wanted: move it away or rename it"
    return f"{error.strerror or error}: '{place}'"


def write_atomic(path: Path, payload: bytes, *, durable: bool = True) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new, nothing between.

    What is not `durable` may be lost with the power, or be torn by it: only for what can be made again.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(payload)
            file.flush()
            if durable:
                sync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # a write does not say of which file it is, opening one names the temporary
            error.filename, error.filename2 = str(path), None
        raise
    if durable:
        sync_folder(path.parent)


def sync(handle: int) -> None:
    """Have the file system keep what was written, as far as it can be asked to."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def sync_folder(folder: Path) -> None:
    """Have the file system keep the names in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        sync(handle)
    finally:
        os.close(handle)


def sealed(content: dict[str, Any], *, by_entry: bool = False) -> bytes:
    """JSON of the content with its own sha256, for people and for `read_json`.

    `by_entry`: each entry of its lists and mappings on one line, which for long content is ten times as fast. There
    stands a second sha256, of the text up to it: it is checked in a thirtieth of the time.
    """
    if by_entry:
        text = _by_entry(content).encode(errors="surrogatepass")  # `json_sha256` refuses them, in a sentence
        of_text = hashlib.sha256(text).hexdigest()
        return text + _seals(of_text, json_sha256({**content, OF_TEXT: of_text}))
    whole = {**content, "sha256": json_sha256(content)}
    return (json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _seals(of_text: Any, of_content: Any) -> bytes:
    """The end of a long sealed file."""
    return f',\n "{OF_TEXT}": "{of_text}",\n "sha256": "{of_content}"\n}}\n'.encode()


def _is_intact(payload: bytes, content: dict[str, Any]) -> bool:
    """Whether one of the seals holds, which are taken out of the content."""
    of_content, of_text = content.pop("sha256"), content.get(OF_TEXT)
    seals = _seals(of_text, of_content)
    if payload.endswith(seals) and hashlib.sha256(memoryview(payload)[: -len(seals)]).hexdigest() == of_text:
        del content[OF_TEXT]
        return True
    holds = bool(of_content == json_sha256(content))
    content.pop(OF_TEXT, None)
    return holds


def _by_entry(content: dict[str, Any]) -> str:
    """The content as text, but for its last line."""
    text = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

    def entries(value: Any) -> str:
        if isinstance(value, dict) and value:
            return "{\n  " + ",\n  ".join(f"{text(name)}: {text(one)}" for name, one in value.items()) + "\n }"
        if isinstance(value, list) and value:
            return "[\n  " + ",\n  ".join(map(text, value)) + "\n ]"
        return text(value)

    return "{\n" + ",\n".join(f" {text(name)}: {entries(value)}" for name, value in content.items())


def write_json(path: Path, content: dict[str, Any], *, by_entry: bool = False) -> None:
    """Write sealed JSON atomically, by gzip where the name ends so. Raises `ValueError` on NaN and infinity."""
    write_sealed(path, sealed(content, by_entry=by_entry))


def write_sealed(path: Path, payload: bytes) -> None:
    """Write what `sealed` gave atomically, by gzip where the name ends so."""
    write_atomic(path, gzip.compress(payload, mtime=0) if path.suffix == ".gz" else payload)


def read_bytes(path: Path | str) -> bytes:
    """The content of a file, read without a buffer, which takes a fifth less time: 100,000 runs have 400,000 files."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


def read_json(path: Path | str) -> dict[str, Any]:
    """What `write_json` has written. Raises `FileNotFoundError`, and `DamagedFile` where the seal does not hold."""
    try:
        payload = read_bytes(path)
        payload = gzip.decompress(payload) if str(path).endswith(".gz") else payload
        content = json.loads(payload.decode())
        intact = _is_intact(payload, content)
    except UNREADABLE:
        intact = False
    if not intact:
        raise DamagedFile(f"{path} is damaged: its content does not match its checksum.")
    return content


def has_known_schema(content: dict[str, Any], path: str) -> bool:
    """Whether the content says that it is of a format known here. Raises `InputError` where it is of a later one."""
    schema = content.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int):
        return False
    if schema > SCHEMA:
        raise InputError(
            f"schema of '{path}' must be at most {SCHEMA}: it was written by a later version of vision-attn. "
            f"Got {schema} instead."
        )
    return schema >= 1


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a torn or altered line is left out, a missing file has none."""
    try:
        return rows_of(path.read_bytes())
    except FileNotFoundError:
        return []


def rows_of(content: bytes) -> list[dict[str, Any]]:
    """The rows of JSON lines; a torn or altered one is left out."""
    rows = []
    for line in content.splitlines():
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def sha256_of(path: Path) -> str | None:
    """sha256, in hex, of a file; None where there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def probe_file(probe: dict[str, Any]) -> str:
    """The name of the file in `probes/` that holds the records of a probe, given as JSON."""
    return f"{probe['kind']}-{json_sha256(probe)[:12]}.json"
