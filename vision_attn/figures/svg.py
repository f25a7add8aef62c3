"""SVG in fewer bytes: the drawing that matplotlib wrote, without what nobody sees, and as the address of an image."""

import re
from xml.etree import ElementTree

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)
HREF = f"{{{XLINK}}}href"
DIGITS = 2
"""Decimals of a coordinate: 0.005 points are less than a seventieth of a pixel of a screen."""


def compact(drawing: bytes) -> bytes:
    """The same drawing without metadata, comments, unused names and empty groups, coordinates with two decimals."""
    root = ElementTree.fromstring(drawing)  # noqa: S314  # ours, of a moment ago
    names = {name: f"a{i:x}" for i, name in enumerate(sorted(_referred(root)))}
    _shrink(root, names)
    return ElementTree.tostring(root)


def address(drawing: bytes) -> str:
    """A data URI of the drawing, for an attribute in double quotes: free of `"`, `#` and `&`.

    References have the plain `href` of SVG 2, which every browser reads; other programs may not, so files keep xlink's.
    """
    text = drawing.decode().replace(f' xmlns:xlink="{XLINK}"', "").replace(" xlink:href=", " href=")
    for sign in "%'#&\n":
        text = text.replace(sign, f"%{ord(sign):02X}")
    return "data:image/svg+xml," + text.replace('"', "'")


def _referred(root: ElementTree.Element) -> set[str]:
    """The ids that something in the drawing points to."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    found = [re.match(r"#(.+)|url\(#(.+)\)", value) for value in values]
    return {match[1] or match[2] for match in found if match}


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
        moved = re.sub(r"translate\([^)]*\)", lambda match: _rounded(match[0]), element.attrib["transform"])
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
