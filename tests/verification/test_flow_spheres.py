"""Flow in spherical tumors against closed forms, with radii and constants of our own.

The mesh is a polyhedron with the volume of the ball. With h the length of an edge and 1/α the thickness of the layer in
which the pressure falls at the rim, the flux is wrong by about (h α)²/5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.bench import COMM, MMHG, Bench, bench, largest, tissue, total  # isort: skip  (first: it loads MPI)

import numpy as np
import pytest
from numpy.typing import NDArray
from support.closed_forms import Layer, NecroticCore, finite_volumes, of_the_demo
from support.meshes import balls
from support.page import Page, Section, short

Array = NDArray[np.float64]

PRESSURE = 0.005
"""Largest error of a cell's pressure, as a part of the plateau."""

FLUX = 0.02
"""Error of the flux through the tumor's surface where h α < 1/3."""

REASON = (
    "the cells are a polyhedron with the volume of the ball; where h α < 1/3 the flux is wrong by about (h α)²/5, at "
    "most 2 %, and the pressure by 0.5 % of pe."
)

ISOLATED = Section(
    1,
    "Isolated sphere",
    "A leaky sphere of radius R whose rim is held at p = 0 (Baxter and Jain 1989).",
    """
p = pe (1 - (R/r) sinh αr / sinh αR)
<p> = pe (1 - 3 (αR coth αR - 1)/(αR)²)
v(R) = (K pe/R) (αR coth αR - 1)""",
    REASON,
)

EMBEDDED = Section(
    2,
    "Sphere in tissue without end",
    "A leaky sphere (1) in leaky tissue (2) with linear lymph, cut off at 3 R at the pressure that rules there.",
    """
p₁ = p₁∞ + a sinh(αr)/r,   p₂ = p₂∞ + b exp(-β(r - R))/r,   p∞ = (A pe + L pL)/(A + L)
a = R (p₂∞ - p₁∞) / (sinh αR + (K₁/K₂) S/(1 + βR)),   S = αR cosh αR - sinh αR
v(R) = -K₁ a S/R²,   K₁ p₁' = K₂ p₂' at R""",
    REASON + " What leaves the sphere is what enters the tissue, but for the linear solver.",
)

SHELL = Section(
    3,
    "Sphere in a shell",
    "A leaky sphere in a shell of leaky tissue that ends at R₂, sealed or at a given pressure.",
    """
p₁ = p₁∞ + a sinh(αr)/r,   p₂ = p₂∞ + (b exp(-β(r - R)) + c exp(-β(R₂ - r)))/r
p and K p' continuous at R;   at R₂: p' = 0, or p given""",
    REASON,
)

NECROTIC = Section(
    4,
    "Necrotic core",
    "A leaky sphere whose core, r < Rₙ, has no vessels; its rim is held at p = 0.",
    """
p = pe (1 - (R/r) F(r)/F(R)) for r > Rₙ,   F = sinh α(r - Rₙ) + α Rₙ cosh α(r - Rₙ)
p = pe (1 - αR/F(R)) for r < Rₙ
v(R) = K pe (F'(R)/F(R) - 1/R)""",
    REASON,
)

LYMPH = Section(
    5,
    "Lymph calibrated to a far pressure",
    "Leaky tissue with the lymph that holds it at the pressure p*, round a leaky sphere and sealed at R₂ = 3 mm; and "
    "with a given lymph, whose far pressure follows.",
    """
L = A (pe - p*)/(p* - pL)   <=>   p* = (A pe + L pL)/(A + L)""",
    "what the sphere still adds at R₂ is exp(-β (R₂ - R)) R/R₂ of its pressure, below 0.1 % of pe.",
)

FORMULAS = Section(
    6,
    "The formulas themselves",
    "The closed forms of the spheres above against finite volumes in r, which share nothing with them: 4000 volumes "
    "in each layer.",
    """
-(r² K p')' = r² (f - a p)""",
    "the finite volumes are of second order, 1e-5 of pe with the thinnest layer used; twice that for velocities.",
)

