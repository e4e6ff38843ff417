"""Lymph that never refills tissue, vessels that take nothing back, tissue at rest, and flows that are refused."""

from __future__ import annotations

from pathlib import Path

from support.bench import COMM, MMHG, Bench, bench, largest, tissue  # isort: skip  (first: it loads MPI)

import numpy as np
import pytest
from support.meshes import Array, box, slab
from support.page import Page, Section

from turgor.fem.physics.flow.equations import Rates
from turgor.materials.errors import CaseError
from turgor.meshing.tetrahedra import Tetrahedra, assemble

LAWS = Section(
    11,
    "Laws that switch",
    "A bar whose pressure runs from 1200 Pa, above those of vessels and lymph, to -600 Pa, below both: lymph that "
    "never refills tissue, vessels that take fluid back or do not; and a brain at rest.",
    """
Jl = L max(p - pL, 0);   Jv = A max(pe - p, 0) with reabsorption = "none"
A (pe - p) = L (p - pL) at p = 10 mmHg with the values of the library""",
    "the law holds in each cell, and the balance of each cell closes, but for the linear solver. The library gives "
    "values of three digits.",
)


def drained(folder: Path, lymph: str, reabsorption: str = "linear") -> Bench:
    """Return a bar whose pressure runs from 1200 Pa, above those of vessels and lymph, to -600 Pa, below both."""
    laws = {"lymph": lymph, "reabsorption": reabsorption}
    words = tissue(2e-8, filtration=1e-8, pressure=300.0, drainage=1.5e-8, lymph_pressure=100.0, **laws)
    ends = [{"on": "tissue|x-", "pressure": "1200 Pa"}, {"on": "tissue|x+", "pressure": "-600 Pa"}]
    return bench(folder, slab(4.0, 24), {"tissue": words}, {"flow": {"conditions": ends}}).start()


def test_one_way_lymph_takes_fluid_and_never_gives_any(tmp_path: Path) -> None:
    flow = drained(tmp_path, "one-way").flow
    low = flow.cell_pressure < 100.0
    assert max(COMM.allgather(int(low.sum()))) > 0
    assert np.all(flow.flux.lymph[low] == 0.0)
    assert np.all(flow.flux.lymph[~low] >= 0.0)
    np.testing.assert_allclose(flow.flux.lymph[~low], 1.5e-8 * (flow.cell_pressure[~low] - 100.0), rtol=1e-12)


def test_linear_lymph_gives_fluid_back_where_the_pressure_is_low(tmp_path: Path) -> None:
    flow = drained(tmp_path, "linear").flow
    np.testing.assert_allclose(flow.flux.lymph, 1.5e-8 * (flow.cell_pressure - 100.0), rtol=1e-12)
    assert min(COMM.allgather(float(flow.flux.lymph.min(initial=0.0)))) < 0


def test_vessels_without_reabsorption_take_nothing_back(tmp_path: Path) -> None:
    flow = drained(tmp_path, "one-way", "none").flow
    np.testing.assert_allclose(
        flow.flux.filtration, 1e-8 * np.maximum(300.0 - flow.cell_pressure, 0.0), rtol=1e-12, atol=1e-25
    )
    taken = drained(tmp_path, "one-way").flow.flux.filtration
    assert min(COMM.allgather(float(taken.min(initial=0.0)))) < 0


@pytest.mark.parametrize("reabsorption", ["linear", "none"])
def test_switched_laws_keep_the_balance_of_every_cell(reabsorption: str, page: Page, tmp_path: Path) -> None:
    ready = drained(tmp_path, "one-way", reabsorption)
    flow, case = ready.flow, f'one-way lymph, reabsorption = "{reabsorption}"'
    page.error(
        LAWS, case, "balance of all cells", flow.verification()["cell_imbalance_max"], 1e-10, of="the largest rate"
    )
    p = flow.cell_pressure
    given = 1e-8 * (np.maximum(300 - p, 0) if reabsorption == "none" else 300 - p)
    page.error(LAWS, case, "Jv in all cells", largest(flow.flux.filtration - given) / 3e-6, 1e-12, of="A pe")
    taken = 1.5e-8 * np.maximum(p - 100, 0)
    page.error(LAWS, case, "Jl in all cells", largest(flow.flux.lymph - taken) / 1.5e-6, 1e-12, of="L pL")
    assert 1 < ready.flow.solver.statistics.solves < 10, "some rounds of switching, not many"


def test_the_switches_agree_with_the_root_of_each_cells_law() -> None:
    rng = np.random.default_rng(5)
    n = 4000
    exchange, lymph = (10.0 ** rng.uniform(-10, -6, n) * (rng.random(n) > 0.1) for _ in range(2))
    effective, lymph_pressure, multiplier = rng.uniform(-2000, 2000, (3, n))
    theta, source = 10.0 ** rng.uniform(4, 8, n), rng.normal(0, 1e-5, n)
    one_way, none = rng.random((2, n)) > 0.3
    on = np.ones(n, bool)
    rates = Rates(exchange, effective, lymph, lymph_pressure, source, one_way, none, on, on, on)

    def made(p: Array) -> Array:
        given, taken = exchange * (effective - p), lymph * (p - lymph_pressure)
        given, taken = np.where(none, np.maximum(given, 0), given), np.where(one_way, np.maximum(taken, 0), taken)
        return np.asarray(given - taken + source)

    # p - θ s(p) = l by bisection: the left side grows with p.
    low, high = np.full(n, -1e7), np.full(n, 1e7)
    for _ in range(100):
        middle = (low + high) / 2
        above = middle - theta * made(middle) > multiplier
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    switched = rates.switched(multiplier, theta)
    found = (multiplier + theta * switched.constant()) / (1 + switched.slope() * theta)
    np.testing.assert_allclose(found, low, atol=1e-7)
    np.testing.assert_allclose(made(found), switched.constant() - switched.slope() * found, rtol=1e-6, atol=1e-18)
    assert rates.switched(multiplier, theta).drains.any()
    assert not switched.drains.all()
    assert not switched.filters.all()


