"""Flow in bars and boxes: patch tests, every condition against its closed form, contrasts, sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.bench import Bench, bench, largest, tissue  # isort: skip  (first: it loads MPI)

import numpy as np
import pytest
from support.closed_forms import Slab
from support.meshes import SIDES, Array, balls, box, slab
from support.page import Page, Section, short

from turgor.meshing.tetrahedra import Tetrahedra

SOLVED = 1e-9
"""For what is exact but for the linear solver, whose residual is 1e-12 of the right-hand side."""


PATCH = Section(
    8,
    "What is exact",
    "A linear pressure on a shaken and turned mesh; two tissues in series at any contrast of their conductivities.",
    """
p = p₀ + (p₁ - p₀) x/L,   v = -K p'
v = Δp / (L₁/K₁ + L₂/K₂)""",
    "the method represents both, so that only the linear solver is left; its residual is 1e-12 of the right-hand side. "
    "Where the first tissue conducts a million times better, its flux is K times a millionth of the pressures.",
)

COLUMN = Section(
    9,
    "Column with conditions at both ends",
    "A leaky bar with every kind of condition at its ends, 8, 16 and 32 bricks of six tetrahedra along it; h α = 0.1 "
    "on the finest. Robin ends: v·n = k (p - p₀).",
    """
p = pe + b exp(-αx) + c exp(-α(L - x))
at both ends -K p'·n = k (p - p₀) - g: exchange (g = 0), inflow g (k = 0), pressure (k → ∞); b, c from these two""",
    "the pressures of the cells and the flux in one dimension are of order 2.",
)

BALL = Section(
    10,
    "Sources",
    "Tissue without vessels, held at p = 0 at R = 3 mm, with a source all over it, or in a ball of 0.6 mm.",
    """
p = Q (R² - r²)/(6 K),   Q [1/s] everywhere
p = q/(4πK) (1/r - 1/R) outside the ball,   q [mm³/s] in it""",
    "the ball is a polyhedron, wrong by (h/R)²/8 at its rim; edges are 0.3 r wide, and the profile bends by their "
    "square. All that is infused leaves, but for the linear solver.",
)


def shaken(mesh: Tetrahedra) -> tuple[Tetrahedra, Array]:
    """Move the inner points of a box by up to a seventh of an edge, then turn all of it; return the rotation, too."""
    rng = np.random.default_rng(1)
    low, high = mesh.points.min(axis=0), mesh.points.max(axis=0)
    inner = ((mesh.points > low + 1e-9) & (mesh.points < high - 1e-9)).all(axis=1)
    edge = np.linalg.norm(np.diff(mesh.points[mesh.cells[:, :2]], axis=1), axis=2).min()
    moves = rng.uniform(-1, 1, mesh.points.shape) * inner[:, None] * edge / 7
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn[:, 2] *= np.linalg.det(turn)
    return replace(mesh, points=(mesh.points + moves) @ turn.T), turn


def test_a_linear_pressure_is_exact_on_any_mesh(page: Page, tmp_path: Path) -> None:
    ticks = [np.linspace(0, 2, 5), np.linspace(0, 1, 4), np.linspace(0, 1.5, 4)]
    mesh, turn = shaken(box(ticks, lambda c: np.zeros(len(c), np.int64), ("tissue",), sides=True))
    ends = [{"on": "tissue|x-", "pressure": "100 Pa"}, {"on": "tissue|x+", "pressure": "-60 Pa"}]
    ready = bench(tmp_path, mesh, {"tissue": tissue(3e-8)}, {"flow": {"conditions": ends}}).start()
    flow, along = ready.flow, turn[:, 0]
    nodes = ready.domain.space.tabulate_dof_coordinates()
    errors = {
        "p in all cells": largest(flow.cell_pressure - (100 - 80 * ready.domain.centers @ along)) / 160,
        "p at all vertices": largest(flow.pressure.x.array - (100 - 80 * nodes @ along)) / 160,
        "v in all cells": largest(flow.flux.mean - 3e-8 * 80 * along) / (3e-8 * 80),
    }
    for what, error in errors.items():
        page.error(PATCH, "linear pressure", what, error, SOLVED)
    flux = flow.flux_through("tissue|x+")
    page.value(PATCH, "linear pressure", "flux [mm³/s]", flux, 3e-8 * 80 * 1.5, SOLVED)


def test_a_source_spread_over_a_ball_presses_by_its_closed_form_at_all_points(page: Page, tmp_path: Path) -> None:
    mesh = balls([np.linspace(0, 3, 9)[1:]], ("tissue",), divisions=2)
    rate = 1e-6 * 4 / 3 * np.pi * 27.0
    flow = {
        "conditions": [{"on": "tissue|outside", "pressure": "0 Pa"}],
        "sources": [{"in": "tissue", "rate": f"{float(rate)!r} mm^3/s"}],
    }
    ready = bench(tmp_path, mesh, {"tissue": tissue(1e-8)}, {"flow": flow}).start()
    r = np.linalg.norm(ready.domain.space.tabulate_dof_coordinates(), axis=1)
    # p = q/(6 K) (R² - r²); the ball is a polyhedron, wrong by (h/R)²/8 at its rim.
    exact = 100.0 / 6 * (9.0 - r**2)
    error = largest((ready.flow.pressure.x.array - exact)[r < 2.9]) / 150
    page.error(BALL, "all over the tissue", "p at all vertices", error, 0.012, of="p(0)")


