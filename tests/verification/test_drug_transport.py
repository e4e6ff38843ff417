"""Diffusion and convection of the drug against closed forms; positivity at any Peclet number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from support.bench import COMM, STILL, Bench, bench, largest, off, order, solute, tissue  # isort: skip  (first: MPI)

import numpy as np
import pytest
from scipy.special import erfc
from support.closed_forms import crank_uptake, thiele
from support.meshes import Array, balls, slab

ONE = "1 mol/m^3"


def ball(folder: Path, words: dict[str, object], layers: Array, time: dict[str, object], divisions: int = 3) -> Bench:
    """Return a ball of 1 mm whose surface is held at 1 mol/m³, as a cone over one face of the icosahedron."""
    mesh = balls([layers], ("tissue",), divisions, faces=1)
    drug = {"conditions": [{"on": "tissue|outside", "concentration": ONE}]}
    return bench(folder, mesh, {"tissue": tissue() | words}, {"flow": STILL, "drug": drug}, time=time)


def rim(n: int) -> Array:
    """Return the ends of n layers that are four times thinner at the rim than in the middle."""
    x = np.linspace(0, 1, n + 1)[1:]
    return np.asarray(1 - (1 - x) * (0.4 + 0.6 * (1 - x)) / 1.0)


def test_a_sphere_takes_up_drug_as_crank_says(tmp_path: Path) -> None:
    ready = ball(tmp_path, solute(1e-3, fraction=0.3), rim(16), {"end": "200 s"}).start()
    volume = ready.domain.sum(ready.domain.volumes)
    before, taken = ready.amount(), 0.0
    now, found = 0.0, {}
    for step in steps(200.0, 0.25, 1.03):
        ready.drug.advance(now, now + step)
        ready.drug.accept()
        now += step
        row = ready.row("drug", "tissue")
        assert off(row) < 1e-9
        taken += row.entered * step
        assert ready.drug.flux_through("tissue|outside") == pytest.approx(-row.entered, rel=1e-9)
        found[now] = ready.amount() / (0.3 * volume)
    assert ready.amount() - before == pytest.approx(taken, rel=1e-9), "what is stored came through the surface"
    for time, uptake in found.items():
        if time > 10:
            # The nodes of the surface hold drug from the start: half of the outermost layer, 3 % of the volume, falling
            # in weight as the sphere fills. Steps are 3 % of the time.
            assert uptake == pytest.approx(crank_uptake(1e-3 * time), abs=0.02)


def steps(end: float, first: float, growth: float) -> list[float]:
    """Return lengths of steps that grow."""
    lengths = first * growth ** np.arange(1000)
    count = int(np.searchsorted(np.cumsum(lengths), end))
    return [*lengths[:count].tolist(), end - float(lengths[:count].sum())]


def consuming(folder: Path, phi: float, n: int, divisions: int, step: float, time: float) -> Bench:
    """Return a sphere that consumes drug, after a time that starts from the steady profile."""
    words = solute(1e-3, fraction=0.4, decay=phi**2 * 1e-3)
    ready = ball(folder, words, rim(n), {"end": f"{time!r} s", "step": f"{step!r} s"}, divisions)
    ready.drug.values[:] = thiele_at(ready, phi)
    ready.start().march()
    return ready


def thiele_at(ready: Bench, phi: float) -> Array:
    """Return Thiele's profile at the nodes; those of the surface lie up to 0.3 % outside the ball."""
    return thiele(phi, np.clip(np.linalg.norm(ready.nodes, axis=1), 1e-6, 1.0))


@pytest.mark.parametrize(("phi", "error"), [(1.0, 0.004), (3.0, 0.012), (8.0, 0.03)])
def test_a_sphere_that_consumes_has_thieles_profile(phi: float, error: float, tmp_path: Path) -> None:
    ready = consuming(tmp_path, phi, 16, 3, 2.0, 160.0)
    # Linear elements err by (h φ)²/8 of the local concentration; h φ is 0.09 φ in the middle and 0.03 φ at the rim.
    assert largest(ready.drug.values - thiele_at(ready, phi)) < error
    row = ready.row("drug", "tissue")
    exact = 4 * np.pi / 20 * 0.4e-3 * (phi / np.tanh(phi) - 1)
    assert row.entered == pytest.approx(exact, rel=0.015)
    assert row.lost == pytest.approx(exact, rel=0.015)


def test_diffusion_with_decay_converges_with_order_two_where_steps_are_as_short_as_diffusion_over_a_cell(
    tmp_path: Path,
) -> None:
    errors = []
    for n, divisions, step in ((8, 2, 2.0), (16, 3, 0.5)):
        ready = consuming(tmp_path, 3.0, n, divisions, step, 120.0)
        errors.append(largest(ready.drug.values - thiele_at(ready, 3.0)))
    assert order(errors) == pytest.approx(2.0, abs=0.3)


