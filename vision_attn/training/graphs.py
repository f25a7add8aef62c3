"""CUDA graphs: an update of training recorded once and then launched as a whole."""

import logging
from collections.abc import Callable

import torch
from torch import nn

from vision_attn.data.base import Data
from vision_attn.models.fitted import FittedClassifier
from vision_attn.training.feed import unfeedable
from vision_attn.training.folded import draws
from vision_attn.training.recipe import Recipe

WARM_UP = 3
"""Updates made before recording, in which libraries set themselves up."""

logger = logging.getLogger("vision_attn")


def ungraphable(recipe: Recipe, model: nn.Module, data: Data) -> str | None:
    """Why an update cannot be recorded as a CUDA graph on a GPU, or None where it can."""
    if isinstance(model, FittedClassifier):
        return "the model is fitted at once"
    if recipe.optimizer != "adamw":
        return f"the optimiser {recipe.optimizer} takes its learning rate from the CPU"
    if any(draws(module) for module in model.modules()):
        return "dropout and drop path are seeded anew for every update"
    return unfeedable(recipe, data)


class Graphed:
    """A step that works on tensors alone, always the same ones; its first calls run as they are, then one is recorded.

    A step that cannot be recorded goes on as it is, and `why_not` says why.
    """

    def __init__(self, step: Callable[[], None]) -> None:
        self.step, self.calls = step, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.why_not: str | None = None

    def __call__(self) -> None:
        self.calls += 1
        if self.graph is None and self.why_not is None and self.calls > WARM_UP:
            self._record()
        if self.graph is not None:
            self.graph.replay()
        elif self.why_not is not None:
            self.step()
        else:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                self.step()
            torch.cuda.current_stream().wait_stream(aside)

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.step()
        except RuntimeError as error:
            torch.cuda.synchronize()
            self.why_not = "recording failed: " + str(error).strip().partition("\n")[0]
            logger.warning("The update is not recorded as a CUDA graph: %s", self.why_not)
        else:
            self.graph = graph
