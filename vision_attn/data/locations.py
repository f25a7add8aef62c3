"""Where data are looked for, and where what was decoded or downloaded is kept."""

import os
from pathlib import Path

from vision_attn.spec import InputError


class MissingData(InputError):
    """A data set is not here, and can be brought here: what it was asked for may be right."""


def data_dirs() -> list[Path]:
    """The folders named in VISION_ATTN_DATA, in that order, once each; they hold data sets and their archives."""
    named = dict.fromkeys(os.environ.get("VISION_ATTN_DATA", "").split(os.pathsep))
    return [Path(folder).expanduser() for folder in named if folder]


def cache_dir() -> Path:
    """$VISION_ATTN_CACHE, else $XDG_CACHE_HOME/vision-attn, else ~/.cache/vision-attn. It need not exist."""
    if chosen := os.environ.get("VISION_ATTN_CACHE"):
        return Path(chosen).expanduser().absolute()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (shared if shared.is_absolute() else Path("~/.cache").expanduser()) / "vision-attn"


def is_offline() -> bool:
    """Whether VISION_ATTN_OFFLINE forbids downloads."""
    return os.environ.get("VISION_ATTN_OFFLINE", "") not in ("", "0")
