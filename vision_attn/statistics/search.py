"""What a search would give with fewer trials: the expected best of them, and whether the leader's lead is one."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vision_attn.statistics.intervals import check_level


def expected_best(
    frame: pd.DataFrame,
    *,
    value: str = "value",
    trial: str = "trial",
    by: Sequence[str],
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The expected best of k trials drawn at random, for every k up to their number (Dodge et al. 2019).

    The value of a trial is the mean of its rows, such as seeds. With those of all N trials in order, v_1 <= ... <= v_N,

        E[best of k] = sum_i v_i ((i / N)^k - ((i - 1) / N)^k)         (arXiv:1909.03004, section 3.1)

    The interval holds the middle part `level` of the same number over resampled trials; as no resample has a better
    trial than the best that was tried, it says nothing of trials that were not. One row a group and k: `by`, trials
    (k), estimate, low, high, n (N). Of one trial the spread is unknown: low and high are missing. Rows without a value
    are left out: give those of a trial that has diverged the value of a failure, such as 0.
    """
    check_level(level)
    rows = []
    for key, values in _trials(frame, value, trial, by):
        head, number = dict(zip(by, key, strict=True)), len(values)
        curve = _expected(values[None])[0]
        drawn = _expected(_resampled(values, resamples, np.random.default_rng(seed)))
        low, high = _quantiles(drawn, level) if number > 1 else np.full((2, number), np.nan)
        for k in range(number):
            rows.append({**head, "trials": k + 1, "estimate": curve[k], "low": low[k], "high": high[k], "n": number})
    return pd.DataFrame(rows, columns=[*by, "trials", "estimate", "low", "high", "n"])


def search_leads(
    frame: pd.DataFrame,
    *,
    value: str = "value",
    trial: str = "trial",
    compare: str = "model",
    by: Sequence[str] = (),
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """By how much every level of `compare` leads each of those behind it, all trials of each being made.

    The difference of their expected bests, with the interval over trials resampled level by level; of one trial the
    spread is unknown, and low and high are missing. `tie` where it reaches 0; `ahead_at`: the numbers of trials, up to
    what both have, at which the other is ahead instead. One row a group and pair, best first: `by`, leader, `compare`
    (the one behind), estimate, low, high, tie, ahead_at.
    """
    check_level(level)
    groups: dict[tuple[Any, ...], dict[Any, np.ndarray]] = {}
    for key, values in _trials(frame, value, trial, [*by, compare]):
        groups.setdefault(key[:-1], {})[key[-1]] = values
    rows = []
    for key, levels in groups.items():
        curves = {name: _expected(values[None])[0] for name, values in levels.items()}
        order = sorted(curves, key=lambda name: -curves[name][-1])
        draws = {
            name: _expected(_resampled(values, resamples, np.random.default_rng([seed, i])))[:, -1]
            for i, (name, values) in enumerate(levels.items())
        }
        for leader, name in itertools.combinations(order, 2):
            lead, curve = curves[leader], curves[name]
            is_known = min(len(levels[leader]), len(levels[name])) > 1
            low, high = _quantiles(draws[leader] - draws[name], level) if is_known else (np.nan, np.nan)
            both = min(len(curve), len(lead))
            ahead = np.flatnonzero(curve[:both] > lead[:both]) + 1
            row = {"leader": leader, compare: name, "estimate": lead[-1] - curve[-1]}
            row |= {"low": low, "high": high, "tie": bool(low <= 0), "ahead_at": tuple(map(int, ahead))}
            rows.append({**dict(zip(by, key, strict=True)), **row})
    return pd.DataFrame(rows, columns=[*by, "leader", compare, "estimate", "low", "high", "tie", "ahead_at"])


def _trials(frame: pd.DataFrame, value: str, trial: str, by: Sequence[str]) -> list[tuple[tuple[Any, ...], np.ndarray]]:
    """The values of the trials of every group, in order of size."""
    known = frame.dropna(subset=[value])
    means = known.groupby([*by, trial], observed=True, dropna=False)[value].mean().reset_index()
    if not by:
        return [((), np.sort(means[value].to_numpy(float)))] if len(means) else []
    groups = means.groupby(list(by), observed=True, dropna=False)[value]
    return [(key, np.sort(part.to_numpy(float))) for key, part in groups]


def _expected(values: np.ndarray) -> np.ndarray:
    """The expected best of 1, ..., N draws from every row of sorted values (R, N): (R, N)."""
    number = values.shape[1]
    below = (np.arange(number + 1) / number) ** np.arange(1, number + 1)[:, None]
    return values @ np.diff(below, axis=1).T


def _resampled(values: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    return np.sort(values[generator.integers(0, len(values), (resamples, len(values)))], axis=1)


def _quantiles(drawn: np.ndarray, level: float) -> np.ndarray:
    return np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
