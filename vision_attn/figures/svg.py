"""SVG in fewer bytes: the drawing that matplotlib wrote, without what nobody sees, and as the address of an image."""

import itertools
import re
from collections import Counter
from xml.etree import ElementTree

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from vision_attn.figures.fonts import FONT, families

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)
HREF = f"{{{XLINK}}}href"
LETTERS = {"font-size", "font-weight", "font-style", "text-anchor"}
LINES = {"stroke-width", "stroke-dasharray", "stroke-dashoffset", "stroke-linejoin", "stroke-linecap"}
INHERITED = {"fill", "fill-opacity", "stroke", "stroke-opacity", *LINES, *LETTERS}
"""Properties that a group hands down."""
FONTS = f"{FONT}, Verdana, sans-serif"
"""What text is written in: the font that it was measured in, its next kin, and what there is."""

DIGITS = 2
"""Decimals of a coordinate: 0.005 points are less than a seventieth of a pixel of a screen."""


def compact(drawing: bytes) -> bytes:
    """The same drawing without metadata, comments, unused names and empty groups, coordinates with two decimals.

    A line of text is as long as the layout measured it, whatever font it is seen in.
    """
    root = ElementTree.fromstring(drawing)  # noqa: S314  # ours, of a moment ago
    names = {name: f"a{i:x}" for i, name in enumerate(_referred(root))}
    for text in root.iter(f"{{{SVG}}}text"):
        _fit(text)
    _shrink(root, names)
    for rules in root.iter(f"{{{SVG}}}style"):  # joins and caps from the drawing, so that groups can hand down others
        rules.text = (rules.text or "").replace("*{", "svg{")
    root.set("font-family", FONTS)
    return ElementTree.tostring(root)


def address(drawing: bytes) -> str:
    """A data URI of the drawing, for an attribute in double quotes: free of `"`, `#` and `&`.

    References have the plain `href` of SVG 2, and styles that several elements share a class, as every browser reads
    them; other programs may not, so files keep xlink's, and every style where it is.
    """
    text = drawing.decode().replace(f' xmlns:xlink="{XLINK}"', "").replace(" xlink:href=", " href=")
    text = _classed(text).replace(" />", "/>")
    text = re.sub(r"<[^>]*>|[^<]+", _unquoted, text)
    for sign in "%#&\n":
        text = text.replace(sign, f"%{ord(sign):02X}")
    return "data:image/svg+xml," + text


def _classed(text: str) -> str:
    """The drawing with a class in the place of every style that several elements declare."""
    counts = Counter(re.findall(r'(?<= style=")[^"&]+', text))
    classes = {style: f"s{i:x}" for i, style in enumerate(style for style, count in counts.items() if count > 1)}
    if not classes:
        return text
    rules = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    text = re.sub(
        r' style="([^"&]+)"', lambda match: f' class="{classes[match[1]]}"' if match[1] in classes else match[0], text
    )
    return text.replace(">", f"><style>{rules}</style>", 1)


def _unquoted(part: re.Match[str]) -> str:
    """A tag whose values are in single quotes, or text without double ones."""
    if part[0].startswith("<"):
        return part[0].replace("'", "&apos;").replace('"', "'")
    return part[0].replace('"', "&quot;")


