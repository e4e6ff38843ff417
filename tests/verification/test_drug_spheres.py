"""A large and a small molecule in an isolated leaky tumor, after Baxter and Jain (1989, 1991).

The flow is that of the isolated sphere. Numbers come from finite volumes on 1000 graded cells, in one dimension.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from support.bench import COMM, MMHG, Bench, bench, off, solute, tissue, total  # isort: skip  (first: it loads MPI)

import numpy as np
from support.meshes import Array, balls

from turgor.fem.march import march
from turgor.fem.physics.drug.plasma import Plasma

RADIUS = 5.0
PLACES = np.array([0.5, 0.9, 0.95, 0.99])
IGG = {
    3600.0: (0.561113, 0.372307, 0.283265, 0.218000, 0.453881),
    21600.0: (0.860133, 0.411681, 0.290965, 0.213381, 0.608651),
    86400.0: (0.514937, 0.245081, 0.173145, 0.126947, 0.363398),
    259200.0: (0.128734, 0.061270, 0.043286, 0.031737, 0.090849),
}
SMALL = {
    60.0: (0.947961, 0.947771, 0.947512, 0.947123, 0.947800),
    300.0: (0.745790, 0.745640, 0.745434, 0.745127, 0.745663),
    900.0: (0.409298, 0.409216, 0.409103, 0.408935, 0.409229),
    3600.0: (0.027507, 0.027502, 0.027494, 0.027483, 0.027502),
}
"""Time [s] -> c/c₀ at r/R = 0.5, 0.9, 0.95, 0.99, and its mean over the volume."""


def isolated(folder: Path, words: dict[str, object], rate: float) -> Bench:
    """Return the tumor with a plasma that starts at one and decays at a rate [1/s]."""
    # 1/α = 0.27 mm: layers of 0.6 mm in the middle and of 0.04 mm at the rim.
    steps = np.geomspace(0.6, 0.04, 24)
    layers = RADIUS * np.cumsum(steps) / steps.sum()
    mesh = balls([layers], ("tumor",), 4, faces=1)
    # Baxter and Jain (1989): K = 4.13e-8 cm²/(mmHg s), Lp = 2.8e-7 cm/(mmHg s), S/V = 200 /cm, pe = 11.5 mmHg.
    fluid = tissue(
        4.13e-6 / MMHG,
        pressure=11.5 * MMHG,
        vessel_conductivity=f"{2.8e-6 / MMHG!r} mm/(Pa*s)",
        vessel_surface_density="20 1/mm",
    )
    flow = {"conditions": [{"on": "tumor|outside", "pressure": "0 Pa"}]}
    ready = bench(folder, mesh, {"tumor": fluid | words}, {"flow": flow, "drug": {}})
    ready.drug.plasma = Plasma(dose=1.0, starts=(0.0,), amplitudes=(1.0,), rates=(rate,))
    return ready


def followed(ready: Bench, times: Iterable[float]) -> dict[float, Array]:
    """Return the concentration at the places, averaged over each sphere of nodes, and its mean, at times."""
    stops = [f"{time!r} s" for time in times]
    case = ready.case.with_(time={"end": stops[-1], "stops": stops, "tolerance": 5e-4}, output={"every": stops[-1]})
    found = {}
    for step in march(ready.problems, case.time, case.output):
        if step.length:
            assert off(ready.row("drug", "tumor")) < 1e-9
        if step.time in times:
            found[step.time] = np.append(profile(ready), mean(ready))
    return found


def profile(ready: Bench) -> Array:
    """Return the concentration at the places, by linear interpolation between the spheres of nodes."""
    r = np.concatenate(COMM.allgather(np.linalg.norm(ready.nodes, axis=1)))
    c = np.concatenate(COMM.allgather(np.array(ready.drug.values)))
    order = np.argsort(r)
    cuts = np.flatnonzero(np.diff(r[order]) > 1e-3) + 1
    radii = np.array([part.mean() for part in np.split(r[order], cuts)])
    values = np.array([part.mean() for part in np.split(c[order], cuts)])
    return np.asarray(np.interp(PLACES * RADIUS, radii * RADIUS / radii[-1], values))


def mean(ready: Bench) -> float:
    rates = ready.drug.regions[0].mass
    return ready.amount() / total(float(rates.sum()))


def test_an_antibody_is_diluted_at_the_rim_by_fluid_that_leaves_the_vessels_without_it(tmp_path: Path) -> None:
    words = solute(1.27e-5, permeability=2.82e-6, reflection=0.9, fraction=0.24)
    ready = isolated(tmp_path, words, np.log(2) / 86400.0)
    found = followed(ready, IGG)
    for time, exact in IGG.items():
        # Steps err by 5e-4 each. Cells are 0.3 mm wide; the concentration falls within 0.5 mm of the rim.
        allowed = np.array([0.01, 0.015, 0.03, 0.03, 0.01])
        assert np.all(np.abs(found[time] - exact) < allowed * np.max([*IGG.values()], axis=0))
    assert np.all(np.diff(found[86400.0][:4]) < 0), "less and less towards the rim"


def test_a_small_molecule_is_flat(tmp_path: Path) -> None:
    words = solute(3.4e-4, permeability=3e-3, reflection=0.1, fraction=0.4)
    ready = isolated(tmp_path, words, 1e-3)
    found = followed(ready, SMALL)
    for time, exact in SMALL.items():
        assert np.all(np.abs(found[time] - exact) < 0.01 * np.max([*SMALL.values()], axis=0))
        assert np.ptp(found[time] / exact) < 5e-4, "the shape is right to more digits than the level"
