"""Probe: a question asked of a trained model, answered in flat rows."""

import abc
from collections.abc import Iterable
from typing import Any

from torch import nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.spec import Spec, spec

Row = dict[str, Any]
"""`{"metric": snake_case noun, "value": finite float, **coordinates}`, coordinates being text, int or float."""


@spec
class Probe(Spec, abc.ABC):
    """A measurement. Called with a module in eval mode on the data's device, with gradients enabled."""

    def skip(self, model: Model, data: Dataset) -> str | None:
        """The reason why this probe does not fit the model or the data, or None. Shown in plan and report."""
        return None

    def require_fit(self, data: Data) -> None:
        """Raise `InputError` where the probe cannot be taken on these images. Asked before any run starts."""
        return

    @abc.abstractmethod
    def __call__(self, model: nn.Module, data: Data) -> Iterable[Row]:
        """Yield flat rows. Nothing is printed, drawn or averaged over runs; random numbers come from own generators."""