ORDER = Section(
    7,
    "Order of convergence at a sphere",
    "The sphere in tissue without end, with lymph, K₁/K₂ = 4.8, on meshes with h α = 0.57, 0.29, 0.14 at the rim.",
    """
p: L2 error of the cells' pressures;   v: L2 error of the velocity, at the vertices of each cell
flux: error of the flux through the rim""",
    "the method is of order 2 in cell pressures and 1 in the velocity; a flux through a whole surface gains from the "
    "symmetry of its errors.",
)


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
    radius: float, conductivity: float, alpha: float, page: Page, tmp_path: Path
) -> None:
    forms = of_the_demo()
    form = forms.isolated(forms.Tissue(conductivity, alpha**2 * conductivity, 1300.0), radius)
    mesh = balls([layers(0, radius, 8)], ("tumor",))
    materials = {"tumor": tissue(conductivity, filtration=alpha**2 * conductivity, pressure=1300.0)}
    flow = {"conditions": [{"on": "tumor|outside", "pressure": "0 Pa"}]}
    ready = bench(tmp_path, mesh, materials, {"flow": flow}).start()
    domain, pressure, reach = ready.domain, ready.flow.cell_pressure, alpha * radius
    case = f"R = {radius:g} mm, αR = {reach:.3g}"
    page.error(
        ISOLATED, case, "p in all cells", largest(pressure - form.pressure(radii(ready))) / 1300, PRESSURE, of="pe"
    )
    mean = domain.sum(pressure * domain.volumes) / domain.sum(domain.volumes)
    exact = 1300 * (1 - 3 * (reach / np.tanh(reach) - 1) / reach**2)
    page.value(ISOLATED, case, "mean p [Pa]", mean, float(exact), PRESSURE, of=(1300, "pe"))
    outflow = ready.flow.flux_through("tumor|outside")
    area = 4 * np.pi * radius**2
    page.value(ISOLATED, case, "v(R) [mm/s], the outflow per area", outflow / area, form.rim_velocity, FLUX)
    page.value(ISOLATED, case, "outflow [mm³/s] of what the vessels give", outflow, made(ready), 1e-9)


def made(ready: Bench) -> float:
    """Return what the vessels give [mm³/s]."""
    return ready.domain.sum(ready.flow.flux.filtration * ready.domain.volumes)


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
    radius: float, lymph: float, page: Page, tmp_path: Path
) -> None:
    ready, form = embedded(tmp_path, radius, lymph)
    assert ready.flow.rim_resolution()["tumor|normal"] < 1 / 3
    case = f"R = {radius:g} mm, L = {short(lymph)} 1/(Pa s)"
    error = largest(ready.flow.cell_pressure - form.pressure(radii(ready))) / 1450
    page.error(EMBEDDED, case, "p in all cells", error, PRESSURE, of="pe")
    velocity = ready.flow.flux_through("tumor|normal") / (4 * np.pi * radius**2)
    page.value(EMBEDDED, case, "v(R) [mm/s], the flux per area", velocity, form.rim_velocity, FLUX)
    rim = ready.domain.surfaces["tumor|normal"]
    sides = [total(float(rates(rim).sum())) for rates in (ready.flow.flux.through, ready.flow.flux.beyond)]
    page.value(EMBEDDED, case, "K₂p₂' of K₁p₁' [mm³/s], over the rim", sides[1], sides[0], 1e-9)
    assert ready.flow.flux_through("normal|tumor") == -ready.flow.flux_through("tumor|normal")


def test_linear_lymph_lowers_the_pressure_far_away_to_the_balance_of_vessels_and_lymph(tmp_path: Path) -> None:
    ready, _ = embedded(tmp_path, 1.0, 8e-9)
    conductance = 6.4e-9 * 1.6**2
    far = (conductance * 800.0 + 8e-9 * -150.0) / (conductance + 8e-9)
    shell = radii(ready) > 2.7
    # What the tumor still adds there is exp(-b (r - R)) R/r, with b = 2 /mm.
    assert np.all(np.abs(ready.flow.cell_pressure[shell] - far) < 0.02 * 1450.0)


