"""The balance closes, and is no identity: whatever is falsified shows in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.bench import COMM, Bench, bench, off, solute, tissue, total  # isort: skip  (first: it loads MPI)

import numpy as np
import pytest
from support.meshes import Array, balls, box

from turgor.fem.problem import BalanceRow

CLOSED = 1e-9
"""Residual of a region's balance relative to its largest term; the linear solvers stop at 1e-12."""

FLOW = {
    "conditions": [
        {"on": "normal|outside", "exchange": {"coefficient": "2e-9 mm/(Pa*s)", "to": "-100 Pa"}},
    ],
    "sources": [{"in": "core", "rate": "1e-5 mm^3/s"}],
}
MATERIALS = {
    "core": tissue(1e-8) | solute(1e-4, fraction=0.3, decay=1e-5),
    "tumor": tissue(3e-8, filtration=1e-7, pressure=1400.0) | solute(3e-4, permeability=2e-4, fraction=0.25),
    "normal": tissue(8e-9, filtration=2e-8, pressure=700.0, drainage=4e-8, lymph_pressure=50.0)
    | solute(1e-4, permeability=4e-5, reflection=0.4, hindrance=0.8, fraction=0.2, decay=2e-5),
}
REGIONS = ("core", "tumor", "normal", "all")


def living(folder: Path, *, drug: bool) -> Bench:
    """Return flow, and drug if asked, in three nested balls with every kind of term."""
    mesh = balls([np.linspace(0, 0.6, 4)[1:], np.linspace(0.6, 1.2, 4)[1:], np.linspace(1.2, 3, 6)[1:]], REGIONS[:3], 2)
    values = ["0 mol/m^3", "1 mol/m^3", "0.3 mol/m^3"]
    plasma = {"times": ["0 s", "400 s", "2000 s"], "values": values, "fraction": "free"}
    physics: dict[str, object] = {"flow": FLOW}
    if drug:
        physics["drug"] = {"plasma": plasma, "sources": [{"in": "core", "rate": "1e-6 nmol/s"}]}
        return bench(folder, mesh, MATERIALS, physics, time={"end": "600 s", "step": "60 s"})
    return bench(folder, mesh, MATERIALS, physics)


def rows(ready: Bench, physics: str) -> dict[str, BalanceRow]:
    """Return the rows of regions and the whole."""
    return {row.region: row for row in ready.problems[physics].balance() if not row.surface}


def test_every_cell_and_every_region_keeps_its_fluid(tmp_path: Path) -> None:
    ready = living(tmp_path, drug=False).start()
    assert ready.flow.verification()["cell_imbalance_max"] < 1e-10
    found = rows(ready, "flow")
    assert tuple(found) == REGIONS
    assert all(off(row) < CLOSED for row in found.values())
    assert all(row.scale > 0 for row in found.values())


def test_what_passes_an_interface_leaves_one_region_and_enters_the_other(tmp_path: Path) -> None:
    ready = living(tmp_path, drug=False).start()
    for surface in ("core|tumor", "tumor|normal"):
        one, other = (ready.row("flow", region, surface) for region in surface.split("|"))
        assert (one.entered, one.left) == pytest.approx((other.left, other.entered), rel=1e-12)


def test_one_falsified_facet_pressure_shows_in_the_balance_of_its_cells(tmp_path: Path) -> None:
    ready = living(tmp_path, drug=False).start()
    flow = ready.flow
    if COMM.rank == 0:
        flow.multiplier.x.array[flow.space.dofmap.list[0, 0]] += 1.0
    flow.multiplier.x.scatter_forward()
    flow._recover(flow.multiplier.x.array[flow.space.dofmap.list].mean(axis=1))
    assert flow.imbalance() > 1e-5


@pytest.mark.parametrize("which", ["filtration", "lymph"])
def test_one_falsified_cell_rate_is_the_residual_of_its_region(which: str, tmp_path: Path) -> None:
    ready = living(tmp_path, drug=False).start()
    flux, volumes = ready.flow.flux, ready.domain.volumes
    chosen = np.zeros(len(volumes))
    if COMM.rank == 0:
        chosen[np.flatnonzero(ready.domain.region[: ready.domain.owned] == 2)[0]] = 1e-4
    ready.flow.flux = replace(flux, **{which: getattr(flux, which) + chosen})
    wrong = total(float(chosen @ volumes)) * (1 if which == "filtration" else -1)
    found = rows(ready, "flow")
    for region in ("normal", "all"):
        assert found[region].residual == pytest.approx(wrong, rel=1e-6)
    assert off(found["tumor"]) < CLOSED


def test_one_falsified_facet_flux_is_the_residual_of_its_region(tmp_path: Path) -> None:
    ready = living(tmp_path, drug=False).start()
    surface = ready.domain.surfaces["normal|outside"]
    mean, wrong = ready.flow.flux.mean.copy(), 0.0
    if COMM.rank == 0:
        mean[surface.cells[0]] += 1e-4 * surface.area_vectors[0]
        wrong = 1e-4 * float(surface.area_vectors[0] @ surface.area_vectors[0])
    ready.flow.flux = replace(ready.flow.flux, mean=mean)
    wrong = total(wrong)
    found = rows(ready, "flow")
    for region in ("normal", "all"):
        assert found[region].residual == pytest.approx(-wrong, rel=1e-6)
    assert off(found["core"]) < CLOSED


