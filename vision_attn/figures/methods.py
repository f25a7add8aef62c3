"""Methods: the order in which figures show the methods that models were asked by, such as those of saliency."""

from typing import Any

import pandas as pd


def in_order(values: pd.DataFrame, name: str) -> list[Any]:
    """The methods, the levels of the column `name`, in the order of the run that was asked by most of them."""
    if values.empty:
        return []
    largest = values.groupby("run", sort=False)[name].nunique().idxmax()
    return list(dict.fromkeys([*values.loc[values["run"] == largest, name], *values[name]]))
