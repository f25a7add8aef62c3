"""Asking: the rows that a probe yields, as plain numbers and texts, or a sentence that says what is wrong with one."""

import math
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
    images = data.test.images
    version = images._version
    rows = _rows(probe, model, data)
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, weights[name])]
    if changed or images._version != version:
        words = "must leave the model and the images as they are: work on a copy (copy.deepcopy)"
        raise _refused(probe, words, f"other {changed[0] if changed else 'images'}")
    model.eval()
    return rows


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
