"""The documentation as a site: its pages, its gallery, and the build as a whole."""

import html
import inspect
import re
from pathlib import Path
from urllib.parse import unquote

import documents
import pytest

from vision_attn import figures
from vision_attn.cli.command import execute
from vision_attn.figures import Figure
from vision_attn.site import build, building, docstrings, gallery, pages
from vision_attn.spec import kinds


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    pages.write(folder)
    return folder


def test_every_page_is_on_the_site_and_in_its_contents(source):
    contents = (source / "index.md").read_text().split("\n")
    for path in documents.PAGES.glob("*.md"):
        assert (source / path.name).is_file()
        assert path.stem in contents


def test_what_pages_link_outside_of_the_package_is_copied_or_a_mere_text(source):
    targets = [name for path in documents.PAGES.glob("*.md") for name in documents.links(path)]
    text = "\n".join(path.read_text() for path in source.glob("*.md"))
    assert "](../" not in text
    files = {name for name in targets if name.startswith(("results/", "experiments/")) and Path(name).suffix}
    copied = {name for name in files if (source / pages.EXTRA / pages.FILES / name).is_file()}
    assert "results/distance/figures/RecallByDistance.png" in copied
    assert {name for name in files - copied if not name.endswith(".gz")} == set()
    assert set(re.findall(r'href="files/([^"]+)"', text)) <= copied


def test_the_experiments_ask_the_questions_of_their_files(source):
    asked = (source / "asked.md").read_text()
    for path in (documents.ROOT / "experiments").glob("*.py"):
        assert f"vision-attn run experiments/{path.name}" in asked
    assert "## How does self-attention compare with convolution on a few thousand digits" in asked


def test_the_reference_has_every_public_package(source):
    package = documents.ROOT / "vision_attn"
    public = {path.parent.name for path in package.glob("*/__init__.py") if "__all__ = [" in path.read_text()}
    inner = {"cli", "site", "store", "executors", "bench"}
    assert public - inner <= set(pages.WHOLE)
    assert {path.stem for path in (source / "api").glob("*.rst")} == {
        f"vision_attn.{name}" for name in (*pages.WHOLE, *pages.NAMED)
    }


def test_the_gallery_has_every_figure_and_its_lines_make_it():
    shown = gallery.examples()
    assert {type(figure) for figure in shown.values()} == {
        kind
        for kind in kinds(Figure).values()
        if kind.__module__.startswith("vision_attn.") and hasattr(figures, kind.__name__)
    }
    for name, figure in shown.items():
        lines = gallery.lines(figure)
        assert lines.startswith(f"{name}(")
        assert eval(lines, dict(vars(figures))) == figure


@pytest.mark.parametrize("name", ["LearningCurve", "ErfMap"])
def test_a_figure_of_the_gallery_says_that_it_is_made_up(name):
    assert "made-up images" in gallery.examples()[name].plot(gallery.records_for(name)).caption


def test_docstrings_are_translated_to_the_markup_of_sphinx():
    written = """What it is, of |x|, and *never* of (B, *G, N) or **options, `*G`.

    With

        y = |x|
          + 1

    for every `|x|`.

    name, other    what it means,
                   on two lines
    `third`  |q|

    The end.
    """
    assert docstrings.markup(inspect.cleandoc(written).splitlines()) == [
        "What it is, of \\|x\\|, and *never* of (B, \\*G, N) or \\*\\*options, `*G`.",
        *("", "With", "", "::", "", "    y = |x|", "      + 1", "", "for every `|x|`.", ""),
        *("`name, other`", "    what it means,", "    on two lines", "`third`", "    \\|q\\|", "", "The end."),
    ]


def test_without_the_extra_one_sentence_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(building, "find_spec", lambda name: None)
    assert execute(["docs", "--output", str(tmp_path / "site")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said == ("Error: docs needs sphinx, furo, myst_parser. Install them by: pip install 'vision-attn[docs]'")
    assert not (tmp_path / "site").exists()


@pytest.mark.slow
def test_the_whole_site_is_built_without_a_warning_and_without_a_dead_link(tmp_path):
    pytest.importorskip("sphinx")
    assert build(tmp_path) == []
    found = sorted(path for path in tmp_path.rglob("*.html") if pages.FILES not in path.parts)
    dead = []
    for path in found:
        for link in re.findall(r'(?:href|src)="([^"]+)"', path.read_text()):
            target = unquote(re.sub(r"[?#].*", "", html.unescape(link)))
            if target and not re.match(r"[a-z]+:|//", target) and not (path.parent / target).exists():
                dead.append((path.name, link))
    assert dead == []
    assert "Attention" in (tmp_path / "api" / "vision_attn.layers.html").read_text()
    assert len(list((tmp_path / "_images").glob("*.svg"))) == len(gallery.examples())
