"""The palette: one name has one style in all reports."""

import gzip
import json
from pathlib import Path

from vision_attn.figures import palette


def test_a_model_looks_alike_on_all_pages_of_results():
    found = {}
    for path in (Path(__file__).parents[2] / "results").glob("*/plan.json.gz"):
        levels = json.loads(gzip.decompress(path.read_bytes()))["factors"].get("model", ())
        for name, place in palette.places(levels).items():
            found.setdefault(name, set()).add(palette.style(place))
    assert len(found) > 20
    assert {name: own for name, own in found.items() if len(own) > 1} == {}


def test_twelve_models_of_any_name_share_neither_colour_nor_marker():
    styles = [palette.style(place) for place in palette.places([f"my model {i}" for i in range(12)]).values()]
    assert len({style.colour for style in styles}) == len({style.marker for style in styles}) == 12


def test_an_own_name_keeps_its_style_beside_other_models():
    alone, among = (palette.places(names)["mine"] for names in (["mine"], ["mine", "ResNet", "yours"]))
    assert alone == among


def test_numbers_have_the_colours_in_order():
    assert list(palette.places((64, 128, 256)).values()) == [0, 1, 2]
