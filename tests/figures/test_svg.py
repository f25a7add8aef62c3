"""SVG in fewer bytes draws the same."""

import io
import re
import urllib.parse
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from vision_attn.figures import svg, theme

RESULTS = Path(__file__).parents[2] / "results"
NUMBER = r"-?\d+\.?\d*"


@pytest.fixture(scope="module")
def drawing():
    """A figure of what figures are made of: text, marks, lines, colours by value, clipped parts."""
    with theme.style():
        figure = Figure(figsize=(4, 3))
        left, right = figure.subplots(1, 2)
        left.plot([1, 2, 3], [0.1, 0.7, 0.35], marker="o", label="a & b <c>")
        left.fill_between([1, 2, 3], 0, [0.1, 0.7, 0.35], alpha=0.3)
        left.scatter([1, 2], [0.2, 0.4], s=9)
        left.legend()
        right.imshow(np.arange(6).reshape(2, 3))
        right.set_title("50 % 'quoted' #1")
        return figure


@pytest.fixture(scope="module")
def before(drawing):
    with theme.style(), mpl.rc_context({"svg.hashsalt": "vision-attn"}):
        buffer = io.BytesIO()
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()


def shapes(drawing):
    """Every path and text in the order drawn, as often as it is used: its geometry, style, clipping and place."""
    root = ElementTree.fromstring(drawing)
    by_id = {element.get("id"): element for element in root.iter() if element.get("id")}
    out = []

    def visit(element, matrix, style):
        matrix = matrix @ matrix_of(element)
        style = style + re.sub(r"\s", "", element.get("style") or "")
        tag = element.tag.partition("}")[2]
        if tag == "use":
            target = by_id[element.get(svg.HREF).removeprefix("#")]
            at = np.eye(3)
            at[:2, 2] = float(element.get("x", 0)), float(element.get("y", 0))
            visit(target, matrix @ at, style)
        elif tag == "path":
            flat = [float(number) for number in re.findall(NUMBER, element.get("d") or "")]
            letters = re.sub(r"[\d\s.-]", "", element.get("d") or "")
            out.append((letters, style, element.get("clip-path") is not None, np.array(flat), matrix))
        elif tag == "text":
            place = np.array([float(element.get(name, 0)) for name in "xy"])
            out.append((element.text, re.sub("font-family:[^;]*;?", "", style), False, place, matrix))
        if tag not in ("defs", "clipPath"):
            for child in element:
                visit(child, matrix, style)

    visit(root, np.eye(3), "")
    return out