def test_steps_much_longer_than_diffusion_over_a_cell_keep_some_artificial_diffusion(tmp_path: Path) -> None:
    short = consuming(tmp_path, 3.0, 16, 3, 2.0, 120.0)
    long = consuming(tmp_path, 3.0, 16, 3, 1e4, 1e5)
    errors = [largest(ready.drug.values - thiele_at(ready, 3.0)) for ready in (short, long)]
    # h²/D is 1 s at the rim. The limiter gives back at most what a node can hold, which is less the longer the step.
    assert errors[0] < errors[1] < 0.08
    exact = 4 * np.pi / 20 * 0.4e-3 * (3.0 / np.tanh(3.0) - 1)
    assert long.row("drug", "tissue").entered == pytest.approx(exact, rel=0.02), "what enters is hardly touched"


def test_smooth_diffusion_converges_with_order_two(tmp_path: Path) -> None:
    errors = []
    for n in (8, 16, 32):
        mesh = slab(1.0, n)
        ready = bench(tmp_path, mesh, {"tissue": tissue() | solute(1e-3)}, {"flow": STILL, "drug": {}})
        x = ready.nodes[:, 0]
        ready.drug.values[:] = 1 + 0.5 * np.cos(np.pi * x)
        ready.start()
        # Steps shrink with h², so that time costs no order.
        count = n * n // 4
        for i in range(count):
            ready.drug.advance(100.0 * i / count, 100.0 * (i + 1) / count)
            ready.drug.accept()
        exact = 1 + 0.5 * np.cos(np.pi * x) * np.exp(-1e-3 * np.pi**2 * 100.0)
        errors.append(np.sqrt(ready.domain.comm.allreduce(float(((ready.drug.values - exact) ** 2).sum())) / n))
    # Close to the extremes, at both ends, the limiter keeps some of the artificial diffusion.
    assert order(errors) > 1.7


def test_a_front_in_a_stream_follows_ogata_and_banks(tmp_path: Path) -> None:
    # v = 1e-4 mm/s, D = 1e-4 mm²/s; n_a = 1 so that both act on c alike.
    flow = {"conditions": [{"on": "tissue|x-", "inflow": "1e-4 mm/s"}, {"on": "tissue|x+", "pressure": "0 Pa"}]}
    drug = {"conditions": [{"on": "tissue|x-", "concentration": ONE}]}
    words = tissue() | solute(1e-4, fraction=1.0)
    time = {"end": "10800 s", "step": "60 s"}
    ready = bench(tmp_path, slab(6.0, 60), {"tissue": words}, {"flow": flow, "drug": drug}, time=time).start()
    ready.march()
    x, t = ready.nodes[:, 0], 10800.0
    spread = 2 * np.sqrt(1e-4 * t)
    exact = 0.5 * (erfc((x - 1e-4 * t) / spread) + np.exp(np.minimum(x, 300.0)) * erfc((x + 1e-4 * t) / spread))
    printed = {0.5: 0.886204, 1.0: 0.735079, 2.0: 0.399077, 4.0: 0.038411}
    for place, value in printed.items():
        near = np.abs(x - place) < 1e-9
        assert np.allclose(exact[near], value, atol=1e-6)
        # Backward Euler adds v² dt/2 = 3e-7 to D, elements of 0.1 mm err by (h/spread)²/12 of the front.
        assert largest(ready.drug.values[near] - value) < 0.005
    assert largest(ready.drug.values - exact) < 0.005


@pytest.mark.parametrize("diffusivity", [0.0, 1e-9, 1e-6])
def test_a_sharp_front_stays_within_its_bounds_at_any_peclet_number(diffusivity: float, tmp_path: Path) -> None:
    flow = {"conditions": [{"on": "tissue|x-", "inflow": "1e-3 mm/s"}, {"on": "tissue|x+", "pressure": "0 Pa"}]}
    words = tissue() | solute(diffusivity, fraction=0.25)
    time = {"end": "300 s", "step": "10 s"}
    ready = bench(tmp_path, slab(4.0, 20, across=3), {"tissue": words}, {"flow": flow, "drug": {}}, time=time)
    ready.drug.values[:] = (ready.nodes[:, 0] > 0.5) & (ready.nodes[:, 0] < 1.5)
    ready.start()
    before, gone = ready.amount(), 0.0
    assert ready.drug.verification()["cell_peclet_max"] > 100 or diffusivity == 0.0
    for i in range(30):
        ready.drug.advance(10.0 * i, 10.0 * (i + 1))
        ready.drug.accept()
        gone += 10.0 * ready.row("drug", "all").left
        values = ready.drug.values
        assert np.all(values >= 0.0), "exactly"
        assert np.all(values <= 1.0 + 1e-12)
    assert ready.amount() + gone == pytest.approx(before, rel=1e-9)
    # The drug has moved by v t/n_a = 1.2 mm; only tails have reached the end.
    assert gone < 1e-3 * before
    x = ready.nodes[:, 0]
    weights = sum(rates.mass for rates in ready.drug.regions) * ready.drug.values
    middle = COMM.allreduce(float(weights @ x)) / COMM.allreduce(float(weights.sum()))
    assert middle == pytest.approx(1.0 + 1.2, rel=0.01)


