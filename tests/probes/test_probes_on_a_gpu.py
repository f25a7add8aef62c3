"""Every probe of a model and images on a pretended GPU: the rows are those of the CPU."""

import pytest
from every_probe import DATA, KINDS, PLANNED, SPECS, built, probe_of
from pretended_gpu import GPU, PretendedGpu, deterministic_algorithms

MEASURED_APART = ("TokenCost",)
"""It measures in processes of its own, on a GPU that is one."""


@pytest.mark.parametrize("kind", [kind for name, kind in KINDS.items() if name not in MEASURED_APART])
def test_the_rows_on_a_gpu_are_those_on_the_cpu(kind):
    probe, module = probe_of(kind), built("ViT")
    if probe.skip(SPECS["ViT"], PLANNED) is not None:
        pytest.skip(f"{kind.__name__} does not fit")
    expected = list(probe(module, DATA))
    with PretendedGpu(), deterministic_algorithms():
        found = list(probe(module.to("cuda"), DATA.to(GPU)))
    assert [{**row, "value": 0} for row in found] == [{**row, "value": 0} for row in expected]
    assert [row["value"] for row in found] == pytest.approx([row["value"] for row in expected], rel=1e-4, abs=1e-6)
