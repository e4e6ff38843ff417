"""Tables in time are followed at the end of each step, no pulse is stepped over, no step is a rounding error long."""

from __future__ import annotations

from pathlib import Path

from support.bench import STILL, bench, solute, tissue  # isort: skip  (first: it loads MPI)

import pytest
from support.meshes import slab

from turgor.fem.march import march

PULSE = {"times": ["0 s", "40 s", "50 s", "60 s"], "values": ["0 Pa", "0 Pa", "100 Pa", "0 Pa"]}


def test_an_exchange_whose_outer_concentration_rises_lets_drug_in(tmp_path: Path) -> None:
    table = {"times": ["0 s", "100 s"], "values": ["0 mol/m^3", "2 mol/m^3"]}
    exchange = {"exchange": {"coefficient": "4e-4 mm/s", "to": table}}
    drug = {"conditions": [{"on": "tissue|x-", **exchange}]}
    time = {"end": "100 s", "step": "10 s"}
    ready = bench(tmp_path, slab(1.0, 8), {"tissue": tissue() | solute(1e-3)}, {"flow": STILL, "drug": drug}, time=time)
    ready.march()
    area = ready.domain.surfaces["tissue|x-"].area
    # By the end the surface holds some of the 2 mol/m^3 outside, so that less enters than into empty tissue.
    assert 0.3 < ready.amount() / (4e-4 * area * 100.0) < 1.1


def test_a_conductivity_that_changes_in_time_is_followed(tmp_path: Path) -> None:
    table = {"times": ["0 s", "100 s"], "values": ["1e-8 mm^2/(Pa*s)", "3e-8 mm^2/(Pa*s)"]}
    ends = [{"on": "tissue|x-", "pressure": "100 Pa"}, {"on": "tissue|x+", "pressure": "0 Pa"}]
    materials = {"tissue": tissue() | {"hydraulic_conductivity": table}}
    ready = bench(tmp_path, slab(1.0, 8), materials, {"flow": {"conditions": ends}}).start()
    first = ready.flow.flux_through("tissue|x+")
    ready.flow.advance(0.0, 50.0)
    assert ready.flow.flux_through("tissue|x+") == pytest.approx(2 * first, rel=1e-9)


def test_no_pulse_of_a_table_is_stepped_over(tmp_path: Path) -> None:
    ends = [{"on": "tissue|x-", "pressure": PULSE}, {"on": "tissue|x+", "pressure": "0 Pa"}]
    time, output = {"end": "100 s", "tolerance": 1e-3}, {"every": "100 s"}
    ready = bench(
        tmp_path, slab(1.0, 8), {"tissue": tissue()}, {"flow": {"conditions": ends}}, time=time, output=output
    )
    steps = march(ready.problems, ready.case.time, ready.case.output)
    flux = {step.time: ready.flow.flux_through("tissue|x+") for step in steps}
    # K Δp / length times the area of the end.
    assert flux[50.0] == pytest.approx(1e-8 * 100.0 / 64, rel=1e-9)
    assert {40.0, 60.0, 100.0} <= set(flux)


def test_a_step_that_was_refused_leaves_no_trace(tmp_path: Path) -> None:
    ends = [{"on": "tissue|x-", "pressure": PULSE}, {"on": "tissue|x+", "pressure": "0 Pa"}]
    ready = bench(tmp_path, slab(1.0, 8), {"tissue": tissue()}, {"flow": {"conditions": ends}}).start()
    ready.flow.advance(0.0, 50.0)
    ready.flow.advance(0.0, 10.0)
    assert ready.flow.flux_through("tissue|x+") == pytest.approx(0.0, abs=1e-18)


@pytest.mark.parametrize("time", [{"step": "0.1 s"}, {"tolerance": 1e-3}])
def test_times_that_differ_by_rounding_are_one(time: dict[str, object], tmp_path: Path) -> None:
    # 3 times 0.1 is 0.30000000000000004.
    drug = {"sources": [{"in": "tissue", "rate": "1 nmol/s", "duration": "0.3 s"}]}
    materials, physics = {"tissue": tissue() | solute(1e-3)}, {"flow": STILL, "drug": drug}
    sections = {"time": {"end": "0.6 s", **time}, "output": {"every": "0.1 s"}}
    ready = bench(tmp_path, slab(1.0, 4), materials, physics, **sections)
    steps = ready.march()
    assert min(step.length for step in steps[1:]) > 1e-6
    assert sum(step.output for step in steps) == 7
    assert steps[-1].time == 0.6
    assert ready.amount() == pytest.approx(0.3, rel=1e-9), "the source ran for 0.3 s"