@pytest.mark.parametrize("matter", ["brain white matter", "brain gray matter"])
def test_a_healthy_brain_rests_at_10_mmhg_everywhere(matter: str, page: Page, tmp_path: Path) -> None:
    mesh = box(3 * [np.linspace(0, 60, 7)], lambda c: (c[:, 0] > 30).astype(np.int64), ("matter", "white"))
    materials = {"matter": {"like": matter}, "white": {"like": "brain white matter"}}
    flow = {"conditions": [{"on": "*|outside", "pressure": "10 mmHg"}]}
    ready = bench(tmp_path, mesh, materials, {"flow": flow}).start()
    page.error(LAWS, matter, "p in all cells", largest(ready.flow.cell_pressure / MMHG - 10) / 10, 1e-3)
    assert largest(ready.flow.pressure.x.array - 10 * MMHG) < 1.0


def test_a_sealed_tissue_without_vessels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"physics\.flow: the connected piece of tissue has no sink of fluid; give it"):
        bench(tmp_path, slab(1.0, 4), {"tissue": tissue()}, {"flow": {}})


def two_pieces() -> Tetrahedra:
    """Return two boxes that do not touch, "near" and "far"."""
    one = slab(1.0, 3)
    points = np.concatenate([one.points, one.points + np.array([5.0, 0, 0])])
    cells = np.concatenate([one.cells, one.cells + len(one.points)])
    region = np.repeat([0, 1], len(one.cells))
    return assemble(points, cells, region, ("near", "far"), (np.zeros((0, 4), np.int64), []))


def test_a_piece_with_a_source_and_no_sink_is_refused_by_the_name_of_its_region(tmp_path: Path) -> None:
    leak = tissue(filtration=1e-8, pressure=1000.0, reabsorption="none")
    conditions = [{"on": "near|outside", "pressure": "0 Pa"}]
    with pytest.raises(CaseError, match="the connected piece of far has no sink") as refused:
        bench(tmp_path, two_pieces(), {"near": leak, "far": leak}, {"flow": {"conditions": conditions}})
    assert "piece of near" not in str(refused.value)


def test_vessels_that_reabsorb_are_sink_enough(tmp_path: Path) -> None:
    leak = tissue(filtration=1e-8, pressure=1000.0)
    ready = bench(tmp_path, two_pieces(), {"near": leak, "far": leak}, {"flow": {}}).start()
    assert largest(ready.flow.cell_pressure - 1000.0) < 1e-6


def test_tissue_without_conductivity_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"materials\.tissue\.hydraulic_conductivity: must be larger than zero"):
        bench(tmp_path, slab(1.0, 4), {"tissue": tissue(0.0, filtration=1e-8)}, {"flow": {}})


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        (
            [{"on": "tissue|roof", "pressure": "0 Pa"}],
            r"conditions\.0\.on: the mesh has no surface 'tissue\|roof'; it has",
        ),
        (
            [{"on": s, "pressure": "0 Pa"} for s in ("*|x-", "tissue|x-")],
            "has a condition already, by physics.flow.cond",
        ),
    ],
)
def test_conditions_that_make_no_sense_are_refused(
    conditions: list[dict[str, object]], words: str, tmp_path: Path
) -> None:
    with pytest.raises(CaseError, match=words):
        bench(tmp_path, slab(1.0, 4), {"tissue": tissue()}, {"flow": {"conditions": conditions}})


def test_an_inflow_on_an_interface_is_refused_and_a_pressure_there_holds(tmp_path: Path) -> None:
    mesh, materials = slab(2.0, 8, regions=("a", "b")), {"a": tissue(), "b": tissue()}
    with pytest.raises(CaseError, match=r"inflow: not possible on 'a\|b', which is solved on both sides"):
        bench(tmp_path, mesh, materials, {"flow": {"conditions": [{"on": "b|a", "inflow": "1 mm/s"}]}})
    conditions = [{"on": "a|b", "pressure": "500 Pa"}, {"on": "a|x-", "pressure": "0 Pa"}]
    ready = bench(tmp_path, mesh, materials, {"flow": {"conditions": conditions}}).start()
    x = ready.domain.centers[:, 0]
    assert largest(ready.flow.cell_pressure - np.where(x < 1, 500 * x, 500.0)) < 1e-6
    # Fluid appears on the interface: it leaves through a, the balance of both still closes.
    assert ready.row("flow", "a", "a|b").entered == pytest.approx(1e-8 * 500 * 0.25**2, rel=1e-9)
    assert abs(ready.row("flow", "all").residual) < 1e-9 * ready.row("flow", "all").scale
