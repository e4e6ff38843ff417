"""Check a finished run of this demo against what must hold whatever the numbers are.

python check.py RUN_FOLDER
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from turgor.postprocess.run import Run

type Array = NDArray[np.float64]

MMHG = 133.322387415
OUTSIDE = -0.3 * MMHG
"""The pressure on skin and chest wall in the case file [Pa]."""


def plateau(run: Run, region: str) -> float:
    """Return the pressure at which vessels give what lymph takes [Pa]: the highest that a region can build up alone."""
    values = run.resolved.regions[region]

    def number(name: str) -> float:
        return float(values[name].number or 0.0)

    given = number("vessel_conductivity") * number("vessel_surface_density")
    oncotic = number("plasma_oncotic_pressure") - number("tissue_oncotic_pressure")
    vessels = number("vascular_pressure") - number("osmotic_reflection") * oncotic
    lymph = number("lymphatic_conductance")
    return (given * vessels + lymph * number("lymphatic_pressure")) / (given + lymph)


def balance_residual(run: Run, physics: str) -> float:
    """Return the largest residual of a balance over all steps, relative to the largest of its terms."""
    whole = run.balance.where("physics", physics).where("region", "all").where("surface", "")
    terms = max(np.abs(whole.numbers(name)).max() for name in ("in", "out", "made", "lost", "stored"))
    return float(np.abs(whole.numbers("residual")).max() / terms)


def accumulated(run: Run, region: str) -> tuple[float, float]:
    """Return the drug that a region must hold by its balance, and the drug found in its field, at the end [nmol].

    The first is the sum over the steps of (in - out + made - lost) times the length of the step.
    """
    rows = run.balance.where("physics", "drug").where("region", region).where("surface", "")
    steps = np.diff(rows.numbers("t [s]"), prepend=0.0)
    gained = rows.numbers("in") - rows.numbers("out") + rows.numbers("made") - rows.numbers("lost")
    amounts = run.region_means.where("region", region).numbers("amount [nmol]")
    return float(np.sum(steps * gained)), float(amounts[-1] - amounts[0])


def curve(run: Run, measure: str, unit: str) -> tuple[Array, Array]:
    """Return times [s] and values of a measure."""
    return run.quantities.numbers("t [s]"), run.quantities.numbers(f"{measure} [{unit}]")


def check_flow(run: Run, slack: float) -> None:
    """Assert that the pressure lies between the outside and the tumor's plateau, and that fluid leaves the tumor.

    Args:
        run: A finished run.
        slack: By how much of that range the bounds may be missed; the cells at the rim are thicker than its layer.
    """
    highest, lowest = (float(run.quantities.numbers(name)[-1]) for name in ("plateau [Pa]", "lowest [Pa]"))
    bounds = [OUTSIDE, plateau(run, "tumor"), plateau(run, "breast")]
    missed = slack * (max(bounds) - min(bounds))
    assert min(bounds) - missed < lowest
    assert 0.9 * plateau(run, "tumor") < highest < max(bounds) + missed
    assert run.quantities.numbers("seeps [mm^3/s]")[-1] > 0.0
    assert balance_residual(run, "flow") < 1e-9


def check_drug(run: Run) -> None:
    """Assert that no drug appears or vanishes, and that no concentration is negative or above that of the blood."""
    highest_in_blood = float(run.plasma.numbers("concentration [mol/m^3]").max())
    for region in run.regions:
        rows = run.region_means.where("region", region)
        assert rows.numbers("concentration min [mol/m^3]").min() >= 0.0
        assert rows.numbers("concentration max [mol/m^3]").max() < (1.0 + 1e-3) * highest_in_blood
        by_balance, in_field = accumulated(run, region)
        assert abs(by_balance - in_field) < 1e-6 * rows.numbers("amount [nmol]").max()
    assert balance_residual(run, "drug") < 1e-9


def check_exposure(run: Run) -> None:
    """Assert that AUC, peak and its time fit the curve they are taken from, and that the tumor sees the drug first."""
    times, tumor = curve(run, "in_tumor", "mol/m^3")
    _, breast = curve(run, "in_breast", "mol/m^3")
    area = run.quantities.numbers("seen [mol*s/m^3]")
    # The run may weigh its steps otherwise than the trapezoidal rule does, by a fraction of its time error.
    assert abs(area[-1] / np.trapezoid(tumor, times) - 1.0) < 0.02
    assert np.all(np.diff(area) >= 0.0)
    assert run.quantities.numbers("peak [mol/m^3]")[-1] >= tumor.max() * (1.0 - 1e-9)
    assert tumor[-1] < tumor.max()
    early = times <= 0.25 * times[-1]
    assert tumor[early].max() > breast[early].max()


def check(run: Run, *, slack: float = 0.03) -> None:
    """Assert everything; `slack` is that of `check_flow`."""
    check_flow(run, slack)
    check_drug(run)
    check_exposure(run)


if __name__ == "__main__":
    finished = Run(sys.argv[1])
    seconds, mean = curve(finished, "in_tumor", "mol/m^3")
    print(f"pressure in the tumor: up to {finished.quantities.numbers('plateau [Pa]')[-1] / MMHG:.2f} mmHg")
    print(f"fluid from tumor to breast: {3.6 * finished.quantities.numbers('seeps [mm^3/s]')[-1]:.3f} mL/h")
    minutes = seconds[mean.argmax()] / 60.0
    print(f"free doxorubicin in the tumor: at most {1e6 * mean.max():.0f} nmol/L, after {minutes:.0f} min")
    print(f"balance of drug: {balance_residual(finished, 'drug'):.1e} of its largest term")
    check(finished)
