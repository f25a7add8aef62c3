"""Docstrings as they are written here, in the markup that Sphinx reads (reStructuredText)."""

import re
from collections.abc import Sequence

COLUMNS = re.compile(r"(?P<term>`?\w[\w`, ]*?)(?P<gap> {2,})(?P<text>\S.*)")
CODE = re.compile(r"(`[^`]*`)")
SIGNS = re.compile(r"\||\*+(?=\w+\b(?!\*))")


def markup(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring, with three conventions translated.

    What is indented behind a blank line is a formula, kept as it is typed; a name and its meaning, with two spaces or
    more between them, are an entry of a list, with the indented lines below; a bar is a bar, as in |x|.
    """
    out: list[str] = []
    state = "text"
    for line in lines:
        is_indented, before = line.startswith("    "), out[-1].strip() if out else ""
        if state == "formula" and (is_indented or not line.strip()):
            out.append(line)
        elif found := COLUMNS.fullmatch(line):
            out += [""] * (state != "list" and bool(before))
            out += [f"`{found['term'].replace('`', '')}`", f"    {_text(found['text'])}"]
            state = "list"
        elif state == "list" and is_indented:
            out.append(f"    {_text(line.strip())}")
        elif is_indented and out and not before:
            out += ["::", "", line] if (out[-2:] or [""])[0].strip()[-2:] != "::" else [line]
            state = "formula"
        else:
            out += [""] * (state == "list" and bool(line.strip()))
            out.append(_text(line))
            state = "text"
    return out


def _text(line: str) -> str:
    """A line with its bars escaped, and the stars that open no emphasis, as in (B, *G, N), but for those in code."""
    return "".join(part if part.startswith("`") else SIGNS.sub(_escaped, part) for part in CODE.split(line))


def _escaped(signs: re.Match[str]) -> str:
    return "".join(rf"\{sign}" for sign in signs[0])
