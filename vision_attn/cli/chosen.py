"""What the user has chosen: the plan of an experiment file at a preset and at other levels, the folders of data."""

import contextlib
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_attn import experiment_fields, sources
from vision_attn.plan import Plan
from vision_attn.spec import InputError, among, canonical

if TYPE_CHECKING:
    from vision_attn.experiment import Experiment


def chosen_plan(path: Path, preset: str | None, levels: list[str] | None, smoke: bool) -> tuple[Plan, str]:
    """The plan of an experiment file, and the name of its folder in the results."""
    # what the file prints is not what the command says, nor is where it goes what paths typed here are relative to
    with contextlib.redirect_stdout(sys.stderr), contextlib.chdir(os.getcwd()):
        return _chosen_plan(path, preset, levels, smoke)


def _chosen_plan(path: Path, preset: str | None, levels: list[str] | None, smoke: bool) -> tuple[Plan, str]:
    from vision_attn import experiment as experiments

    name, whole = experiments.load(path)
    found, parts = whole, [name]
    if preset is not None:
        found = whole.preset(preset)
        parts.append(preset)
    pairs = [parse_levels(text, whole) for text in levels or ()]
    chosen = dict(pairs)
    if twice := [factor for i, (factor, _) in enumerate(pairs) if factor in dict(pairs[:i])]:
        raise InputError(f"levels of {twice[0]} must be given once, as {twice[0]}=a,b. They are given twice.")
    others = {factor: own for factor, own in chosen.items() if own != tuple(found.factors[factor])}
    found = found.with_levels(chosen)
    if others:
        parts.append(folder_of(others))
    if smoke:
        found = experiments.smoke(found)
        parts.append("smoke")
    typed = {"preset": preset, "given_levels": chosen, "smoke": smoke, "experiment": sources.shown(path)}
    return experiments.plan(found, name=name).replace(**typed), "-".join(parts)


def folder_of(levels: dict[str, tuple[Any, ...]]) -> str:
    """A part of a folder's name for a choice of levels, to be read, with a digest that tells like ones apart."""
    text = "-".join(f"{factor}-{'-'.join(map(str, own))}" for factor, own in levels.items())
    short = re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:60].strip("_.-")
    return f"{short}-{hashlib.sha256(canonical({name: list(own) for name, own in levels.items()})).hexdigest()[:6]}"


def parse_levels(text: str, experiment: "Experiment") -> tuple[str, tuple[Any, ...]]:
    """`seed=0-4` or `model=ViT,ResNet`: the factor and its levels; numbers where the factor's own are."""
    factor, equals, values = text.partition("=")
    if not equals or factor not in experiment.factors:
        allowed = f"FACTOR=level,level with a factor among {', '.join(experiment.factors)}"
        raise InputError(f"levels must be {allowed}. Got {text!r} instead.")
    known = experiment.levels(factor)
    if not all(isinstance(level, int | float) and not isinstance(level, bool) for level in known):
        return factor, tuple(_text_level(factor, known, value) for value in _split(values, known))
    levels: list[Any] = []
    for value in values.split(","):
        if span := re.fullmatch(r"(\d{1,18})-(\d{1,18})", value):
            low, high = int(span[1]), int(span[2])
            if not low <= high < low + experiment_fields.MOST_LEVELS:
                allowed = f"from the smaller to the larger, at most {experiment_fields.MOST_LEVELS:,}"
                raise InputError(f"levels of {factor} between two numbers must be {allowed}. Got {value!r} instead.")
            levels.extend(range(low, high + 1))
        else:
            levels.append(_number(factor, value))
    return factor, tuple(levels)


def _split(values: str, known: list[Any]) -> list[str]:
    """The values between commas, where a known level may have some itself, quoted or not: ViT, 3x3 convolution."""
    found = []
    while values:
        forms = {form: str(level) for level in known for form in (f'"{level}"', str(level))}
        whole = [form for form in forms if values == form or values.startswith(f"{form},")]
        value = max(whole, key=len, default=values.partition(",")[0])
        found.append(forms.get(value, value))
        values = values[len(value) + 1 :]
    return found


def _text_level(factor: str, known: list[Any], value: str) -> Any:
    for level in known:
        if str(level) == value:
            return level
    raise InputError(f"level of {factor} must be one of {among(known, value)}. Got {value!r} instead.")


def _number(factor: str, text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise InputError(f"level of {factor} must be a number. Got {text!r} instead.")


def use_data_dirs(data_dir: list[Path] | None) -> None:
    """Hand --data-dir on to the worker processes."""
    for folder in data_dir or ():
        if not folder.is_dir():
            raise InputError(f"data-dir must be a folder that is there. Got '{folder}' instead.")
    if data_dir:
        earlier = filter(None, [os.environ.get("VISION_ATTN_DATA")])
        os.environ["VISION_ATTN_DATA"] = os.pathsep.join([*(str(f.resolve()) for f in data_dir), *earlier])
