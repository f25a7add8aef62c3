"""The public names: few at the top, each in one place, none imported before it is used."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vision_attn
from vision_attn._homes import PACKAGES

STUB = (Path(vision_attn.__file__).with_suffix(".pyi")).read_text()
NAMES = re.findall(r"^from \.\w+ import (\w+) as \1\b", STUB, flags=re.MULTILINE)


def test_the_top_has_about_twenty_names_and_shows_no_others():
    assert len(NAMES) <= 21
    assert dir(vision_attn) == sorted([*NAMES, *PACKAGES])
    assert vision_attn.__all__ == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_the_one_of_its_home(name):
    home = re.search(rf"^from \.(\w+) import .*?\b{name} as {name}\b", STUB, flags=re.MULTILINE | re.DOTALL)
    homes = [
        line for line in re.split(r"^from ", STUB, flags=re.MULTILINE) if re.search(rf"\b{name} as {name}\b", line)
    ]
    assert home
    assert len(homes) == 1
    module = importlib.import_module(f"vision_attn.{homes[0].split()[0].lstrip('.')}")
    assert getattr(vision_attn, name) is getattr(module, name)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Zoomed"):
        vision_attn.Zoomed  # noqa: B018


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("Rotary", "from vision_attn.layers import Rotary"),
        ("Window", "from vision_attn.layers import Window or from vision_attn.models import Window"),
        ("LSTM", "from vision_attn.models import LSTM"),
    ],
)
def test_a_name_that_is_elsewhere_says_how_it_is_imported(name, lines):
    with pytest.raises(ImportError) as error:
        exec(f"from vision_attn import {name}")
    assert str(error.value) == f"{name} is not at the top of vision_attn: {lines}."
    for line in lines.split(" or "):
        exec(line)


def test_the_packages_are_attributes_of_the_top():
    assert re.findall(r"^from \. import (\w+) as \1$", STUB, flags=re.MULTILINE) == list(PACKAGES)
    for package in PACKAGES:
        assert getattr(vision_attn, package) is importlib.import_module(f"vision_attn.{package}")


def test_the_version_is_that_of_the_installation():
    assert re.fullmatch(r"\d+\.\d+\.\d+.*|not installed", vision_attn.__version__)


def test_importing_the_package_imports_neither_torch_nor_pandas():
    code = "import sys, vision_attn; print(sorted({'torch', 'pandas', 'matplotlib', 'timm'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