def _referred(root: ElementTree.Element) -> list[str]:
    """The ids that something in the drawing points to, in order: they are made of places not yet rounded."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    found = [re.match(r"#(.+)|url\(#(.+)\)", value) for value in values]
    return list(dict.fromkeys(match[1] or match[2] for match in found if match))


def _shrink(element: ElementTree.Element, names: dict[str, str]) -> None:
    children: list[ElementTree.Element] = []
    for child in element:
        if child.tag == f"{{{SVG}}}metadata":
            continue
        _shrink(child, names)
        children.extend(child if child.tag == f"{{{SVG}}}g" and not child.attrib else [child])
    element[:] = children
    element.text = element.text if (element.text or "").strip() else None
    element.tail = None
    own = element.attrib.pop("id", None)
    if own in names:
        element.set("id", names[own])
    for name, value in element.attrib.items():
        element.set(name, _renamed(value, names))
    if element.tag != f"{{{SVG}}}image":
        _round(element)
    _hand_down(element)


def _fit(text: ElementTree.Element) -> None:
    """State the length of a line of text, and leave the font to the drawing; formulas have a place for every letter."""
    style = _declared(text)
    if text.text and style.get("font-family") == ", ".join(map(repr, families())):
        del style["font-family"]
        font = FontProperties(
            family=list(families()),
            size=float(style["font-size"].removesuffix("px")),
            weight=int(style.get("font-weight", 400)),
            style=style.get("font-style", "normal"),  # type: ignore[arg-type]
        )
        length, _, _ = text_to_path.get_text_width_height_descent(text.text, font, ismath=False)
        text.set("style", ";".join(f"{name}:{value}" for name, value in style.items()))
        text.attrib |= {"textLength": f"{length:.2f}", "lengthAdjust": "spacingAndGlyphs"}
    if text.get("transform", "").startswith("rotate(-0 "):
        del text.attrib["transform"]


def _declared(element: ElementTree.Element) -> dict[str, str]:
    """The properties that an element's style declares."""
    pairs = (declared.partition(":") for declared in element.get("style", "").split(";") if declared.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _hand_down(element: ElementTree.Element) -> None:
    """Neighbours of one style have it from a group: their parent, where that is a group without any other child."""
    children: list[ElementTree.Element] = []
    for style, run in itertools.groupby(element, key=_style_of):
        alike = list(run)
        if not style or len(alike) == 1:
            children.extend(alike)
            continue
        is_all = element.tag == f"{{{SVG}}}g" and "style" not in element.attrib and len(alike) == len(element)
        group = element if is_all else ElementTree.Element(f"{{{SVG}}}g")
        group.set("style", style)
        for child in alike:
            del child.attrib["style"]
        if is_all:
            return
        group.extend(alike)
        children.append(group)
    element[:] = children


def _style_of(element: ElementTree.Element) -> str:
    """The style of a mark, path or text, if a group can hand it down."""
    is_drawn = element.tag in (f"{{{SVG}}}use", f"{{{SVG}}}path", f"{{{SVG}}}text") and "id" not in element.attrib
    return element.get("style", "") if is_drawn and _declared(element).keys() <= INHERITED else ""


def _renamed(value: str, names: dict[str, str]) -> str:
    return re.sub(r"^(#|url\(#)([^)]+)", lambda match: match[1] + names.get(match[2], match[2]), value)


def _round(element: ElementTree.Element) -> None:
    """Coordinates with fewer decimals; scales and colours stay as they are."""
    for name in ("x", "y"):
        if name in element.attrib:
            element.set(name, _rounded(element.attrib[name]))
    if "d" in element.attrib:
        joined = re.sub(r"\s*([A-Za-z])\s*", r"\1", element.attrib["d"].strip())
        element.set("d", _rounded(joined))
    if "style" in element.attrib:
        element.set("style", re.sub(r"([:;]) ", r"\1", element.attrib["style"]))
    if "transform" in element.attrib:
        moved = re.sub(r"(translate|rotate)\([^)]*\)", lambda match: _rounded(match[0]), element.attrib["transform"])
        element.set("transform", moved)
        _place(element)


def _place(element: ElementTree.Element) -> None:
    """A `use` that is only moved has its place as x and y, which says the same."""
    match = re.fullmatch(r"translate\((\S+) (\S+)\)", element.attrib["transform"])
    if match and element.tag == f"{{{SVG}}}use" and not {"x", "y"} & set(element.attrib):
        del element.attrib["transform"]
        for name, value in zip("xy", match.groups(), strict=True):
            if value != "0":
                element.set(name, value)


def _rounded(text: str) -> str:
    return re.sub(r"-?\d+\.\d+", _short, text)


def _short(match: re.Match[str]) -> str:
    text = f"{float(match[0]):.{DIGITS}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
