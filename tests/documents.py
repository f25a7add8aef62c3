"""What is written about the project for its users: the README and the pages in the package."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "vision_attn" / "pages"
README = ROOT / "README.md"
FILES = (README, *sorted(PAGES.glob("*.md")))


def links(path):
    """The files that a page links or shows, from the root of the project."""
    found = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", path.read_text())
    return [str((path.parent / target).resolve().relative_to(ROOT)) for target in found]


def blocks(path, language="python"):
    """The blocks of code of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE)
