"""Exchange of the drug with the blood in tissue that is the same everywhere: ordinary equations, in closed form."""

from __future__ import annotations

from pathlib import Path

from support.bench import COMM, STILL, Bench, bench, largest, order, solute, tissue  # isort: skip  (first: it loads MPI)

import numpy as np
import pytest
from support.closed_forms import washed
from support.meshes import Array, box, slab

from turgor.fem.march import march
from turgor.fem.physics.drug.plasma import Plasma
from turgor.materials.library import library
from turgor.materials.quantity import Quantity

CUBE = 3 * [np.linspace(0, 1, 3)]


def still(folder: Path, drug: dict[str, object], **words: object) -> Bench:
    """Return one tissue without flow; P S/V is in [1/s]."""
    mesh = box(CUBE, lambda c: np.zeros(len(c), np.int64), ("tissue",))
    time = words.pop("time", {"end": "7200 s"})
    materials = {"tissue": tissue() | solute(**words)}  # type: ignore[arg-type]
    return bench(folder, mesh, materials, {"flow": STILL, "drug": drug}, time=time)


def followed(ready: Bench, times: tuple[float, ...], **words: object) -> Array:
    """Return the concentration at the given times, the same at all nodes."""
    stops = [f"{float(time)!r} s" for time in times]
    found = {}
    # Steps land on outputs, too: here, none but the stops.
    case = ready.case.with_(time={"end": stops[-1], "stops": stops, **words}, output={"every": stops[-1]})
    for step in march(ready.problems, case.time, case.output):
        values = ready.drug.values
        middle = min(COMM.allgather(float(values.min(initial=np.inf))))
        assert largest(values - middle) <= 1e-9 * middle, "the same everywhere"
        found[step.time] = middle
    return np.array([found[time] for time in times])


TIMES = (600.0, 1800.0, 3600.0, 7200.0)


def test_exchange_with_a_decaying_plasma_follows_its_closed_form(tmp_path: Path) -> None:
    # P S/V = 1e-3 1/s, accessible fraction 0.3, plasma e^(-5e-4 t): c = λ/(λ - k) (e^(-kt) - e^(-λt)), λ = P S/V / n_a.
    ready = still(tmp_path, {}, permeability=1e-3, fraction=0.3)
    ready.drug.plasma = Plasma(dose=1.0, starts=(0.0,), amplitudes=(1.0,), rates=(5e-4,))
    exact = washed(1e-3 / 0.3, ((1.0, 5e-4),), np.array(TIMES))
    assert exact == pytest.approx([0.712333, 0.475401, 0.194462, 0.032146], abs=5e-7), "the printed values"
    found = followed(ready, TIMES, tolerance=1e-4)
    # Each of some 400 steps may err by 1e-4 of the largest concentration; what a step errs decays with the drug, within
    # 300 s, so that some 50 errors add up at any time.
    assert largest(found - exact) < 5e-3


def test_a_smaller_tolerance_gives_a_smaller_error(tmp_path: Path) -> None:
    errors, counts = [], []
    exact = washed(1e-3 / 0.3, ((1.0, 5e-4),), np.array(TIMES))
    for tolerance in (4e-3, 1e-3, 2.5e-4):
        ready = still(tmp_path, {}, permeability=1e-3, fraction=0.3)
        ready.drug.plasma = Plasma(dose=1.0, starts=(0.0,), amplitudes=(1.0,), rates=(5e-4,))
        errors.append(largest(followed(ready, TIMES, tolerance=tolerance) - exact))
        counts.append(ready.drug.statistics()["solves"])
    # The local error goes with dt², the whole one with dt: a quarter of the tolerance halves it with twice the steps.
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] / errors[2] == pytest.approx(4.0, rel=0.3)
    assert counts[2] < 3 * counts[1]


def test_steps_of_a_given_length_converge_with_order_one(tmp_path: Path) -> None:
    exact = washed(1e-3 / 0.3, ((1.0, 5e-4),), np.array(TIMES[:2]))
    errors = []
    for step in (60, 30, 15):
        ready = still(tmp_path, {}, permeability=1e-3, fraction=0.3)
        ready.drug.plasma = Plasma(dose=1.0, starts=(0.0,), amplitudes=(1.0,), rates=(5e-4,))
        errors.append(largest(followed(ready, TIMES[:2], step=f"{step} s") - exact))
    assert order(errors) == pytest.approx(1.0, abs=0.05)


