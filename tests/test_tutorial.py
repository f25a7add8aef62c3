"""The notebook: one section for every statement of the tutorials, every cell runs, no output is committed."""

import json
import re
from pathlib import Path

import pytest

from vision_attn.report.claims import claims

PATH = Path(__file__).resolve().parents[1] / "experiments" / "tutorial.ipynb"
CELLS = json.loads(PATH.read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_the_notebook_has_a_section_for_every_statement_and_something_computed_in_each():
    sections = re.split(r"^## ", "\n".join(_marked(cell) for cell in CELLS), flags=re.MULTILINE)[1:]
    named = {claim: text for text in sections for claim in re.findall(r"C\d+", text.partition("\n")[0])}
    assert set(named) == {claim.id for claim in claims()}
    assert [claim for claim, text in named.items() if "print(" not in text and "plt.show()" not in text] == []


def _marked(cell):
    text = "".join(cell["source"])
    return text if cell["cell_type"] == "markdown" else f"```\n{text}\n```"


def test_no_output_is_committed():
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CELLS if "outputs" in cell)


@pytest.mark.slow
def test_every_cell_runs_in_order(monkeypatch, capsys):
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    shown = []
    monkeypatch.setattr(plt, "show", lambda: (shown.append(plt.gcf()), plt.close()))
    namespace = {"__name__": "__main__"}
    for number, code in enumerate(CODE):
        exec(compile(code, f"cell {number}", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "the layer: [0.88, 0.12]" in printed
    assert "before the softmax: rows add up to 1.000" in printed
    assert "after it (tutorial A): rows add up to 0.125" in printed
    assert re.search(r"bias of k: attention changes by \d\.\de-1[5-9], the output by \d\.\de-1[5-9]", printed)
    assert float(re.search(r"the mended listing and the layer differ by at most (\S+)", printed)[1]) < 1e-5
    assert len(shown) >= 8
