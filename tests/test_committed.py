"""Committed results are those of the experiments as they stand: no page shows runs that its file would not make."""

from pathlib import Path

import planned
import pytest

from vision_attn.experiment import load
from vision_attn.plan import Plan
from vision_attn.spec import digest

ROOT = Path(__file__).resolve().parents[1]
OLDER = {
    "distance-rates": "its rates were chosen on a task with more pairs at near distances, as questions.md says",
}
FOLDERS = [path.name for path in sorted((ROOT / "results").iterdir()) if (path / "plan.json.gz").is_file()]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_runs_of_a_page_are_those_that_its_experiment_plans(folder):
    name, _, preset = folder.partition("-")
    _, experiment = load(ROOT / "experiments" / f"{name}.py")
    committed = Plan.read(ROOT / "results" / folder)
    stands = experiment.preset(preset) if preset else experiment
    found = {digest(run) for _, run in planned.cells(stands)}
    assert (set(committed.runs) == found) == (folder not in OLDER)
