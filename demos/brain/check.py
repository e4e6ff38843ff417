"""Check a finished run of this demo against what must hold whatever the numbers are.

python check.py RUN_FOLDER
"""

from __future__ import annotations

import sys

import numpy as np

from turgor.postprocess.run import Run

MMHG = 133.322387415
RESTING = 10.0 * MMHG
"""The intracranial pressure of the case file [Pa]."""


def last(run: Run, measure: str) -> float:
    """Return the last value of a measure, named with its unit."""
    return float(run.quantities.numbers(measure)[-1])


def balance_residual(run: Run, physics: str) -> float:
    """Return the largest residual of a balance over all steps, relative to the largest of its terms."""
    whole = run.balance.where("physics", physics).where("region", "all").where("surface", "")
    terms = max(np.abs(whole.numbers(name)).max() for name in ("in", "out", "made", "lost", "stored"))
    return float(np.abs(whole.numbers("residual")).max() / terms)


def vessel_pressure(run: Run, region: str) -> float:
    """Return the pressure at which the vessels of a region stop leaking [Pa], pv - σ (πv - πi)."""
    values = run.resolved.regions[region]

    def number(name: str) -> float:
        return float(values[name].number or 0.0)

    oncotic = number("plasma_oncotic_pressure") - number("tissue_oncotic_pressure")
    return number("vascular_pressure") - number("osmotic_reflection") * oncotic


def check_flow(run: Run) -> None:
    """Assert that the tumor leaks into a brain that otherwise rests."""
    highest = vessel_pressure(run, "tumor")
    slack = 0.01 * (highest - RESTING)
    assert RESTING - slack < last(run, "lowest [Pa]")
    assert RESTING < last(run, "tension [Pa]") < last(run, "highest [Pa]") < highest + slack
    assert last(run, "seeps [mm^3/s]") > 0.0
    assert last(run, "drains [mm^3/s]") > 0.0
    # The tumor's place in the other hemisphere, behind the ventricles, feels next to nothing of it.
    assert abs(last(run, "far [Pa]") - RESTING) < 0.05 * (last(run, "highest [Pa]") - RESTING)
    assert balance_residual(run, "flow") < 1e-8


def check_drug(run: Run) -> None:
    """Assert that the agent comes out of the tumor's vessels only, is never negative and never more than in blood."""
    in_blood = float(run.plasma.numbers("concentration [mol/m^3]").max())
    for region in run.regions:
        rows = run.region_means.where("region", region)
        assert rows.numbers("concentration min [mol/m^3]").min() > -1e-2 * in_blood
        assert rows.numbers("concentration max [mol/m^3]").max() < (1.0 + 1e-3) * in_blood
    tumor, core, edema, white = (
        run.quantities.numbers(f"in_{place} [mol/m^3]") for place in ("tumor", "core", "edema", "white")
    )
    assert np.argmax(core) > np.argmax(tumor)
    assert tumor.max() > edema.max() > white.max()
    assert balance_residual(run, "drug") < 1e-6


def check_resting(run: Run) -> None:
    """Assert that a brain without leaky vessels rests: the pressure is that of the fluid around it, to 1 Pa."""
    pressure = np.asarray(run.grid().point_data["pressure"], dtype=np.float64)
    assert np.abs(pressure - RESTING).max() < 1.0


def check(run: Run) -> None:
    """Assert everything about the brain with its tumor."""
    check_flow(run)
    check_drug(run)


if __name__ == "__main__":
    finished = Run(sys.argv[1])
    print(f"pressure in the tumor: up to {last(finished, 'highest [Pa]') / MMHG:.2f} mmHg; outside of it 10 mmHg")
    print(f"the same place in the other hemisphere: {last(finished, 'far [Pa]') / MMHG:.3f} mmHg")
    print(f"fluid from tumor to edema: {3.6 * last(finished, 'seeps [mm^3/s]'):.3f} mL/h")
    print(f"the tumor is brightest after {last(finished, 'brightest [s]') / 60:.0f} min")
    check(finished)