def matrix_of(element):
    matrix = np.eye(3)
    for name, inner in re.findall(r"(\w+)\(([^)]*)\)", element.get("transform") or ""):
        numbers = np.array(inner.split(), float)
        step = np.eye(3)
        if name == "translate":
            step[:2, 2] = numbers
        elif name == "scale":
            step[0, 0], step[1, 1] = numbers[0], numbers[-1]
        elif name == "rotate":
            angle = np.deg2rad(numbers[0])
            step[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            step[:2, 2] = numbers[1:] - step[:2, :2] @ numbers[1:] if len(numbers) == 3 else 0
        else:
            raise ValueError(name)
        matrix = matrix @ step
    return matrix


def test_every_shape_keeps_its_place_its_style_and_its_order(before):
    old, new = shapes(before), shapes(svg.compact(before))
    assert len(old) == len(new) > 50
    for (letters, style, clipped, flat, matrix), other in zip(old, new, strict=True):
        assert (letters, style, clipped) == other[:3]
        pairs = [np.c_[one.reshape(-1, 2), np.ones(len(one) // 2)] @ m.T for one, m in ((flat, matrix), other[3:])]
        assert np.abs(pairs[0] - pairs[1]).max(initial=0) <= 0.0151  # of a point: a shape and its place


def test_what_the_drawing_says_of_joins_reaches_every_mark_and_a_group_can_say_other(before):
    small = ElementTree.fromstring(svg.compact(before))
    (rules,) = (element.text for element in small.iter(f"{{{svg.SVG}}}style"))
    assert rules == "svg{stroke-linejoin: round; stroke-linecap: butt}"
    groups = [element for element in small.iter(f"{{{svg.SVG}}}g") if "stroke-line" in (element.get("style") or "")]
    assert groups
    assert all(len(group) > 1 for group in groups)


def test_text_is_as_long_as_it_was_measured_in_whatever_font_it_is_seen(drawing, before):
    small = ElementTree.fromstring(svg.compact(before))
    assert small.get("font-family") == "DejaVu Sans, Verdana, sans-serif"
    texts = {text.text: text for text in small.iter(f"{{{svg.SVG}}}text")}
    assert {"a & b <c>", "50 % 'quoted' #1", "0.7"} <= set(texts)
    large = RendererAgg(10, 10, dpi=7200)
    with theme.style():
        for text in drawing.findobj(Text):
            if text.get_text() in texts:
                wide, *_ = large.get_text_width_height_descent(text.get_text(), text.get_fontproperties(), ismath=False)
                assert float(texts[text.get_text()].get("textLength")) == pytest.approx(wide / 100, rel=0.01)
                assert texts[text.get_text()].get("lengthAdjust") == "spacingAndGlyphs"


def test_a_font_of_ones_own_stays_and_has_its_own_length():
    with theme.style():
        figure = Figure(figsize=(2, 2))
        figure.text(0.5, 0.5, "iiii", family="monospace")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg")
    (text,) = ElementTree.fromstring(svg.compact(buffer.getvalue())).iter(f"{{{svg.SVG}}}text")
    assert "monospace" in text.get("style")
    assert text.get("textLength") is None


def test_a_formula_keeps_a_place_for_every_letter():
    with theme.style():
        figure = Figure(figsize=(2, 2))
        figure.text(0.5, 0.5, "$10^{3}$")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg")
    letters = list(ElementTree.fromstring(svg.compact(buffer.getvalue())).iter(f"{{{svg.SVG}}}tspan"))
    assert [letter.text for letter in letters] == ["1", "0", "3"]
    assert len({letter.get("x") for letter in letters}) == 3


def test_it_is_smaller_by_a_third_and_holds_nothing_that_is_not_drawn(before):
    small = svg.compact(before)
    assert len(small) < 2 / 3 * len(before)
    assert b"metadata" not in small
    assert b"<!--" not in small


def test_what_is_pointed_to_is_there_once_and_nothing_else_has_a_name(before):
    small = svg.compact(before).decode()
    ids = re.findall(r' id="([^"]+)"', small)
    used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', small)
    assert len(ids) == len(set(ids))
    assert set(ids) == {one or other for one, other in used}


def test_an_image_keeps_every_byte(before):
    pattern = rb'<image[^>]*href="(data:[^"]+)"'
    (old,), (new,) = re.findall(pattern, before), re.findall(pattern, svg.compact(before))
    assert re.sub(rb"\s", b"", old) == re.sub(rb"\s", b"", new)


def test_the_address_of_a_drawing_gives_it_back_and_is_safe_in_an_attribute(before):
    small = svg.compact(before)
    address = svg.address(small)
    assert not set('"&#\n') & set(address)
    head, _, rest = address.partition(",")
    assert head == "data:image/svg+xml"
    back, there = ElementTree.fromstring(urllib.parse.unquote(rest)), ElementTree.fromstring(small)
    styles = back[0]
    assert styles.tag == f"{{{svg.SVG}}}style"
    back.remove(styles)
    shared = dict(re.findall(r"\.(\w+){([^}]*)}", styles.text))
    for element in back.iter():
        given = {"class": "style"}
        element.attrib = {
            given.get(name, name): shared[value] if name in given else value for name, value in element.attrib.items()
        }
    assert len(rest) < 0.9 * len(svg.address(small.replace(b"style=", b"Style=")))
    for element in there.iter():
        if svg.HREF in element.attrib:
            element.attrib = {"href" if name == svg.HREF else name: value for name, value in element.attrib.items()}
    assert ElementTree.tostring(back) == ElementTree.tostring(there)


def test_quotes_of_texts_and_of_fonts_survive_the_address():
    with theme.style():
        figure = Figure(figsize=(2, 2))
        figure.text(0.5, 0.5, "$10^{3}$")
        figure.text(0.5, 0.2, """a="b" and 'c' > 100 % & more #1""")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg")
    address = svg.address(svg.compact(buffer.getvalue()))
    root = ElementTree.fromstring(urllib.parse.unquote(address.partition(",")[2]))
    assert [text.text for text in root.iter(f"{{{svg.SVG}}}text")] == [None, """a="b" and 'c' > 100 % & more #1"""]
    shared = dict(re.findall(r"\.(\w+){([^}]*)}", root.find(f"{{{svg.SVG}}}style").text))
    styles = [span.get("style") or shared[span.get("class")] for span in root.iter(f"{{{svg.SVG}}}tspan")]
    assert {style.partition("font-family:")[2] for style in styles} == {"'DejaVu Sans';fill:#222222"}


def test_every_image_of_a_committed_page_is_a_drawing():
    pages = [*RESULTS.glob("*/report.html"), RESULTS / "index.html"]
    images = [each for page in pages for each in re.findall(r'src="data:image/svg\+xml,([^"]*)"', page.read_text())]
    assert len(images) > 100
    for image in images:
        assert ElementTree.fromstring(urllib.parse.unquote(image)).tag == f"{{{svg.SVG}}}svg"


def test_what_many_marks_share_stands_once(before):
    runs = re.findall(r"(?:<use [^>]*/>){2,}", svg.compact(before).decode())
    assert runs
    for run in runs:
        styles = re.findall(r'style="([^"]*)"', run)
        assert len(set(styles)) == len(styles)


def test_names_that_differ_by_what_is_rounded_off_make_no_difference(before):
    other = re.sub(rb"\b(p|m|i)([0-9a-f]{10})\b", lambda match: match[1] + match[2][::-1], before)
    assert other != before
    assert svg.compact(other) == svg.compact(before)
