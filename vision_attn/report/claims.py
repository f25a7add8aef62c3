"""Claims: the twelve statements of the two tutorials that the suite puts to the test, as claims.toml has them."""

import dataclasses
import functools
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

TEXTS = "claims.toml"


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement of the tutorials, `original` as they have it, in English and in `short`; the experiments about it.

    `not_tested` says what none of them covers; `advice` is keyed by the verdict for which it holds, and "otherwise".
    """

    id: str
    short: str
    statement: str
    original: str
    source: str
    experiments: tuple[str, ...]
    not_tested: str
    advice: Mapping[str, str]


@functools.cache
def claims() -> tuple[Claim, ...]:
    """C1 to C12, in order."""
    return tuple(Claim(**one | {"experiments": tuple(one["experiments"])}) for one in _texts()["claim"])


def tutorials() -> dict[str, str]:
    """What A and B are."""
    return dict(_texts()["tutorials"])


def claim_of(rule: str) -> str:
    """The claim that a rule is about: C4 for C4, C4a and C4a.2; the rule itself where it is about none of these."""
    match = re.fullmatch(r"(C\d+)[a-z]?(\.\d+)*", rule)
    return match[1] if match else rule


def _texts() -> dict[str, Any]:
    text = (resources.files("vision_attn.report") / TEXTS).read_text(encoding="utf-8")
    return tomllib.loads(text)