def test_nothing_passes_a_surface_that_no_condition_names(tmp_path: Path) -> None:
    ready = bar(tmp_path, 8, {"pressure": "0 Pa"}, across=3)
    flux, scale = ready.flow.flux, ready.flow.flux_through("tissue|x+")
    for side in (*SIDES[2:], "x-"):
        surface = ready.domain.surfaces[f"tissue|{side}"]
        assert ready.flow.flux_through(surface.name) == 0.0
        own = 0.25 * flux.divergence[surface.cells] * ready.domain.volumes[surface.cells]
        raw = np.einsum("fi,fi->f", flux.mean[surface.cells], surface.area_vectors) + own
        assert largest(raw) < SOLVED * scale, "so it is in the solution, before rounding is dropped"


@pytest.mark.parametrize("contrast", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_tissues_in_series_resist_together_at_any_contrast(contrast: float, page: Page, tmp_path: Path) -> None:
    materials = {"a": tissue(1e-8), "b": tissue(1e-8 * contrast)}
    ends = [{"on": "a|x-", "pressure": "1000 Pa"}, {"on": "b|x+", "pressure": "0 Pa"}]
    ready = bench(
        tmp_path, slab(2.0, 8, across=2, regions=("a", "b")), materials, {"flow": {"conditions": ends}}
    ).start()
    area = ready.domain.surfaces["a|x-"].area
    # v = Δp / (L₁/K₁ + L₂/K₂); the pressure is linear in each tissue, which the method represents exactly.
    velocity = 1000.0 / (1.0 / 1e-8 + 1.0 / (1e-8 * contrast))
    flux = ready.flow.flux_through("a|b")
    page.value(
        PATCH,
        f"in series, K₂/K₁ = {short(contrast)}",
        "flux [mm³/s]",
        flux,
        velocity * area,
        max(1e-8, 1e-12 / contrast),
    )


@pytest.mark.parametrize("contrast", [1e-6, 1e-3, 1e3, 1e6])
def test_a_contrast_in_conductivity_costs_few_iterations(contrast: float, tmp_path: Path) -> None:
    def ball(centers: Array) -> np.ndarray[Any, np.dtype[np.int64]]:
        return (np.linalg.norm(centers - 1.5, axis=1) > 0.8).astype(np.int64)

    mesh = box(3 * [np.linspace(0, 3, 11)], ball, ("tumor", "normal"))
    exchange = {"filtration": 2e-8, "pressure": 1200.0}
    materials = {"tumor": tissue(1e-8 * contrast, **exchange), "normal": tissue(1e-8)}
    ready = bench(
        tmp_path, mesh, materials, {"flow": {"conditions": [{"on": "*|outside", "pressure": "0 Pa"}]}}
    ).start()
    assert max(ready.flow.solver.statistics.iterations) < 40
    # Fluxes are K times differences of pressures, whose last digit weighs more the more a tissue conducts.
    assert ready.flow.imbalance() < max(1e-10, 1e-14 * contrast)


LEAKY = {"filtration": 3e-8, "pressure": 1400.0}
LENGTH, CONDUCTIVITY = 2.0, 1.2e-8
PRESSURE = 1e6
"""An exchange so strong that the surface has the outer pressure [mm/(Pa s)]."""

ENDS: Mapping[str, tuple[Mapping[str, object] | None, tuple[float, float, float]]] = {
    "pressure": ({"pressure": "250 Pa"}, (PRESSURE, 250.0, 0.0)),
    "inflow": ({"inflow": "2e-5 mm/s"}, (0.0, 0.0, 2e-5)),
    "outflow": ({"inflow": "-3e-5 mm/s"}, (0.0, 0.0, -3e-5)),
    "exchange": ({"exchange": {"coefficient": "4e-8 mm/(Pa*s)", "to": "-300 Pa"}}, (4e-8, -300.0, 0.0)),
    "sealed": (None, (0.0, 0.0, 0.0)),
    "weak exchange": ({"exchange": {"coefficient": "5e-9 mm/(Pa*s)", "to": "900 Pa"}}, (5e-9, 900.0, 0.0)),
}


def bar(folder: Path, n: int, *ends: Mapping[str, object] | None, across: int = 1) -> Bench:
    """Return flow in a leaky bar with conditions at x+ and, if given, x-."""
    conditions = [{"on": f"tissue|{side}", **end} for side, end in zip(("x+", "x-"), ends, strict=False) if end]
    materials = {"tissue": tissue(CONDUCTIVITY, **LEAKY)}
    return bench(folder, slab(LENGTH, n, across=across), materials, {"flow": {"conditions": conditions}}).start()


@pytest.mark.parametrize(
    ("right", "left"),
    [
        ("exchange", "weak exchange"),
        ("pressure", "inflow"),
        ("exchange", "outflow"),
        ("inflow", "exchange"),
        ("pressure", "sealed"),
    ],
)
def test_every_condition_has_the_pressure_and_flux_of_its_closed_form(
    right: str, left: str, page: Page, tmp_path: Path
) -> None:
    form = Slab(CONDUCTIVITY, LEAKY["filtration"], LEAKY["pressure"], LENGTH, (ENDS[left][1], ENDS[right][1]))
    pressure, flux = [], []
    for n in (8, 16, 32):
        ready = bar(tmp_path, n, ENDS[right][0], ENDS[left][0])
        domain = ready.domain
        error = ready.flow.cell_pressure - form.pressure(domain.centers[:, 0])
        pressure.append(np.sqrt(domain.sum(error**2 * domain.volumes) / domain.sum(domain.volumes)) / LEAKY["pressure"])
        area = domain.surfaces["tissue|x+"].area
        through = [ready.flow.flux_through(f"tissue|{side}") / area for side in ("x-", "x+")]
        exact = [-float(form.velocity(0.0)), float(form.velocity(LENGTH))]
        flux.append(float(np.abs(np.subtract(through, exact)).max() / np.abs(exact).max()))
    # h α = 0.1 on the finest; the error is (h α)²/12 times numbers of the order of one.
    assert pressure[-1] < 2e-3
    case = f"{left} at x = 0, {right} at x = L"
    page.order(COLUMN, case, "p of the cells, L2 [of pe]", pressure, 1.85, 2.15)
    page.order(COLUMN, case, "flux through the worse end [of the larger]", flux, 1.75, 2.25)


def test_an_inflow_enters_in_full(tmp_path: Path) -> None:
    ready = bar(tmp_path, 8, {"pressure": "0 Pa"}, {"inflow": "2e-5 mm/s"})
    assert ready.row("flow", "tissue", "tissue|x-").entered == pytest.approx(2e-5 * 0.25**2, rel=SOLVED)


def infused(folder: Path, duration: str | None = None) -> Bench:
    """Return tissue without vessels, 3 mm in radius, with a source of 1e-3 mm³/s in a ball of 0.6 mm."""
    source = {"rate": "1e-3 mm^3/s", "at": ["0 mm", "0 mm", "0 mm"], "radius": "0.6 mm"}
    flow = {
        "conditions": [{"on": "tissue|outside", "pressure": "0 Pa"}],
        "sources": [source if duration is None else {**source, "duration": duration}],
    }
    mesh = balls([np.linspace(0, 3, 13)[1:]], ("tissue",), divisions=2)
    return bench(folder, mesh, {"tissue": tissue(2e-8)}, {"flow": flow})


def test_a_source_in_a_ball_leaves_through_the_surface_and_presses_like_a_point(page: Page, tmp_path: Path) -> None:
    ready = infused(tmp_path).start()
    case = "in a ball"
    page.value(BALL, case, "outflow [mm³/s]", ready.flow.flux_through("tissue|outside"), 1e-3, SOLVED)
    r = np.linalg.norm(ready.domain.centers, axis=1)
    # p = Q/(4πK) (1/r - 1/R) outside the ball.
    exact = 1e-3 / (4 * np.pi * 2e-8) * (1 / r - 1 / 3.0)
    outside = r > 1.0
    # Edges are 0.3 r wide there, and the profile bends by their square.
    error = largest((ready.flow.cell_pressure - exact)[outside]) / float(1e-3 / (4 * np.pi * 2e-8))
    page.error(BALL, case, "p in all cells with r > 1 mm", error, 0.02, of="q/(4πK mm)")


def test_a_source_that_ends_flows_to_its_end_and_no_longer(tmp_path: Path) -> None:
    ready = infused(tmp_path, duration="10 s")
    assert list(ready.flow.events()) == [10.0]
    ready.start()
    rates = {}
    for begin, end in ((0.0, 5.0), (5.0, 10.0), (10.0, 20.0)):
        ready.flow.advance(begin, end)
        rates[end] = ready.flow.flux_through("tissue|outside")
    assert rates == pytest.approx({5.0: 1e-3, 10.0: 1e-3, 20.0: 0.0}, abs=1e-12)


def test_a_pressure_that_changes_in_time_is_followed(tmp_path: Path) -> None:
    table = {"times": ["0 s", "10 s"], "values": ["0 Pa", "200 Pa"]}
    ready = bar(tmp_path, 8, {"pressure": table})
    low = ready.flow.flux_through("tissue|x+")
    ready.flow.advance(0.0, 5.0)
    middle = ready.flow.flux_through("tissue|x+")
    ready.flow.advance(5.0, 10.0)
    high = ready.flow.flux_through("tissue|x+")
    # The flow is linear in the pressure at its surface.
    assert middle == pytest.approx((low + high) / 2, rel=SOLVED)
    assert low > middle > high
    solves = ready.flow.solver.statistics.solves
    ready.flow.advance(10.0, 20.0)
    assert ready.flow.solver.statistics.solves == solves, "nothing changes after the last time of the table"
