"""Steps in time: they land where something happens, and are as long as asked for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from support.bench import STILL, Bench, bench, solute, tissue  # isort: skip  (first: it loads MPI)

import numpy as np
import pytest
from support.meshes import slab


def treated(folder: Path, time: dict[str, object], every: str | None = None) -> Bench:
    """Return a tissue with two infusions of 10 min, at 0 and at 1000 s, and a source that ends at 700 s."""
    plasma = {"dose": "80 umol", "kind": "infusion", "duration": "10 min", "schedule": ["0 s", "1000 s"]}
    drug = {
        "agent": "doxorubicin",
        "plasma": plasma,
        "sources": [{"in": "tissue", "rate": "1e-6 nmol/s", "duration": "700 s"}],
    }
    materials = {"tissue": tissue() | solute(1e-4, permeability=2e-3, fraction=0.3)}
    output = {"every": every} if every else {}
    return bench(folder, slab(1.0, 4), materials, {"flow": STILL, "drug": drug}, time=time, output=output)


def test_steps_land_on_doses_ends_stops_and_outputs(tmp_path: Path) -> None:
    ready = treated(tmp_path, {"end": "2000 s", "tolerance": 1e-3, "stops": ["333 s"]}, every="450 s")
    steps = ready.march()
    times = [step.time for step in steps]
    assert {0.0, 333.0, 450.0, 600.0, 700.0, 900.0, 1000.0, 1350.0, 1600.0, 1800.0, 2000.0} <= set(times)
    assert times == sorted(set(times))
    assert [step.time for step in steps if step.output] == [0.0, 333.0, 450.0, 900.0, 1350.0, 1800.0, 2000.0]
    lengths = [step.length for step in steps]
    assert lengths[1:] == pytest.approx([b - a for a, b in pairwise(times)])


def test_steps_are_short_after_a_dose_and_grow(tmp_path: Path) -> None:
    steps = treated(tmp_path, {"end": "2000 s", "tolerance": 1e-3}, every="2000 s").march()
    after = {jump: next(step.length for step in steps if step.time > jump) for jump in (0.0, 600.0, 1000.0, 1600.0)}
    # The fastest rate is P S/V / n_a = 1/150 s: a first step of a thousandth of that errs by its square.
    assert all(length < 1.0 for length in after.values())
    lengths = [step.length for step in steps[1:]]
    assert max(lengths) > 20 * min(lengths)
    longest = np.maximum.accumulate(lengths)
    assert np.all(lengths[1:] <= 2.01 * longest[:-1]), "at most twice as long as one before"


def test_steps_of_a_given_length_are_of_that_length_between_events(tmp_path: Path) -> None:
    steps = treated(tmp_path, {"end": "2000 s", "step": "40 s"}, every="2000 s").march()
    times = [step.time for step in steps]
    assert {600.0, 700.0, 1000.0, 1600.0, 2000.0} <= set(times)
    cut = [step.time for step in steps[1:] if step.length < 39.999]
    # 700 s and 1000 s are no multiples of 40 s after the event before.
    assert cut == [700.0, 1000.0]
    assert all(step.length <= 40.000001 for step in steps)


def test_without_a_time_there_is_the_steady_flow_alone(tmp_path: Path) -> None:
    ready = bench(tmp_path, slab(1.0, 4), {"tissue": tissue()}, {"flow": STILL})
    steps = ready.march()
    assert [(step.time, step.length, step.output) for step in steps] == [(0.0, 0.0, True)]


def test_a_steady_state_costs_few_steps(tmp_path: Path) -> None:
    words = tissue() | solute(1e-4, permeability=2e-3, fraction=0.3)
    plasma = {"times": ["0 s"], "values": ["1 mol/m^3"], "fraction": "free"}
    physics = {"flow": STILL, "drug": {"plasma": plasma}}
    counts = []
    for end in ("1e4 s", "1e6 s"):
        ready = bench(tmp_path, slab(1.0, 4), {"tissue": words}, physics, time={"end": end, "tolerance": 1e-3})
        counts.append(len(ready.with_outputs(end).march()))
    # A hundred times as long a rest doubles the step some seven times more.
    assert counts[1] < counts[0] + 15
