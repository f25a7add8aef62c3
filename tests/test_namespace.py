"""The public names: few at the top, each in one place, none imported before it is used."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vision_attn

STUB = (Path(vision_attn.__file__).with_suffix(".pyi")).read_text()
NAMES = re.findall(r"(\w+) as \1\b", STUB)


def test_the_top_has_about_twenty_names_and_shows_no_others():
    assert len(NAMES) <= 21
    assert dir(vision_attn) == sorted(NAMES)
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


def test_the_version_is_that_of_the_installation():
    assert re.fullmatch(r"\d+\.\d+\.\d+.*|not installed", vision_attn.__version__)


def test_importing_the_package_imports_neither_torch_nor_pandas():
    code = "import sys, vision_attn; print(sorted({'torch', 'pandas', 'matplotlib', 'timm'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
