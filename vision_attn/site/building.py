"""Building: the site is written by Sphinx, from pages that are put together in a temporary folder."""

import io
import re
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vision_attn import environment
from vision_attn.site import docstrings, gallery, pages
from vision_attn.spec import InputError

NEEDED = ("sphinx", "furo", "myst_parser")
CONFIG = {
    "project": "vision-attn",
    "author": "The vision-attn authors",
    "version": environment.own_version(),
    "release": environment.own_version(),
    "extensions": ["myst_parser", "sphinx.ext.autodoc"],
    "html_theme": "furo",
    "html_title": "vision-attn",
    "html_show_copyright": False,
    "html_copy_source": False,
    "default_role": "code",  # single backticks in docstrings are code
    "autodoc_member_order": "bysource",
    "autodoc_inherit_docstrings": False,
    "autodoc_preserve_defaults": True,  # LayerNorm, not <class '...'>, with which no signature can be read
    "python_use_unqualified_type_names": True,
    "python_maximum_signature_line_length": 88,
    "myst_heading_anchors": 2,
}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def build(output: Path) -> list[str]:
    """Write the site into a folder, whose `index.html` is its front page; the warnings, none of which there should be.

    Raises `InputError` where the packages of the extra `docs` are missing.
    """
    lacking = [name for name in NEEDED if find_spec(name) is None]
    if lacking:
        raise InputError(f"docs needs {', '.join(lacking)}. Install them by: pip install 'vision-attn[docs]'")
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    output.mkdir(parents=True, exist_ok=True)
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        source.mkdir()
        pages.write(source)
        (source / "gallery.md").write_text(gallery.page(source), encoding="utf-8")
        config = CONFIG | {"html_extra_path": [pages.EXTRA] if (source / pages.EXTRA).is_dir() else []}
        with patch_docutils(), docutils_namespace():
            app = Sphinx(
                source, None, output, Path(scratch) / "trees", "html", config, status=None, warning=said, freshenv=True
            )
            app.connect("autodoc-process-docstring", _translate)
            app.build(force_all=True)
    return [COLOURS.sub("", line) for line in said.getvalue().splitlines() if line.strip()]


def _translate(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Called by Sphinx for each docstring."""
    lines[:] = docstrings.markup(lines)
