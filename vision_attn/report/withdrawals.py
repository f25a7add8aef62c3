"""Withdrawals: which committed verdicts the log of results has withdrawn, limited or decided anew.

The log says it in list items of one form, with the folder of the experiment and its rules:

    - Withdrawn: `data_size` C3: budget, not data.
    - Qualified: `data_size` C2: about data at 250 images only.
    - Decided anew: `data_size` C2, C3.

Entries stand newest first, so of several items about one rule the first holds.
"""

import dataclasses
import re
from pathlib import Path

from vision_attn.spec import InputError

LOG = "LOG.md"
WORDS = ("Withdrawn", "Qualified", "Decided anew")
ITEM = re.compile(rf"- ({'|'.join(WORDS)}): `([\w.-]+)` (\w+(?:, \w+)*)(?:\.|: (.+))?")


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the log says of one verdict: one of `WORDS`, why, and the date of the entry."""

    word: str
    reason: str
    date: str

    @property
    def withdraws(self) -> bool:
        return self.word == "Withdrawn"


def read(results: Path) -> dict[tuple[str, str], Entry]:
    """What the log in a folder of results says now, by experiment folder and rule; empty where there is no log.

    Raises `InputError` for an item that begins like one of these and cannot be read, and for other than text.
    """
    path = results / LOG
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} must be text in UTF-8, as `git checkout -- {path}` restores it.") from None
    found: dict[tuple[str, str], Entry] = {}
    date = ""
    for line in _items(text):
        if line.startswith("## "):
            date = line.removeprefix("## ").partition(" · ")[0]
        elif line.startswith(tuple(f"- {word}" for word in WORDS)):
            match = ITEM.fullmatch(line)
            if match is None:
                raise InputError(
                    f"A line of {path} must be like '- Withdrawn: `data_size` C2, C3: why.' Got {line!r} instead."
                )
            word, folder, rules, reason = match.groups()
            for rule in rules.split(", "):
                found.setdefault((folder, rule), Entry(word, reason or "", date))
    return found


def _items(text: str) -> list[str]:
    """The lines of a text, with what continues a list item joined to it."""
    out: list[str] = []
    for line in text.splitlines():
        if line.startswith("  ") and line.strip() and out and out[-1].startswith("- "):
            out[-1] += f" {line.strip()}"
        else:
            out.append(line.rstrip())
    return out