def test_drug_decays_at_its_rate(tmp_path: Path) -> None:
    ready = still(tmp_path, {"initial": {"concentration": "2 mol/m^3"}}, fraction=0.4, decay=1e-4)
    found = followed(ready, (1000.0, 5000.0), step="10 s")
    # Backward Euler is (1 + k dt)^(-t/dt), exactly, whatever the accessible fraction.
    np.testing.assert_allclose(found, 2.0 * (1 + 1e-4 * 10.0) ** -np.array([100.0, 500.0]), rtol=1e-10)


def test_lymph_carries_drug_away_and_filtration_brings_it(tmp_path: Path) -> None:
    # Vessels and lymph balance at p = 600 Pa: Jv = Jl = 4e-8 (1000 - 600) = 1.6e-5 1/s everywhere, no flow.
    fluid = tissue(1e-8, filtration=4e-8, pressure=1000.0, drainage=8e-8, lymph_pressure=400.0)
    drop = solute(fraction=0.25, reflection=0.3, permeability=2e-5)
    mesh = box(CUBE, lambda c: np.zeros(len(c), np.int64), ("tissue",))
    plasma = {"times": ["0 s"], "values": ["1.5 mol/m^3"], "fraction": "free"}
    ready = bench(tmp_path, mesh, {"tissue": fluid | drop}, {"flow": {}, "drug": {"plasma": plasma}})
    drag = 1.6e-5 * 0.7
    back = 2e-5 * (drag / 2e-5) / np.expm1(drag / 2e-5)
    rate, gain = (back + 1.6e-5) / 0.25, (back + drag) / 0.25
    found = followed(ready, (3000.0, 9000.0), step="10 s")
    exact = 1.5 * gain / rate * (1 - (1 + 10 * rate) ** -np.array([300.0, 900.0]))
    np.testing.assert_allclose(found, exact, rtol=1e-8)


def test_a_constant_stays_constant_with_all_of_the_flow_on(tmp_path: Path) -> None:
    # c = c_p, σf = 0, R = 1: what filtration brings, lymph and reabsorption take, and the rest flows on.
    fluid = {
        "a": tissue(3e-8, filtration=6e-8, pressure=1500.0, drainage=1e-8, lymph_pressure=-100.0),
        "b": tissue(5e-9, filtration=2e-8, pressure=200.0),
    }
    materials = {name: words | solute(2e-4, permeability=3e-5, fraction=0.3) for name, words in fluid.items()}
    plasma = {"times": ["0 s"], "values": ["1 mol/m^3"], "fraction": "free"}
    drug = {"plasma": plasma, "initial": {"concentration": "1 mol/m^3"}}
    mesh = box(3 * [np.linspace(0, 2, 7)], lambda c: (np.linalg.norm(c - 1, axis=1) > 0.7).astype(np.int64), ("a", "b"))
    flow = {"conditions": [{"on": "b|outside", "pressure": "-300 Pa"}]}
    ready = bench(tmp_path, mesh, materials, {"flow": flow, "drug": drug}, time={"end": "2000 s", "step": "100 s"})
    ready.start()
    filtration = ready.flow.flux.filtration
    assert max(COMM.allgather(float(filtration.max()))) > 0 > min(COMM.allgather(float(filtration.min())))
    ready.march()
    assert largest(ready.drug.values - 1.0) < 1e-10


def doxorubicin() -> tuple[tuple[float, float], ...]:
    """Return (free concentration per dose [1/mm³], rate [1/s]) of each phase in the library."""
    agent = library().agent("doxorubicin")
    free = agent.unbound_fraction.quantity
    assert isinstance(free, Quantity)
    phases = []
    for amplitude, rate in agent.kinetics:
        assert isinstance(amplitude.quantity, Quantity)
        assert isinstance(rate.quantity, Quantity)
        phases.append((free.value * amplitude.quantity.value, rate.quantity.value))
    return tuple(phases)