@pytest.mark.parametrize("outer", [None, 350.0])
def test_a_tumor_in_a_shell_has_the_pressure_and_the_rim_velocity_of_its_closed_form(
    outer: float | None, page: Page, tmp_path: Path
) -> None:
    forms = of_the_demo()
    inside, outside = forms.Tissue(1.7e-8, 1.7e-8 * 2.2**2, 1250.0), forms.Tissue(9e-9, 9e-9 * 0.9**2, 500.0)
    form = forms.embedded_in_shell(inside, outside, 0.9, 2.0, outer_pressure=outer)
    mesh = balls([layers(0, 0.9, 8), layers(0.9, 2.0, 8, 1.5)], ("tumor", "normal"))
    materials = {
        name: tissue(t.hydraulic_conductivity, filtration=t.filtration, pressure=t.vessel_pressure)
        for name, t in (("tumor", inside), ("normal", outside))
    }
    flow = {} if outer is None else {"conditions": [{"on": "normal|outside", "pressure": f"{outer!r} Pa"}]}
    ready = bench(tmp_path, mesh, materials, {"flow": flow}).start()
    case = "R = 0.9 mm, R₂ = 2 mm, " + ("sealed" if outer is None else f"p(R₂) = {outer:g} Pa")
    error = largest(ready.flow.cell_pressure - form.pressure(radii(ready))) / 1250
    page.error(SHELL, case, "p in all cells", error, PRESSURE, of="pe")
    velocity = ready.flow.flux_through("tumor|normal") / (4 * np.pi * 0.9**2)
    page.value(SHELL, case, "v(R) [mm/s], the flux per area", velocity, form.rim_velocity, FLUX)
    leaves = ready.flow.flux_through("normal|outside")
    if outer is not None:
        page.value(SHELL, case, "outflow [mm³/s] of what the vessels give", leaves, made(ready), 1e-9)
    else:
        assert leaves == 0.0


NORMAL = (8.53e-7 / MMHG, 2.52e-6 / MMHG, (15.6 - 0.91 * 10.0) * MMHG)
"""K [mm²/(Pa s)], A [1/(Pa s)] and pe [Pa] of normal tissue: Baxter and Jain (1989)."""


@pytest.mark.parametrize(("far", "lymph_pressure"), [(0.0, -4.0), (-1.0, -6.0), (-3.0, -6.0), (None, 0.0)])
def test_lymph_is_calibrated_by_the_pressure_far_away(
    far: float | None, lymph_pressure: float, page: Page, tmp_path: Path
) -> None:
    conductivity, filtration, plateau = NORMAL
    given = 1.33e-5 if far is None else filtration * (plateau - far * MMHG) / (far - lymph_pressure)
    lymph = given / MMHG
    exact = (filtration * plateau + lymph * lymph_pressure * MMHG) / (filtration + lymph) / MMHG
    mesh = balls([layers(0, 0.5, 6), layers(0.5, 3.0, 9, 3.0)], ("tumor", "normal"), faces=1)
    drained = {"drainage": lymph, "lymph_pressure": lymph_pressure * MMHG}
    materials = {
        "tumor": {"like": "tumor", "lymphatic_conductance": "0 1/(Pa*s)"},
        "normal": tissue(conductivity, filtration=filtration, pressure=plateau, **drained),
    }
    ready = bench(tmp_path, mesh, materials, {"flow": {}}).start()
    rim = ready.domain.surfaces["normal|outside"].cells
    count, height = (total(float(x)) for x in (len(rim), ready.flow.cell_pressure[rim].sum() / MMHG))
    case = f"pL = {lymph_pressure:g} mmHg, " + ("L given" if far is None else f"L from p* = {far:g} mmHg")
    case += f", {short(given, 4)} 1/(mmHg s)"
    page.value(LYMPH, case, "p at R₂ [mmHg]", height / count, round(exact, 9), 1e-3, of=(plateau / MMHG, "pe"))


def test_the_closed_forms_solve_their_equation(page: Page) -> None:
    forms = of_the_demo()
    inside, outside = forms.Tissue(3.1e-8, 1.3e-7, 1450.0), forms.Tissue(6.4e-9, 2e-8, 800.0, 5e-9, -150.0)
    leaky = [
        Layer(end, t.hydraulic_conductivity, t.filtration + t.lymph, (t.filtration + t.lymph) * t.plateau)
        for t, end in ((inside, 0.8), (outside, 2.0), (inside, 2.0))
    ]
    core = NecroticCore(3.1e-8, 1.3e-7, 1450.0, 0.8, 2.0)
    sphere = forms.isolated(inside, 2.0)
    cases = {
        "isolated sphere": ((leaky[2],), 0.0, sphere.pressure, sphere.rim_velocity, -1),
        "necrotic core": ((Layer(0.8, 3.1e-8), leaky[2]), 0.0, core.pressure, core.rim_velocity, -1),
    }
    far = forms.embedded(inside, outside, 0.8)
    shells = {"tissue without end": (far, float(far.pressure(np.array([2.0]))[0]))}
    for name, outer in (("sealed shell", None), ("shell with p(R₂) = 350 Pa", 350.0)):
        shells[name] = (forms.embedded_in_shell(inside, outside, 0.8, 2.0, outer_pressure=outer), outer)
    for name, (form, outer) in shells.items():
        cases[name] = ((leaky[0], leaky[1]), outer, form.pressure, form.rim_velocity, 0)
    for name, (bodies, outer, pressure, velocity, rim) in cases.items():
        r, found, leaving = finite_volumes(bodies, 4000, outer)
        error = float(np.abs(found - pressure(r)).max()) / 1450
        page.error(FORMULAS, name, "p", error, 1e-5, of="pe")
        page.value(FORMULAS, name, "v(R) [mm/s]", float(leaving[rim]), velocity, 2e-5)


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


