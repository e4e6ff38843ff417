"""Compare a finished run of this demo with the closed form, and draw both.

python check.py RUN_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from closed_form import Solution, Tissue, embedded_in_shell, isolated
from matplotlib.figure import Figure
from numpy.typing import NDArray

from turgor.postprocess.run import Run

type Array = NDArray[np.float64]

MMHG = 133.322387415


def tissue(run: Run, region: str) -> Tissue:
    """Return the flow parameters that were in force in a region."""
    values = run.resolved.regions[region]

    def number(name: str) -> float:
        return float(values[name].number or 0.0)

    oncotic = number("plasma_oncotic_pressure") - number("tissue_oncotic_pressure")
    return Tissue(
        hydraulic_conductivity=number("hydraulic_conductivity"),
        filtration=number("vessel_conductivity") * number("vessel_surface_density"),
        vessel_pressure=number("vascular_pressure") - number("osmotic_reflection") * oncotic,
        lymph=number("lymphatic_conductance"),
        lymph_pressure=number("lymphatic_pressure"),
    )


def ball_radius(volume: float) -> float:
    """Return the radius of a ball of this volume."""
    return float((3.0 * volume / (4.0 * np.pi)) ** (1.0 / 3.0))


def closed_form(run: Run) -> Solution:
    """Return the exact solution for the tissues and radii of a run."""
    volumes = {region.name: region.volume for region in run.manifest.region_geometry}
    radius = ball_radius(volumes["tumor"])
    if "normal" not in run.regions:
        return isolated(tissue(run, "tumor"), radius)
    whole = ball_radius(volumes["tumor"] + volumes["normal"])
    return embedded_in_shell(tissue(run, "tumor"), tissue(run, "normal"), radius, whole)


def computed(run: Run) -> tuple[Array, Array]:
    """Return distance from the center [mm] and pressure [Pa] of every point of the mesh, by distance."""
    grid = run.grid()
    distance = np.linalg.norm(np.asarray(grid.points, dtype=np.float64), axis=1)
    order = np.argsort(distance)
    return distance[order], np.asarray(grid.point_data["pressure"], dtype=np.float64)[order]


def pressure_error(run: Run) -> float:
    """Return the root mean square of the pressure error, weighted by volume, over the tumor's plateau."""
    exact, grid = closed_form(run), run.grid()
    cells = grid.cells.reshape(-1, 5)[:, 1:]
    points = np.asarray(grid.points, dtype=np.float64)
    off = np.asarray(grid.point_data["pressure"]) - exact.pressure(np.linalg.norm(points, axis=1))
    corners = points[cells]
    volume = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / 6.0
    # The square of a linear function integrates over a tetrahedron to V (Σ f² + (Σ f)²) / 20.
    square = volume * (np.sum(off[cells] ** 2, axis=1) + np.sum(off[cells], axis=1) ** 2) / 20.0
    return float(np.sqrt(square.sum() / volume.sum()) / tissue(run, "tumor").plateau)


def flux_error(run: Run) -> float:
    """Return the relative error of the volume flux through the tumor's surface."""
    name = "seeps" if "normal" in run.regions else "leaks"
    return float(run.quantities.numbers(f"{name} [mm^3/s]")[-1] / closed_form(run).flux - 1.0)


def balance_residual(run: Run) -> float:
    """Return the largest residual of the fluid balance, relative to the largest of its terms."""
    whole = run.balance.where("physics", "flow").where("region", "all").where("surface", "")
    terms = max(np.abs(whole.numbers(name)).max() for name in ("in", "out", "made", "lost", "stored"))
    return float(np.abs(whole.numbers("residual")).max() / terms)


def draw(run: Run) -> Path:
    """Draw the closed form over the computed pressure into the run's figures; return the file."""
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    exact = closed_form(run)
    distance, pressure = computed(run)
    fine = np.linspace(0.0, distance[-1], 800)
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.add_subplot()
    shown = np.unique(np.linspace(0, len(distance) - 1, 6000).astype(int))
    axes.plot(
        distance[shown], pressure[shown] / MMHG, ".", ms=3, color="#4c86b8", label="computed, at points of the mesh"
    )
    axes.plot(fine, exact.pressure(fine) / MMHG, color="#c0392b", lw=1.6, label="closed form")
    axes.axvline(exact.radius, color="0.6", lw=0.8, ls="--")
    axes.annotate(
        "rim", (exact.radius, 0.03), xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points"
    )
    axes.set(xlabel="distance from the center [mm]", ylabel="interstitial pressure [mmHg]", title=run.title)
    axes.set_ylim(bottom=0.0)
    axes.legend(frameon=False)
    file = run.folder / "figures" / "profile.png"
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=150)
    return file


def check(run: Run, *, pressure: float = 0.015, flux: float = 0.02) -> None:
    """Assert that pressure, flux and balance are right.

    Args:
        run: A finished run of `isolated.toml` or `embedded.toml`.
        pressure: Error of the pressure that is accepted, relative to the plateau. That is for the isolated tumor, whose
            pressure falls to nothing over 0.27 mm; the embedded one, whose fall is gentler, is held to a third of it.
        flux: Error of the flux through the tumor's surface that is accepted.
    """
    assert balance_residual(run) < 1e-8
    assert pressure_error(run) < (pressure / 3.0 if "normal" in run.regions else pressure)
    assert abs(flux_error(run)) < flux


if __name__ == "__main__":
    finished = Run(sys.argv[1])
    print(f"pressure: off by {100 * pressure_error(finished):.2f} % of the plateau")
    print(f"flux through the rim: off by {100 * flux_error(finished):+.2f} %")
    print(f"balance: off by {balance_residual(finished):.0e} of its largest term")
    print(f"drawn: {draw(finished)}")
    check(finished)