def test_a_bolus_of_an_agent_follows_the_closed_form_of_its_phases(tmp_path: Path) -> None:
    plasma = {"dose": "80 umol", "kind": "bolus"}
    ready = still(tmp_path, {"agent": "doxorubicin", "plasma": plasma}, permeability=2e-4, fraction=0.3)
    exact = 80e3 * washed(2e-4 / 0.3, doxorubicin(), np.array(TIMES))
    found = followed(ready, TIMES, tolerance=2e-4)
    # As above: 50 times the tolerance, of the largest concentration.
    assert largest(found - exact) < 1e-2 * exact.max()


def test_an_infusion_and_its_repetition_follow_the_closed_form(tmp_path: Path) -> None:
    plasma = {"dose": "80 umol", "kind": "infusion", "duration": "1200 s", "schedule": ["0 s", "3000 s"]}
    ready = still(tmp_path, {"agent": "doxorubicin", "plasma": plasma}, permeability=2e-4, fraction=0.3)
    assert set(ready.drug.events()) == {0.0, 1200.0, 3000.0, 4200.0}
    rate, times = 2e-4 / 0.3, np.array([1200.0, 3000.0, 4200.0, 7200.0])

    def response(t: float) -> float:
        """Integrate the response to boluses over the time of the infusion, by Gauss's rule."""
        points, weights = np.polynomial.legendre.leggauss(200)
        starts = 600.0 * (points + 1)
        late = np.maximum(t - starts[:, None] - np.array([0.0, 3000.0]), 0.0)
        return float((weights @ washed(rate, doxorubicin(), late)).sum() / 2)

    exact = np.array([80e3 * response(t) for t in times])
    found = followed(ready, tuple(times), tolerance=2e-4)
    assert largest(found - exact) < 1e-2 * exact.max()


def test_a_measured_curve_drives_the_tissue(tmp_path: Path) -> None:
    # Plasma rises linearly to 1 at 1000 s and stays: dc/dt = λ (c_p - c) has the solution below.
    (tmp_path / "curve.csv").write_text("time [s],plasma\n0,0\n1000,2000\n5000,2000\n")
    plasma = {"csv": "curve.csv", "unit": "umol/L", "fraction": "free"}
    ready = still(tmp_path, {"plasma": plasma}, permeability=3e-4, fraction=0.3)
    rate = 1e-3
    exact = [2.0 * (1 - (1 - np.exp(-rate * 1000)) / (rate * 1000))]
    exact.append(2.0 + (exact[0] - 2.0) * np.exp(-rate * 2000))
    found = followed(ready, (1000.0, 3000.0), tolerance=2e-4)
    assert largest(found - np.array(exact)) < 5e-3 * 2.0


def test_a_curve_of_blood_with_cells_is_turned_into_free_drug_in_plasma(tmp_path: Path) -> None:
    plasma = {"times": ["0 s"], "values": ["1 umol/L"], "of": "blood", "fraction": "total"}
    words = {"agent": "doxorubicin", "plasma": plasma}
    mesh = slab(1.0, 2)
    ready = bench(
        tmp_path,
        mesh,
        {"tissue": tissue() | solute()},
        {"flow": STILL, "drug": words},
        patient={"hematocrit": 0.4},
    )
    free = library().agent("doxorubicin").unbound_fraction.quantity
    assert isinstance(free, Quantity)
    # All of the drug is in the plasma, which is 60 % of the blood; 1 umol/L = 1e-3 mol/m³.
    assert ready.drug.plasma.at(np.array([5.0])) == pytest.approx(free.value * 1e-3 / 0.6, rel=1e-12)


@pytest.mark.parametrize("duration", ["300 s", "250 s"])
def test_a_source_gives_its_rate_times_its_duration(duration: str, tmp_path: Path) -> None:
    source = {"in": "tissue", "rate": "2e-3 nmol/s", "duration": duration}
    ready = still(tmp_path, {"sources": [source]}, fraction=0.3, time={"end": "1000 s", "step": "40 s"})
    ready.march()
    assert ready.amount() == pytest.approx(2e-3 * float(duration.split()[0]), rel=1e-10)