def test_the_pressure_converges_with_order_two_and_the_velocity_with_order_one(page: Page, tmp_path: Path) -> None:
    pressure, velocity, flux = [], [], []
    for n, divisions in ((4, 2), (8, 3), (16, 4)):
        ready, form = embedded(tmp_path, 1.0, 2e-9, faces=1, n=n, divisions=divisions)
        domain, flow = ready.domain, ready.flow
        r = radii(ready)
        size = np.sqrt(domain.sum(domain.volumes))
        pressure.append(
            np.sqrt(domain.sum((flow.cell_pressure - form.pressure(r)) ** 2 * domain.volumes)) / size / 1450
        )
        # At the vertices, where v = mean + div/3 (x - x_T) is far from its center value.
        offset = domain.points - domain.centers[:, None]
        found = flow.flux.mean[:, None] + flow.flux.divergence[:, None, None] / 3 * offset
        distance = np.linalg.norm(domain.points, axis=2)
        exact = speed(form, distance)[:, :, None] * domain.points / np.maximum(distance, 1e-9)[:, :, None]
        # A vertex on the rim belongs to both tissues, but the radial velocity is continuous.
        errors, sizes = (domain.sum((v**2).sum(axis=(1, 2)) * domain.volumes) for v in (found - exact, exact))
        velocity.append(np.sqrt(errors / sizes))
        flux.append(abs(20 * flow.flux_through("tumor|normal") / form.flux - 1))
    case = "R = 1 mm, 4, 8, 16 layers"
    page.order(ORDER, case, "p of the cells, L2 [of pe]", pressure, 1.8, 2.2)
    page.order(ORDER, case, "v, L2", velocity, 0.85, 1.15)
    page.order(ORDER, case, "flux through the rim", flux, 1.5)


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
def test_a_necrotic_core_without_vessels_has_one_pressure(
    core: float, alpha: float, page: Page, tmp_path: Path
) -> None:
    form = NecroticCore(2e-8, 2e-8 * alpha**2, 1500.0, core, 1.6)
    mesh = balls([layers(0, core, 4), layers(core, 1.6, 8)], ("core", "rim"))
    materials = {"core": tissue(2e-8), "rim": tissue(2e-8, filtration=form.filtration, pressure=1500.0)}
    flow = {"conditions": [{"on": "rim|outside", "pressure": "0 Pa"}]}
    ready = bench(tmp_path, mesh, materials, {"flow": flow}).start()
    r, pressure = radii(ready), ready.flow.cell_pressure
    case = f"Rₙ = {core:g} mm, R = 1.6 mm, αR = {1.6 * alpha:.3g}"
    page.error(NECROTIC, case, "p in all cells", largest(pressure - form.pressure(r)) / 1500, PRESSURE, of="pe")
    volumes = ready.domain.volumes * (ready.domain.region == ready.domain.regions.index("core"))
    middle = ready.domain.sum(pressure * volumes) / ready.domain.sum(volumes)
    exact = float(form.pressure(np.zeros(1))[0])
    page.value(NECROTIC, case, "p in the core [Pa]", middle, exact, PRESSURE, of=(1500, "pe"))
    velocity = ready.flow.flux_through("rim|outside") / (4 * np.pi * 1.6**2)
    page.value(NECROTIC, case, "v(R) [mm/s], the outflow per area", velocity, form.rim_velocity, FLUX)
    inside = pressure[r < core]
    spread = max(COMM.allgather(float(inside.max(initial=-np.inf)))) - min(
        COMM.allgather(float(inside.min(initial=np.inf)))
    )
    # The spheres of the core are polyhedra, whose corners reach a little into the rim.
    page.error(NECROTIC, case, "spread of p in the core", spread / 1500, 1e-3, of="pe")
    assert abs(ready.flow.flux_through("core|rim")) < 1e-9 * ready.flow.flux_through("rim|outside")


def test_multigrid_needs_few_iterations(tmp_path: Path) -> None:
    ready, _ = embedded(tmp_path, 1.0, 0.0)
    assert max(ready.flow.solver.statistics.iterations) < 25
