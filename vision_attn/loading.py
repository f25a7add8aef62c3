"""Loading: a finished run as one takes it into a notebook."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vision_attn import sources
from vision_attn.data import Data
from vision_attn.execution import load_weights
from vision_attn.run import Run, begun, loaded
from vision_attn.spec import RENAMED, InputError, Spec, from_json, kinds
from vision_attn.store import WEIGHTS, DamagedFile, RunFolder


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A finished run: what it is, its trained model in eval mode, its data, and what its result says."""

    run: Run
    model: nn.Module
    data: Data
    result: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.data.classes


def load_run(folder: str | Path, *, device: str = "cpu") -> LoadedRun:
    """The model of a run folder, such as results/runs/vit-...--5f15ab4b, with its weights, data and result.

    Its data are loaded and must be those it was trained on. Raises `InputError` where the folder holds no finished
    run, its weights are missing or damaged, or its data are not here. A model of one's own is known once the module
    that defines it has been imported.
    """
    found = RunFolder(Path(folder))
    try:
        stored = found.config()["run"]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"folder of load_run must be that of a run, with a config.json. Got '{folder}'.") from None
    except DamagedFile as error:
        raise InputError(f"{error}") from None
    sources.load_plugins()
    if unknown := sorted(sources.named(stored) - set(kinds(Spec)) - set(RENAMED)):
        raise InputError(
            f"run of load_run has a {unknown[0]}, which is not known here. Import the module that defines it first; to "
            "a command, name its file: --experiment FILE."
        )
    run = from_json(stored, Run)
    result = found.result()
    if result is None or result["state"] != "done":
        state = found.state([]).name if result is None else result["state"]
        raise InputError(f"run of load_run must be done. That in '{folder}' is {state}.")
    data = loaded(run, result)
    model = begun(run, data)
    if not load_weights(model, found.path / WEIGHTS, result["files"][WEIGHTS]):
        raise InputError(
            f"'{found.path / WEIGHTS}' is missing or damaged. `vision-attn run` makes it again once '{found.path}' is "
            "removed."
        )
    at = torch.device(device)
    return LoadedRun(run, model.to(at).eval(), data.to(at), result)
