"""Flow in spherical tumors against closed forms, with radii and constants of our own.

The mesh is a polyhedron with the volume of the ball. With h the length of an edge and 1/α the thickness of the layer in
which the pressure falls at the rim, the flux is wrong by about (h α)²/5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.bench import COMM, MMHG, Bench, bench, largest, order, tissue  # isort: skip  (first: it loads MPI)

import numpy as np
import pytest
from numpy.typing import NDArray
from support.closed_forms import NecroticCore, of_the_demo
from support.meshes import balls

Array = NDArray[np.float64]

PRESSURE = 0.005
"""Largest error of a cell's pressure, as a part of the plateau."""

FLUX = 0.02
"""Error of the flux through the tumor's surface where h α < 1/3."""


def layers(start: float, end: float, n: int, grading: float = 1.0) -> Array:
    """Return the ends of n layers whose thickness grows by `grading` from the first to the last."""
    steps = np.geomspace(1.0, grading, n)
    return start + (end - start) * np.cumsum(steps) / steps.sum()


def radii(ready: Bench) -> Array:
    """Return the distance of the cells' centers from the middle."""
    return np.asarray(np.linalg.norm(ready.domain.centers, axis=1))


@pytest.mark.parametrize(
    ("radius", "conductivity", "alpha"),
    [(0.8, 2.3e-8, 2.6), (3.0, 7.0e-9, 0.5)],
)
def test_an_isolated_tumor_has_the_pressure_and_outflow_of_its_closed_form(
    radius: float, conductivity: float, alpha: float, tmp_path: Path
) -> None:
    forms = of_the_demo()
    form = forms.isolated(forms.Tissue(conductivity, alpha**2 * conductivity, 1300.0), radius)
    mesh = balls([layers(0, radius, 8)], ("tumor",))
    materials = {"tumor": tissue(conductivity, filtration=alpha**2 * conductivity, pressure=1300.0)}
    flow = {"conditions": [{"on": "tumor|outside", "pressure": "0 Pa"}]}
    ready = bench(tmp_path, mesh, materials, {"flow": flow}).start()
    assert largest(ready.flow.cell_pressure - form.pressure(radii(ready))) < PRESSURE * 1300.0
    assert ready.flow.flux_through("tumor|outside") == pytest.approx(form.flux, rel=FLUX)


def embedded(
    folder: Path, radius: float, lymph: float, faces: int = 20, n: int = 8, divisions: int = 3
) -> tuple[Bench, Any]:
    """Return a tumor in normal tissue without end, cut off at the pressure that rules there, and its closed form."""
    forms = of_the_demo()
    inside = forms.Tissue(3.1e-8, 3.1e-8 * (1.9 / radius) ** 2, 1450.0)
    outside = forms.Tissue(6.4e-9, 6.4e-9 * (1.6 / radius) ** 2, 800.0, lymph, -150.0)
    form = forms.embedded(inside, outside, radius)
    end = 3 * radius
    materials = {
        name: tissue(
            t.hydraulic_conductivity,
            filtration=t.filtration,
            pressure=t.vessel_pressure,
            drainage=t.lymph,
            lymph_pressure=t.lymph_pressure,
            lymph="linear",
        )
        for name, t in (("tumor", inside), ("normal", outside))
    }
    mesh = balls([layers(0, radius, n), layers(radius, end, n, 3.0)], ("tumor", "normal"), divisions, faces)
    far = f"{float(form.pressure(np.array([end]))[0])!r} Pa"
    flow = {"conditions": [{"on": "normal|outside", "pressure": far}]}
    return bench(folder, mesh, materials, {"flow": flow}).start(), form


@pytest.mark.parametrize(("radius", "lymph"), [(0.6, 0.0), (2.5, 2e-9)])
def test_a_tumor_in_normal_tissue_has_the_pressure_and_flux_of_its_closed_form(
    radius: float, lymph: float, tmp_path: Path
) -> None:
    ready, form = embedded(tmp_path, radius, lymph)
    assert ready.flow.rim_resolution()["tumor|normal"] < 1 / 3
    assert largest(ready.flow.cell_pressure - form.pressure(radii(ready))) < PRESSURE * 1450.0
    assert ready.flow.flux_through("tumor|normal") == pytest.approx(form.flux, rel=FLUX)
    assert ready.flow.flux_through("normal|tumor") == -ready.flow.flux_through("tumor|normal")


def test_linear_lymph_lowers_the_pressure_far_away_to_the_balance_of_vessels_and_lymph(tmp_path: Path) -> None:
    ready, _ = embedded(tmp_path, 1.0, 8e-9)
    conductance = 6.4e-9 * 1.6**2
    far = (conductance * 800.0 + 8e-9 * -150.0) / (conductance + 8e-9)
    shell = radii(ready) > 2.7
    # What the tumor still adds there is exp(-b (r - R)) R/r, with b = 2 /mm.
    assert np.all(np.abs(ready.flow.cell_pressure[shell] - far) < 0.02 * 1450.0)


