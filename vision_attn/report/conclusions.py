"""Conclusions: what a claim comes to in words, with the verdicts that the words rest on.

`CONCLUSIONS.md` in a folder of results has a paragraph below the heading of a claim, for the table of the README; what
follows it stands on the verdict page alone. Brackets name a verdict of an experiment's folder, and its number as the
verdict page prints it:

    ## C2

    With 1,000 images it is far behind (`data_size` C2.4, supports: −20.1 [−20.8, −19.5] points).

A part of a rule that contradicts by itself, but not corrected for the number of parts, is "contradicts uncorrected".
They are shown as long as all verdicts and numbers are those of the committed tables.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self, get_args

from vision_attn.report.shown import UNCORRECTED, shown
from vision_attn.spec import InputError
from vision_attn.verdicts.base import Answer

FILE = "CONCLUSIONS.md"
REFERENCE = re.compile(rf"\(`([\w.-]+)` ([^()`]+?), ({'|'.join(get_args(Answer))})( {UNCORRECTED})?(?:: ([^()`]+))?\)")
BLANK = "\n\n"
FORM = "(`data_size` C2.4, supports: −20.1 [−20.8, −19.5] points)"


@dataclasses.dataclass(frozen=True)
class Reference:
    """A verdict of one rule, or part of a rule, with its number as text; empty where the rule has none of its own.

    `is_uncorrected` and `is_exact` are how the verdict came about, and no part of what it is.
    """

    folder: str
    rule: str
    verdict: str
    effect: str
    is_uncorrected: bool = dataclasses.field(default=False, compare=False)
    is_exact: bool = dataclasses.field(default=False, compare=False)

    def __str__(self) -> str:
        mark = f" {UNCORRECTED}" * self.is_uncorrected
        return f"{self.folder} {self.rule}, {self.verdict}{mark}" + (f": {self.effect}" if self.effect else "")

    @property
    def told(self) -> str:
        """What stands for it in a sentence: its number, or its verdict."""
        return self.effect or shown(self.verdict, is_exact=self.is_exact)


@dataclasses.dataclass(frozen=True)
class Conclusion:
    """The words about one claim, in order; a `Reference` stands where they name a verdict.

    A text that holds a blank line ends a paragraph there.
    """

    pieces: tuple[str | Reference, ...]

    @property
    def paragraphs(self) -> list[list[str | Reference]]:
        """The pieces of every paragraph."""
        found: list[list[str | Reference]] = [[]]
        for piece in self.pieces:
            first, *others = [piece] if isinstance(piece, Reference) else piece.split(BLANK)
            found[-1].append(first)
            found += [[one] for one in others]
        return found

    @property
    def references(self) -> list[Reference]:
        return [piece for piece in self.pieces if isinstance(piece, Reference)]

    def with_references(self, known: Mapping[Reference, Reference]) -> Self:
        """The same with what is known of its references."""
        pieces = (known.get(piece, piece) if isinstance(piece, Reference) else piece for piece in self.pieces)
        return dataclasses.replace(self, pieces=tuple(pieces))

    def markdown(self, link: str, *, page: str, claim: str) -> str:
        """The first paragraph with numbers that link to their pages; `link` is the address of the folder of results.

        `page` is that of the verdict page, which has the rest beside the claim, and says what "uncorrected" means.
        """
        first, *others = self.paragraphs
        text = "".join(
            piece
            if isinstance(piece, str)
            else f"([{piece.told}]({link}/{piece.folder}/report.html)"
            + f", [{UNCORRECTED}]({page}#{UNCORRECTED})" * piece.is_uncorrected
            + ")"
            for piece in first
        )
        return f"{text} [More]({page}#{claim})." if others else text


def read(results: Path) -> dict[str, Conclusion]:
    """The conclusions in a folder of results, by claim; empty where it has none.

    Raises `InputError` for a paragraph that names no verdict or cannot be read, for two about one claim, and for other
    than text.
    """
    path = results / FILE
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} must be text in UTF-8, as `git checkout -- {path}` restores it.") from None
    _, *sections = re.split(r"^## +", text, flags=re.MULTILINE)
    found: dict[str, Conclusion] = {}
    for section in sections:
        heading, _, words = section.partition("\n")
        claim = heading.strip()
        if claim in found:
            raise InputError(f"{path} must have one section a claim. Got two about {claim}.")
        paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", words.strip())]
        found[claim] = _conclusion(paragraphs, f"{path}, {claim},")
    return found


def _conclusion(paragraphs: list[str], where: str) -> Conclusion:
    words = BLANK.join(paragraphs)
    if words.count("(`") != len(REFERENCE.findall(words)) or not REFERENCE.search(paragraphs[0]):
        raise InputError(f"{where} must name the verdicts that it rests on, each like {FORM}. Got {words!r} instead.")
    texts = REFERENCE.split(words)[:: REFERENCE.groups + 1]
    references = [
        Reference(folder, rule, verdict, effect or "", is_uncorrected=bool(mark))
        for folder, rule, verdict, mark, effect in (match.groups() for match in REFERENCE.finditer(words))
    ]
    pieces: list[str | Reference] = [texts[0]]
    for reference, after in zip(references, texts[1:], strict=True):
        pieces += [reference, after]
    return Conclusion(tuple(piece for piece in pieces if piece))