def test_every_region_keeps_its_drug_at_every_step(tmp_path: Path) -> None:
    ready = living(tmp_path, drug=True)
    assert ready.case.time is not None
    ready.start()
    for step in range(10):
        ready.drug.advance(60.0 * step, 60.0 * (step + 1))
        ready.drug.accept()
        found = rows(ready, "drug")
        assert tuple(found) == REGIONS
        assert all(off(row) < CLOSED for row in found.values()), step
        for surface in ("core|tumor", "tumor|normal"):
            one, other = (ready.row("drug", region, surface) for region in surface.split("|"))
            assert (one.entered, one.left) == pytest.approx((other.left, other.entered), rel=1e-12)


def test_the_drug_stored_is_the_change_of_the_amount_in_the_field(tmp_path: Path) -> None:
    ready = living(tmp_path, drug=True).start()
    ready.drug.advance(0.0, 60.0)
    ready.drug.accept()
    before = held(ready)
    ready.drug.advance(60.0, 150.0)
    ready.drug.accept()
    found = rows(ready, "drug")
    for region, amount in held(ready).items():
        assert found[region].stored * 90.0 == pytest.approx(amount - before[region], rel=1e-9)


def held(ready: Bench) -> dict[str, float]:
    """Return the amount in each region [nmol], integrated from the field as measures do: n_a times the cell's mean."""
    domain = ready.domain
    concentration = ready.drug.concentration.x.array[domain.space.dofmap.list].mean(axis=1)
    amounts = domain.by_region(ready.drug.cells["available_volume_fraction"] * concentration * domain.volumes)
    return dict(zip(domain.regions, amounts.tolist(), strict=True))


def stepped(folder: Path) -> Bench:
    """Return the bench after two steps."""
    ready = living(folder, drug=True).start()
    for begin, end in ((0.0, 60.0), (60.0, 150.0)):
        ready.drug.advance(begin, end)
        ready.drug.accept()
    return ready


def test_one_falsified_concentration_is_the_residual_of_its_region(tmp_path: Path) -> None:
    ready = stepped(tmp_path)
    assert ready.drug._last is not None
    step, change, plasma = ready.drug._last
    node, wrong = inside(ready), 0.0
    change = change.copy()
    if node is not None:
        change[node] += 1e-5
        wrong = 1e-5 * float(ready.drug.regions[1].mass[node])
    ready.drug._last = (step, change, plasma)
    wrong = total(wrong)
    found = rows(ready, "drug")
    assert wrong > 0
    for region in ("tumor", "all"):
        assert found[region].residual == pytest.approx(-wrong, rel=1e-6)
    assert off(found["core"]) < CLOSED


def inside(ready: Bench) -> int | None:
    """Return one node within the tumor, on the rank that owns it; None on all others."""
    others = ready.drug.regions[0].mass + ready.drug.regions[2].mass
    nodes = np.flatnonzero((ready.drug.regions[1].mass > 0) & (others == 0))
    first = min(rank for rank, count in enumerate(COMM.allgather(len(nodes))) if count)
    return int(nodes[0]) if first == COMM.rank else None


@pytest.mark.parametrize("which", ["exchange", "loss", "gain"])
def test_one_falsified_rate_of_the_drug_is_the_residual_of_its_region(which: str, tmp_path: Path) -> None:
    ready = stepped(tmp_path)
    assert ready.drug._last is not None
    step, _, plasma = ready.drug._last
    rates, node, wrong = ready.drug.regions[1], inside(ready), 0.0
    falsified = getattr(rates, which).copy()
    if node is not None:
        falsified[node] += 1e-6
        wrong = 1e-6 * {"exchange": plasma, "loss": -float(step.low[node]), "gain": 1.0}[which]
    ready.drug.regions[1] = replace(rates, **{which: falsified})
    wrong = total(wrong)
    found = rows(ready, "drug")
    for region in ("tumor", "all"):
        assert found[region].residual == pytest.approx(wrong, rel=1e-5)


def test_falsified_flow_between_two_regions_shows_in_both(tmp_path: Path) -> None:
    ready = stepped(tmp_path)
    assert ready.drug._last is not None
    step, change, plasma = ready.drug._last
    moved = step.moved.copy()
    if COMM.rank == 0:
        moved[: len(moved) // 2] *= 1.1
    ready.drug._last = (replace(step, moved=moved), change, plasma)
    found = rows(ready, "drug")
    assert max(off(found[region]) for region in REGIONS[:3]) > 1e-6


def sealed(centers: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.zeros(len(centers), np.int64)


def test_a_sealed_box_keeps_all_its_drug(tmp_path: Path) -> None:
    mesh = box(3 * [np.linspace(0, 1, 5)], sealed, ("tissue",))
    flow = {"conditions": [{"on": "tissue|outside", "pressure": "0 Pa"}]}
    words = tissue() | solute(1e-3, fraction=0.3)
    ready = bench(tmp_path, mesh, {"tissue": words}, {"flow": flow, "drug": {}}, time={"end": "60 s"})
    ready.drug.values[:] = np.linalg.norm(ready.nodes - 0.3, axis=1) < 0.3
    ready.start()
    before = ready.amount()
    ready.march()
    assert before > 0
    assert ready.amount() == pytest.approx(before, rel=1e-11)