def test_the_tissue_values_of_the_library_stand_in_the_right_places(tmp_path: Path) -> None:
    # Baxter and Jain (1989): K = 4.13e-8 and 8.53e-9 cm²/(mmHg s), Lp S/V = 5.6e-5 and 2.52e-6 1/(mmHg s).
    forms = of_the_demo()
    inside = forms.Tissue(4.13e-6 / MMHG, 5.6e-5 / MMHG, (15.6 - 0.82 * 5.0) * MMHG)
    outside = forms.Tissue(8.53e-7 / MMHG, 2.52e-6 / MMHG, (15.6 - 0.91 * 10.0) * MMHG)
    form = forms.embedded_in_shell(inside, outside, 0.5, 1.5, outer_pressure=6.5 * MMHG)
    mesh = balls([layers(0, 0.5, 8), layers(0.5, 1.5, 8, 3.0)], ("tumor", "normal"))
    lymphless = {"lymphatic_conductance": "0 1/(Pa*s)"}
    materials = {"tumor": {"like": "tumor", **lymphless}, "normal": {"like": "normal tissue", **lymphless}}
    flow = {"conditions": [{"on": "normal|outside", "pressure": "6.5 mmHg"}]}
    ready = bench(tmp_path, mesh, materials, {"flow": flow}).start()
    assert largest(ready.flow.cell_pressure - form.pressure(radii(ready))) < PRESSURE * 11.5 * MMHG
    assert ready.flow.flux_through("tumor|normal") == pytest.approx(form.flux, rel=FLUX)


def test_the_pressure_converges_with_order_two_and_the_velocity_with_order_one(tmp_path: Path) -> None:
    pressure, velocity, flux = [], [], []
    for n, divisions in ((4, 2), (8, 3), (16, 4)):
        ready, form = embedded(tmp_path, 1.0, 2e-9, faces=1, n=n, divisions=divisions)
        domain, flow = ready.domain, ready.flow
        r = radii(ready)
        pressure.append(np.sqrt(domain.sum((flow.cell_pressure - form.pressure(r)) ** 2 * domain.volumes)))
        # At the vertices, where v = mean + div/3 (x - x_T) is far from its center value.
        offset = domain.points - domain.centers[:, None]
        found = flow.flux.mean[:, None] + flow.flux.divergence[:, None, None] / 3 * offset
        distance = np.linalg.norm(domain.points, axis=2)
        exact = speed(form, distance)[:, :, None] * domain.points / np.maximum(distance, 1e-9)[:, :, None]
        # A vertex on the rim belongs to both tissues, but the radial velocity is continuous.
        velocity.append(np.sqrt(domain.sum(((found - exact) ** 2).sum(axis=(1, 2)) / 4 * domain.volumes)))
        flux.append(abs(20 * flow.flux_through("tumor|normal") / form.flux - 1))
    assert order(pressure) == pytest.approx(2.0, abs=0.2)
    assert order(velocity) == pytest.approx(1.0, abs=0.15)
    # The flux through a whole surface gains an order by symmetry of its errors.
    assert order(flux) > 1.5


def speed(form: Any, r: Array) -> Array:
    """Return the outward velocity [mm/s] of an embedded tumor by a central difference of its pressure, good to 1e-8."""
    step = 1e-4
    inside = r < form.radius - 1e-3
    r = np.where(np.abs(r - form.radius) < 5e-3, form.radius, r)
    conductivity = np.where(inside, 3.1e-8, 6.4e-9)
    low, high = np.maximum(r - step, 0.0), r + step
    slope = (form.pressure(high) - form.pressure(low)) / (high - low)
    return np.asarray(np.where(r == form.radius, form.rim_velocity, -conductivity * slope))


def test_a_cone_over_one_face_of_the_icosahedron_stands_for_the_whole_ball(tmp_path: Path) -> None:
    whole, form = embedded(tmp_path, 1.0, 0.0, n=4, divisions=2)
    part, _ = embedded(tmp_path, 1.0, 0.0, n=4, divisions=2, faces=1)
    assert 20 * part.domain.sum(part.domain.volumes) == pytest.approx(whole.domain.sum(whole.domain.volumes), rel=1e-12)
    # The cells of both are not the same, but near enough for their errors to be.
    error = whole.flow.flux_through("tumor|normal") / form.flux - 1
    assert 20 * part.flow.flux_through("tumor|normal") / form.flux - 1 == pytest.approx(error, abs=0.2 * abs(error))


@pytest.mark.parametrize(("core", "alpha"), [(0.5, 1.9), (0.9, 1.4)])
def test_a_necrotic_core_without_vessels_has_one_pressure(core: float, alpha: float, tmp_path: Path) -> None:
    form = NecroticCore(2e-8, 2e-8 * alpha**2, 1500.0, core, 1.6)
    mesh = balls([layers(0, core, 4), layers(core, 1.6, 8)], ("core", "rim"))
    materials = {"core": tissue(2e-8), "rim": tissue(2e-8, filtration=form.filtration, pressure=1500.0)}
    flow = {"conditions": [{"on": "rim|outside", "pressure": "0 Pa"}]}
    ready = bench(tmp_path, mesh, materials, {"flow": flow}).start()
    r, pressure = radii(ready), ready.flow.cell_pressure
    assert largest(pressure - form.pressure(r)) < PRESSURE * 1500.0
    inside = pressure[r < core]
    spread = max(COMM.allgather(float(inside.max(initial=-np.inf)))) - min(
        COMM.allgather(float(inside.min(initial=np.inf)))
    )
    # The spheres of the core are polyhedra, whose corners reach a little into the rim.
    assert spread < 1e-3 * 1500.0
    assert abs(ready.flow.flux_through("core|rim")) < 1e-9 * ready.flow.flux_through("rim|outside")


def test_multigrid_needs_few_iterations(tmp_path: Path) -> None:
    ready, _ = embedded(tmp_path, 1.0, 0.0)
    assert max(ready.flow.solver.statistics.iterations) < 25