def test_fluid_that_leaves_takes_drug_along_and_fluid_that_enters_brings_none(tmp_path: Path) -> None:
    flow = {"conditions": [{"on": "tissue|x-", "inflow": "1e-3 mm/s"}, {"on": "tissue|x+", "pressure": "0 Pa"}]}
    drug = {"initial": {"concentration": ONE}}
    words = tissue() | solute(1e-5, fraction=0.25, hindrance=0.8)
    time = {"end": "20 s", "step": "1 s"}
    ready = bench(tmp_path, slab(2.0, 20), {"tissue": words}, {"flow": flow, "drug": drug}, time=time).start()
    ready.march()
    area = ready.domain.surfaces["tissue|x+"].area
    row = ready.row("drug", "all")
    assert ready.row("drug", "tissue", "tissue|x+").left == pytest.approx(0.8 * 1e-3 * area, rel=1e-9)
    assert (row.entered, row.made, row.lost) == (0.0, 0.0, 0.0)
    assert [w for w in ready.drug.warnings() if "x-" in w] == [
        f"drug: {1e-3 * area:.3g} mm^3/s of fluid enters through tissue|x- and brings no drug"
    ]


def plate(folder: Path, left: Mapping[str, object], right: Mapping[str, object] | None, **time: object) -> Bench:
    """Return a bar of 2 mm without flow, with D = 1e-3 mm²/s and n_a = 0.5."""
    conditions = [{"on": "tissue|x-", **left}] + ([{"on": "tissue|x+", **right}] if right else [])
    words = tissue() | solute(1e-3, fraction=0.5)
    mesh = slab(2.0, 16)
    return bench(
        folder, mesh, {"tissue": words}, {"flow": STILL, "drug": {"conditions": conditions}}, time=time
    ).start()


def test_an_influx_brings_its_amount(tmp_path: Path) -> None:
    ready = plate(tmp_path, {"influx": "3e-4 nmol/(mm^2*s)"}, None, end="100 s", step="10 s")
    ready.march()
    area = ready.domain.surfaces["tissue|x-"].area
    assert ready.amount() == pytest.approx(3e-4 * area * 100, rel=1e-9)
    assert ready.row("drug", "tissue", "tissue|x-").entered == pytest.approx(3e-4 * area, rel=1e-12)


def test_an_exchange_and_a_concentration_make_a_straight_profile(tmp_path: Path) -> None:
    exchange = {"exchange": {"coefficient": "4e-4 mm/s", "to": "2 mol/m^3"}}
    ready = plate(tmp_path, exchange, {"concentration": "0 mol/m^3"}, end="200 s", step="10 s")
    # Resistances in series: 1/k and L/(n_a D). Linear elements hold this profile exactly.
    flux = 2.0 / (1 / 4e-4 + 2.0 / 0.5e-3)
    exact = flux * (2.0 - ready.nodes[:, 0]) / 0.5e-3
    ready.drug.values[:] = exact
    ready.march()
    area = ready.domain.surfaces["tissue|x-"].area
    assert ready.drug.flux_through("tissue|x+") == pytest.approx(flux * area, rel=1e-8)
    entered = ready.row("drug", "tissue", "tissue|x-")
    assert entered.entered - entered.left == pytest.approx(flux * area, rel=1e-8)
    assert largest(ready.drug.values - exact) < 1e-8


def test_a_concentration_that_changes_in_time_is_followed(tmp_path: Path) -> None:
    table = {"times": ["0 s", "100 s"], "values": ["0 mol/m^3", "4 mol/m^3"]}
    ready = plate(tmp_path, {"concentration": table}, None, end="100 s", step="10 s")
    seen = []
    for i in range(10):
        ready.drug.advance(10.0 * i, 10.0 * (i + 1))
        ready.drug.accept()
        held = ready.drug.values[ready.nodes[:, 0] < 1e-9]
        seen.append(max(COMM.allgather(float(held.max(initial=0.0)))))
        assert off(ready.row("drug", "tissue")) < 1e-9
    assert seen == pytest.approx(0.4 * np.arange(1, 11))


def test_drug_sources_in_a_ball_give_their_rate(tmp_path: Path) -> None:
    source = {"at": ["1 mm", "0.05 mm", "0.05 mm"], "radius": "0.4 mm", "rate": "1e-4 nmol/s"}
    words = tissue() | solute(1e-3, fraction=0.5)
    mesh = slab(2.0, 16)
    drug = {"sources": [source]}
    time = {"end": "50 s", "step": "5 s"}
    ready = bench(tmp_path, mesh, {"tissue": words}, {"flow": STILL, "drug": drug}, time=time).start()
    ready.march()
    assert ready.amount() == pytest.approx(5e-3, rel=1e-9)
    assert ready.row("drug", "tissue").made == pytest.approx(1e-4, rel=1e-12)
