"""Asking: the rows that a probe yields, as plain numbers and texts, or a sentence that says what is wrong with one."""

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vision_attn import sources
from vision_attn.data.base import Data
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import InputError, kind_of, short
from vision_attn.training.seeding import seeded

RESERVED = "run"
"""The column of records that says which run a row is of."""


def answers(probe: Probe, model: nn.Module, data: Data) -> list[Row]:
    """All rows of a probe. Scalars of numpy and torch become Python's.

    Raises `InputError` where what it yields is no row: a dict of texts and numbers with a metric and a finite value;
    and where an own probe has changed the model or the images, which other probes are asked about as well.
    """
    if not sources.is_own(type(probe)):
        return _rows(probe, model, data)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = _settings(model, data)
    with seeded(0):  # what it draws without a generator of its own is the same in every run
        rows = _rows(probe, model, data)
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, weights[name])]
    after = _settings(model, data)
    changed += [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        words = "must leave the model, the images and the process as they are: work on a copy (copy.deepcopy)"
        raise _refused(probe, words, f"other {changed[0]}")
    model.eval()
    return rows


def _settings(model: nn.Module, data: Data) -> dict[str, Any]:
    """What an own probe must leave as it is beside the weights, as it is called in a sentence."""
    splits = {"training": data.train_sample, "validation": data.val, "test": data.test}
    held = {name: split for name, split in splits.items() if split is not None}
    hooks = {
        f"hooks of {name or 'the model'}": [id(one), *one._forward_hooks, *one._forward_pre_hooks, *one._backward_hooks]
        for name, one in model.named_modules()
    }
    return {
        **hooks,
        **{f"requires_grad of {name}": one.requires_grad for name, one in model.named_parameters()},
        **{f"type of {name}": one.dtype for name, one in model.state_dict().items()},
        **{f"{name} images": split.images._version for name, split in held.items()},
        **{f"{name} labels": split.labels._version for name, split in held.items()},
        "default type of torch": torch.get_default_dtype(),
        "grad mode of torch": torch.is_grad_enabled(),
        "number of threads": torch.get_num_threads(),
        "current folder": os.getcwd(),
    }


def _rows(probe: Probe, model: nn.Module, data: Data) -> list[Row]:
    found = probe(model, data)
    if isinstance(found, pd.DataFrame):
        raise _refused(probe, "must yield rows, each a dict, such as those of frame.to_dict('records')", "a DataFrame")
    if isinstance(found, Mapping | str) or not isinstance(found, Iterable):
        raise _refused(probe, "must yield rows, each a dict with metric and value", found)
    return [_checked(probe, row) for row in found]


def _checked(probe: Probe, row: Any) -> Row:
    if not isinstance(row, Mapping) or not {"metric", "value"} <= set(row):
        raise _refused(probe, "must yield rows, each a dict with metric and value", row)
    plain = {name: _plain(cell) for name, cell in row.items()}
    for name, cell in plain.items():
        if not isinstance(name, str) or not name or name == RESERVED:
            raise _refused(probe, f"must name its columns by texts other than {RESERVED!r}", name)
        if not isinstance(cell, str | int | float):
            raise _refused(probe, f"must yield flat rows: {name} a text or a number", cell)
        if isinstance(cell, float) and not math.isfinite(cell):
            raise _refused(probe, f"must yield finite numbers: {name} is none", cell)
    if not isinstance(plain["metric"], str) or not plain["metric"]:
        raise _refused(probe, "must yield rows with a text as metric", plain["metric"])
    if isinstance(plain["value"], str) or not _is_float(plain["value"]):
        raise _refused(probe, "must yield rows with a finite number as value", plain["value"])
    return plain


def require_distinct(probe: Probe, rows: Iterable[Row]) -> None:
    """Raise `InputError` where two rows share metric and coordinates: means over runs would count both."""
    seen = set()
    for row in rows:
        place = frozenset((name, cell) for name, cell in row.items() if name != "value")
        if place in seen:
            raise _refused(probe, "must tell its rows apart by metric or another column", row)
        seen.add(place)


def _refused(probe: Probe, words: str, given: Any) -> InputError:
    place = sources.defined(probe, "__call__") if sources.is_own(type(probe)) else ""
    return InputError(f"{kind_of(probe)} {words}{place}. Got {short(given)} instead.")


def _plain(cell: Any) -> Any:
    """A scalar of numpy or torch as Python's own."""
    if isinstance(cell, np.generic) or (isinstance(cell, Tensor) and cell.ndim == 0):
        return cell.item()
    return cell


def _is_float(number: int | float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False
