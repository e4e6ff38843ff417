"""Surfaces that a user named in a mesh of their own, and pressures given inside the tissue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from support.bench import Bench, bench, largest, off, solute, tissue  # isort: skip  (first: it loads MPI)

import numpy as np
import pytest
from support.meshes import Array, slab

from turgor.materials.errors import CaseError
from turgor.meshing.tetrahedra import Tetrahedra, assemble, faces_of

OPEN = {"on": "*|outside", "pressure": "0 Pa"}
TWO = {"a": tissue() | solute(1e-3), "b": tissue() | solute(1e-3)}


def plane(axis: int, place: float) -> Tetrahedra:
    """Return a bar in two halves, a and b, on which "inlet" is the plane where a coordinate has a value."""
    mesh = slab(1.0, 8, across=3)
    region = (mesh.points[mesh.cells].mean(axis=1)[:, 0] > 0.5).astype(np.int64)
    rows = faces_of(mesh.cells, len(mesh.points)).vertices
    on = np.isclose(mesh.points[rows][:, :, axis], place).all(axis=1)
    table = np.column_stack([np.sort(rows[on], axis=1), np.zeros(int(on.sum()), np.int64)])
    return assemble(mesh.points, mesh.cells, region, ("a", "b"), (np.zeros((0, 4), np.int64), []), (table, ["inlet"]))


def ready(folder: Path, mesh: Tetrahedra, flow: list[object], drug: Mapping[str, object], **more: object) -> Bench:
    """Return the bar with a drug that is there at the start."""
    words = {"initial": {"concentration": "1 mol/m^3"}, **drug}
    time = {"end": "20 s", "step": "5 s"}
    return bench(folder, mesh, TWO, {"flow": {"conditions": flow}, "drug": words}, time=time, **more)


@pytest.mark.parametrize("first", [0, 1])
def test_a_condition_on_a_named_surface_comes_before_that_of_the_outside(first: int, tmp_path: Path) -> None:
    conditions = [OPEN, {"on": "inlet", "inflow": "1e-6 mm/s"}]
    made = ready(tmp_path, plane(0, 0.0), [conditions[first], conditions[1 - first]], {})
    made.start()
    area = made.domain.surfaces["inlet"].area
    assert made.flow.flux_through("inlet") == pytest.approx(-1e-6 * area, rel=1e-9)


@pytest.mark.parametrize(
    "condition",
    [{"concentration": "0 mol/m^3"}, {"exchange": {"coefficient": "1e-3 mm/s", "to": "0 mol/m^3"}}],
)
def test_a_named_surface_of_two_regions_is_in_the_ledgers_of_both(
    condition: Mapping[str, object], tmp_path: Path
) -> None:
    made = ready(tmp_path, plane(1, 0.0), [OPEN], {"conditions": [{"on": "inlet", **condition}]})
    made.march()
    for region in ("a", "b", "all"):
        assert off(made.row("drug", region)) < 1e-9
    left = [made.row("drug", region, "inlet").left for region in ("a", "b")]
    assert left[0] == pytest.approx(left[1], rel=0.05)
    assert made.drug.flux_through("inlet") == pytest.approx(sum(left), rel=1e-9)


OUT = {"measures": {"out": {"of": "drug", "through": "inlet"}}}


def test_drug_through_a_named_part_of_a_surface_with_a_condition_is_refused(tmp_path: Path) -> None:
    held = {"conditions": [{"on": "*|outside", "concentration": "0 mol/m^3"}]}
    with pytest.raises(CaseError, match=r"output\.measures\.out\.through: what passes 'inlet'"):
        ready(tmp_path, plane(0, 0.0), [OPEN], held, output=OUT)


def test_fluid_takes_drug_along_through_a_named_surface_without_a_condition(tmp_path: Path) -> None:
    sources = [{"in": name, "rate": "1e-3 mm^3/s"} for name in "ab"]
    physics = {
        "flow": {"conditions": [OPEN], "sources": sources},
        "drug": {"initial": {"concentration": "1 mol/m^3"}},
    }
    time = {"end": "2 s", "step": "1 s"}
    made = bench(tmp_path, plane(1, 0.0), TWO, physics, time=time, output=OUT)
    made.march()
    fluid, drug = made.flow.flux_through("inlet"), made.drug.flux_through("inlet")
    assert 0 < drug < made.row("drug", "all").left
    assert 0.8 * fluid < drug < fluid, "it leaves with at most the concentration of the start, 1 mol/m^3"


def test_fluid_that_vanishes_inside_the_tissue_takes_its_drug_along(tmp_path: Path) -> None:
    rates: Array = np.array([2e-3, 1e-3])
    sources = [{"in": name, "rate": f"{rate} mm^3/s"} for name, rate in zip("ab", rates, strict=True)]
    flow = {"conditions": [{"on": "a|b", "pressure": "0 Pa"}], "sources": sources}
    physics = {"flow": flow, "drug": {"initial": {"concentration": "1 mol/m^3"}}}
    made = bench(
        tmp_path, slab(2.0, 16, across=2, regions=("a", "b")), TWO, physics, time={"end": "2 s", "step": "1 s"}
    )
    made.march()
    assert largest(made.drug.values) < 1 + 1e-9, "nothing heaps up where the fluid vanishes"
    for region in ("a", "b", "all"):
        assert off(made.row("drug", region)) < 1e-9
    # At first the fluid that leaves holds the concentration of the start, or a little less by the end of a step.
    assert 0.8 * rates.sum() < made.row("drug", "all").left < rates.sum()
    assert made.flow.imbalance() < 1e-9
