"""Paths as they are typed: what cannot be one is refused before anything is made of it."""

import os
from pathlib import Path
from typing import Any

import typer

from vision_attn.spec import InputError

LONGEST_NAME, LONGEST_PATH = 255, 4000
"""In bytes: what file systems take, less room for the names of what is written there."""


def usable(option: typer.CallbackParam, value: Any) -> Any:
    """Every path of an option or argument, unless the system cannot even ask for it: too long, a loop of links."""
    for path in value if isinstance(value, list | tuple) else [value]:
        if path is not None:
            _check(_name(option), path)
    return value


def folder(option: typer.CallbackParam, value: Path | None) -> Path | None:
    """A folder, or the place of a new one."""
    usable(option, value)
    if value is not None and not (there := _there(value)).is_dir():
        what = "a link to nothing" if there.is_symlink() and not there.exists() else "no folder"
        given = f"'{value}', which" if there == value.absolute() else f"'{value}', where '{there}'"
        raise InputError(f"{_name(option)} must be a folder, or the place of a new one. Got {given} is {what}.")
    return value


def kept_folder(option: typer.CallbackParam, value: Path | None) -> Path | None:
    """A folder to read from, which is there: a slip of the hand must not pass for an empty one."""
    usable(option, value)
    if value is not None and not value.is_dir():
        raise InputError(f"{_name(option)} must be a folder that is there. Got '{value}' instead.")
    return value


def file(option: typer.CallbackParam, value: Path | None) -> Path | None:
    """A file to write, new or there already: what is written takes its place, so a device or a folder is refused."""
    usable(option, value)
    if value is not None and (value.exists() or value.is_symlink()) and not value.is_file():
        raise InputError(f"{_name(option)} must be a file, or the place of a new one. Got '{value}', which is no file.")
    if value is not None and not (above := _there(value.absolute().parent)).is_dir():
        raise InputError(f"{_name(option)} must lie in a folder. Got '{value}', where '{above}' is none.")
    return value


def require_writable(field: str, path: Path) -> None:
    """Raise `InputError` where nothing can be written into a folder, or where it would be made."""
    there = _there(path)
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{field} must be a folder that can be written. '{there}' cannot.")


def _name(option: typer.CallbackParam) -> str:
    return str(option.name).replace("_", "-")


def _there(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    whole = path.absolute()
    return next(one for one in (whole, *whole.parents) if os.path.lexists(one))


def _check(field: str, path: Path) -> None:
    names = [os.fsencode(part) for part in path.absolute().parts]
    if max(map(len, names)) > LONGEST_NAME or sum(map(len, names)) + len(names) > LONGEST_PATH:
        allowed = f"at most {LONGEST_NAME} bytes a name and {LONGEST_PATH} in all"
        raise InputError(f"{field} must be a path of {allowed}. Got '{str(path)[:80]}...' instead.")
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InputError(f"{field} must be a path that can be followed. Got '{path}': {error.strerror}.") from None
