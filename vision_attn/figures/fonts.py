"""Fonts: letters that the font of a figure lacks come from other fonts of the machine; what none has is told."""

import functools
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

FONT = "DejaVu Sans"
"""What text is written in; it comes with matplotlib."""
OTHERS = (
    (
        *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "PingFang SC"),
        *("Hiragino Sans GB", "Microsoft YaHei", "SimHei", "Heiti TC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
    ),
    ("Noto Sans CJK KR", "Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic"),
    ("Noto Sans Devanagari", "Mangal", "Lohit Devanagari"),
    ("Noto Sans Thai", "Loma", "Tahoma"),
    ("Noto Sans", "Arial Unicode MS", "Unifont"),
)
"""Fonts with letters that it lacks; of every group the first that there is."""


@functools.cache
def families() -> tuple[str, ...]:
    """The font of figures, and those of the others that this machine has."""
    installed = set(font_manager.get_font_names())
    found = (next((name for name in group if name in installed), None) for group in OTHERS)
    return (FONT, *filter(None, found))


@functools.cache
def _letters() -> frozenset[int]:
    """Every letter that one of the fonts has."""
    files = (font_manager.findfont(FontProperties(family=[name])) for name in families())
    return frozenset().union(*(font_manager.get_font(file).get_charmap() for file in files))


def unknown(texts: Iterable[str]) -> str:
    """The letters of some texts that no font has, in order, each once."""
    return "".join(
        dict.fromkeys(one for text in texts for one in text if one.isprintable() and ord(one) not in _letters())
    )


def tell(sheet: Artist) -> None:
    """Warn once of the letters of a sheet that no font has, in the place of a warning for each of them."""
    texts = [text.get_text() for text in sheet.findobj(Text) if isinstance(text, Text)]
    if letters := unknown(texts):
        some = ", ".join(letters[:5]) + (" and others" if len(letters) > 5 else "")
        warnings.warn(
            f"No font of this machine has {some}: they are boxes in PNG and PDF, and text in SVG. Install one that has "
            "them, such as Noto Sans CJK, and delete matplotlib's list of fonts (`matplotlib.get_cachedir()`).",
            stacklevel=3,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without matplotlib's warnings of single letters, and of fonts that have one weight only."""
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph ", UserWarning)
            yield
    finally:
        log.setLevel(level)
