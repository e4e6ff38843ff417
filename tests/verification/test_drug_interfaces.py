"""Where regions meet: what leaves one enters the other, also where three meet and on surfaces that hold drug."""

from __future__ import annotations

from pathlib import Path

from support.bench import STILL, Bench, bench, off, solute, tissue  # isort: skip  (first: it loads MPI)

import numpy as np
import pytest
from support.meshes import Array, box, slab

REGIONS = ("a", "b", "c")
CLOSED = 1e-9


def three(centers: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return a for x < 1; beyond, b for y < 1 and c for y > 1: all three meet on the line x = y = 1."""
    return np.where(centers[:, 0] < 1, 0, np.where(centers[:, 1] < 1, 1, 2)).astype(np.int64)


def edge(folder: Path, conditions: list[dict[str, object]]) -> Bench:
    """Return a box of three tissues, with flow and a drug that starts in a and b."""
    mesh = box([np.linspace(0, 2, 7), np.linspace(0, 2, 7), np.linspace(0, 1, 4)], three, REGIONS, sides=True)
    materials = {
        "a": tissue(3e-8, filtration=5e-8, pressure=1200.0) | solute(1e-3, fraction=0.3, permeability=1e-4),
        "b": tissue(1e-8, filtration=1e-8, pressure=500.0) | solute(3e-4, fraction=0.2, hindrance=0.7, decay=1e-4),
        "c": tissue(5e-9, drainage=3e-8) | solute(1e-4, fraction=0.5, permeability=2e-5),
    }
    plasma = {"times": ["0 s"], "values": ["1 mol/m^3"], "fraction": "free"}
    drug = {"plasma": plasma, "initial": {"concentration": "0.2 mol/m^3"}, "conditions": conditions}
    flow = {"conditions": [{"on": ["*|y+", "*|x+"], "pressure": "0 Pa"}]}
    ready = bench(folder, mesh, materials, {"flow": flow, "drug": drug}, time={"end": "200 s", "step": "20 s"})
    ready.start().march()
    return ready


def check(ready: Bench) -> None:
    """Assert that all ledgers close and that what passes an interface is the same from both sides."""
    rows = {region: ready.row("drug", region) for region in (*REGIONS, "all")}
    assert all(off(row) < CLOSED for row in rows.values())
    for surface in ("a|b", "a|c", "b|c"):
        one, other = (ready.row("drug", region, surface) for region in surface.split("|"))
        assert one.scale > 0
        assert (one.entered, one.left) == pytest.approx((other.left, other.entered), rel=1e-12)
        assert ready.drug.flux_through(surface) == pytest.approx(one.left - one.entered, rel=1e-12)
    # The whole is what the regions are without what they exchange.
    for name in ("made", "lost", "stored", "residual"):
        parts = sum(getattr(rows[region], name) for region in REGIONS)
        assert getattr(rows["all"], name) == pytest.approx(parts, rel=1e-9, abs=1e-12 * rows["all"].scale)
    net = sum(rows[region].entered - rows[region].left for region in REGIONS)
    assert rows["all"].entered - rows["all"].left == pytest.approx(net, abs=1e-12 * rows["all"].scale)


def test_three_regions_that_meet_on_an_edge_keep_their_ledgers(tmp_path: Path) -> None:
    check(edge(tmp_path, []))


def test_a_surface_that_holds_drug_and_meets_interfaces_keeps_the_ledgers(tmp_path: Path) -> None:
    ready = edge(tmp_path, [{"on": "*|z-", "concentration": "0.5 mol/m^3"}])
    check(ready)
    held = [ready.row("drug", region, f"{region}|z-") for region in REGIONS]
    assert all(row.scale > 0 for row in held)


def test_an_interface_that_holds_drug_feeds_both_sides(tmp_path: Path) -> None:
    mesh = slab(2.0, 16, regions=("a", "b"))
    materials = {"a": tissue() | solute(1e-3), "b": tissue() | solute(4e-3)}
    drug = {
        "conditions": [
            {"on": "a|b", "concentration": "1 mol/m^3"},
            {"on": ["a|x-", "b|x+"], "concentration": "0 mol/m^3"},
        ]
    }
    flow = {"conditions": [{"on": "a|x-", "pressure": "0 Pa"}]}
    ready = bench(tmp_path, mesh, materials, {"flow": flow, "drug": drug})
    # Straight profiles on both sides, which linear elements hold exactly; they stay.
    ready.drug.values[:] = 1 - np.abs(ready.nodes[:, 0] - 1)
    ready.start().march(end="20 s", step="1 s")
    area = ready.domain.surfaces["a|b"].area
    for region, conductance in (("a", 0.25e-3), ("b", 1e-3)):
        row = ready.row("drug", region, "a|b")
        assert row.entered - row.left == pytest.approx(conductance * area, rel=1e-8)
        assert off(ready.row("drug", region)) < CLOSED


def test_the_flux_through_an_interface_is_that_of_the_profile(tmp_path: Path) -> None:
    # In series: n_a D = 0.3e-3 and 1.2e-3 mm²/s over 1 mm each.
    mesh = slab(2.0, 16, regions=("a", "b"))
    materials = {"a": tissue() | solute(1e-3, fraction=0.3), "b": tissue() | solute(2e-3, fraction=0.6)}
    ends = [{"on": "a|x-", "concentration": "1 mol/m^3"}, {"on": "b|x+", "concentration": "0 mol/m^3"}]
    flow = {"conditions": [{"on": "a|x-", "pressure": "0 Pa"}]}
    ready = bench(tmp_path, mesh, materials, {"flow": flow, "drug": {"conditions": ends}})
    flux = 1 / (1 / 0.3e-3 + 1 / 1.2e-3)
    x = ready.nodes[:, 0]
    ready.drug.values[:] = np.where(x < 1, 1 - flux * x / 0.3e-3, flux * (2 - x) / 1.2e-3)
    ready.start().march(end="20 s", step="1 s")
    area = ready.domain.surfaces["a|b"].area
    for surface in ("a|x-", "a|b", "b|x+"):
        sign = -1 if surface == "a|x-" else 1
        assert sign * ready.drug.flux_through(surface) == pytest.approx(flux * area, rel=1e-8)
    assert ready.drug.flux_through("b|a") == -ready.drug.flux_through("a|b")


def test_drug_carried_through_an_interface_is_counted_with_the_fluid(tmp_path: Path) -> None:
    # A uniform concentration in a uniform stream: R c v through every plane.
    mesh = slab(2.0, 16, regions=("a", "b"))
    words = tissue() | solute(1e-5, fraction=0.3)
    drug = {"initial": {"concentration": "2 mol/m^3"}, "conditions": [{"on": "a|x-", "concentration": "2 mol/m^3"}]}
    flow = {"conditions": [{"on": "a|x-", "inflow": "1e-3 mm/s"}, {"on": "b|x+", "pressure": "0 Pa"}]}
    ready = bench(tmp_path, mesh, {"a": words, "b": words}, {"flow": flow, "drug": drug}).start()
    ready.march(end="20 s", step="2 s")
    area = ready.domain.surfaces["a|b"].area
    for surface in ("a|b", "b|x+"):
        assert ready.drug.flux_through(surface) == pytest.approx(2.0 * 1e-3 * area, rel=1e-9)
    assert ready.drug.flux_through("a|x-") == pytest.approx(-2.0 * 1e-3 * area, rel=1e-9)


def test_an_influx_on_an_interface_is_refused(tmp_path: Path) -> None:
    from turgor.materials.errors import CaseError

    mesh = slab(2.0, 4, regions=("a", "b"))
    materials = {"a": tissue() | solute(), "b": tissue() | solute()}
    drug = {"conditions": [{"on": "a|b", "influx": "1 nmol/(mm^2*s)"}]}
    with pytest.raises(CaseError, match=r"physics\.drug\.conditions\.0\.influx: not possible on 'a\|b'"):
        bench(tmp_path, mesh, materials, {"flow": STILL, "drug": drug})
