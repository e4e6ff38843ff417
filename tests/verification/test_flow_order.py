"""Flow against a manufactured solution with tensors and a jump, and in cells far larger than the layer at a rim."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from support.bench import Bench, bench, tissue, total  # isort: skip  (first: it loads MPI)

from turgor.fem.startup import PETSc, form

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.fem import petsc
from support.closed_forms import of_the_demo, of_the_tests
from support.meshes import Array, balls
from support.page import Page, Section

from turgor.fem.assembly import array, largest_of_ghosts, new
from turgor.fem.nodes import facet_nodes
from turgor.fem.physics.flow.solver import Flow

MANUFACTURED = Section(
    12,
    "Tensors and a jump",
    "A shaken cube of two leaky tissues with full tensors K, directions of their own and a jump of 30, that meet at "
    "x = 1/2 mm; the exact pressure on all sides; 4, 8 and 16 bricks of six tetrahedra along it.",
    """
p = pe + C exp(k·x) in each tissue, with k·K k = A
k × n, C exp(k·x) and n·K k are the same from both sides of x = 1/2""",
    "the method is of order 1 in the velocity and in the flux of each facet, of order 2 in the pressures of cells and "
    "in those averaged at vertices.",
)

LARGE = Section(
    13,
    "Cells larger than the layer at the rim",
    "A leaky sphere in tissue that conducts 1000 times better. The layer inside its rim is far thinner than the cells, "
    "as in a tumor on a mesh of its organ. Beside it, on the same mesh: continuous linear pressures (P1), v = -K ∇p.",
    """
as for the sphere in tissue without end""",
    "h α is 12 and the layer is not resolved, so that there is no order to expect. What a layer in one dimension gives "
    "off is exact by the scheme; a curved one is not. At h α = 1, 0.5, 0.3 the flux is right to 3, 2, 0.8 %.",
)


class Solution(Protocol):
    """What is needed of a closed form."""

    @property
    def rim_velocity(self) -> float: ...

    @property
    def flux(self) -> float: ...

    def pressure(self, r: Array) -> Array: ...


def rms(ready: Bench, squares: Array) -> float:
    """Return the square root of the integral of what is given in each cell."""
    return float(np.sqrt(ready.domain.sum(squares * ready.domain.volumes)))


def test_with_tensors_and_a_jump_all_errors_fall_with_the_orders_of_the_method(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = of_the_tests("verification/test_flow_core.py")
    exact = core.wave()
    found: dict[str, list[float]] = {name: [] for name in ("p of the cells", "p at inner vertices", "v", "flux")}
    for n in (4, 8, 16):
        ready = core.manufactured(tmp_path, n, exact, monkeypatch)
        domain, flow = ready.domain, ready.flow
        second = domain.region == 1
        every = np.repeat(second[:, None], 4, axis=1)
        found["p of the cells"].append(rms(ready, (flow.cell_pressure - exact.pressure(domain.centers, second)) ** 2))
        off = array(flow.pressure)[domain.space.dofmap.list] - exact.pressure(domain.points, every)
        inner = ((domain.points > 1e-9) & (domain.points < 1 - 1e-9)).all(axis=2)
        found["p at inner vertices"].append(rms(ready, (off**2 * inner).mean(axis=1)))
        spread = domain.points - domain.centers[:, None]
        velocity = flow.flux.mean[:, None] + flow.flux.divergence[:, None, None] / 3 * spread
        given = exact.velocity(domain.points, every)
        sizes = [rms(ready, (v**2).sum(axis=2).mean(axis=1)) for v in (velocity - given, given)]
        found["v"].append(sizes[0] / sizes[1])
        surface = domain.surfaces["a|b"]
        areas = np.linalg.norm(surface.area_vectors, axis=1)
        across = exact.velocity(surface.midpoints, np.zeros(len(areas), bool))[:, 0]
        sides = (flow.flux.through(surface) / areas - across, across)
        sums = [total(float(areas @ side**2)) for side in sides]
        found["flux"].append(float(np.sqrt(sums[0] / sums[1])))
    case = "K₁, K₂ full, jump 30"
    for what in ("p of the cells", "p at inner vertices"):
        page.order(MANUFACTURED, case, f"{what}, L2 [of pe]", [error / 500 for error in found[what]], 1.7, 2.3)
    page.order(MANUFACTURED, case, "v, at the vertices of each cell, L2", found["v"], 0.9, 1.3)
    page.order(MANUFACTURED, case, "flux of each facet of the interface, L2", found["flux"], 0.9, 2.1)


FAR = 1.6
"""β of the tissue outside [1/mm]."""


def thin(folder: Path, alpha: float, ratio: float, n: int) -> tuple[Bench, Solution]:
    """Return a sphere of 1 mm in n layers of cells, with α inside and K₁/K₂, in tissue cut off at 3 mm."""
    forms = of_the_demo()
    inside, outside = (
        forms.Tissue(1e-8 * ratio, 1e-8 * ratio * alpha**2, 1000.0),
        forms.Tissue(1e-8, 1e-8 * FAR**2, 0.0),
    )
    form_of_it: Solution = forms.embedded(inside, outside, 1.0)
    ends = np.geomspace(1.0, 3.0, n)
    mesh = balls([np.linspace(0, 1, n + 1)[1:], 1 + 2 * np.cumsum(ends) / ends.sum()], ("tumor", "normal"), 4, faces=1)
    materials = {
        name: tissue(t.hydraulic_conductivity, filtration=t.filtration, pressure=t.vessel_pressure)
        for name, t in (("tumor", inside), ("normal", outside))
    }
    end = f"{float(form_of_it.pressure(np.array([3.0]))[0])!r} Pa"
    flow = {"conditions": [{"on": "normal|outside", "pressure": end}]}
    return bench(folder, mesh, materials, {"flow": flow}).start(), form_of_it


def continuous_velocity(flow: Flow, end: float) -> Array:
    """Return -K ∇p of continuous piecewise linear pressures for the same equation, shape (n_cells, 3); collective.

    Args:
        flow: With the parameters.
        end: Pressure at the end of the tissue [Pa].
    """
    domain = flow.domain
    constants = fem.functionspace(domain.mesh, ("DG", 0))
    conductivity, slope, constant, found = new(constants), new(constants), new(constants), new(domain.space)
    array(conductivity)[:] = flow.conductivity
    array(slope)[:], array(constant)[:] = flow.rates.slope(), flow.rates.constant()
    u, w = ufl.TrialFunction(domain.space), ufl.TestFunction(domain.space)
    bilinear = form(ufl.dot(conductivity * ufl.grad(u), ufl.grad(w)) * ufl.dx + slope * u * w * ufl.dx)
    nodes = facet_nodes(domain, domain.surfaces["normal|outside"])
    rim = new(domain.space)
    array(rim)[np.unique(nodes)] = 1.0
    largest_of_ghosts(rim.x.petsc_vec)
    rim.x.scatter_forward()
    given = new(domain.space)
    array(given)[:] = end
    strong = [fem.dirichletbc(given, np.flatnonzero(array(rim) > 0).astype(np.int32))]
    matrix = petsc.assemble_matrix(bilinear, bcs=strong)
    matrix.assemble()
    right = petsc.assemble_vector(form(constant * w * ufl.dx))
    petsc.apply_lifting(right, [bilinear], [strong])
    right.ghostUpdate(addv=True, mode="reverse")
    petsc.set_bc(right, strong)
    solver = PETSc.KSP().create(domain.comm)
    solver.setOperators(matrix)
    solver.setType("cg")
    solver.getPC().setType("jacobi")
    solver.setTolerances(rtol=1e-12, max_it=2000)
    solver.solve(right, found.x.petsc_vec)
    assert solver.getConvergedReason() > 0
    found.x.scatter_forward()
    corners = np.concatenate([np.ones((len(domain.points), 4, 1)), domain.points], axis=2)
    gradients = np.linalg.solve(corners, array(found)[domain.space.dofmap.list][..., None])[:, 1:, 0]
    return np.asarray(-flow.conductivity[:, None] * gradients)


def in_the_host(ready: Bench, exact: Solution, velocity: Array) -> float:
    """Return the relative L2 error, outside the sphere, of velocities at four points of each cell (of degree two)."""
    points = quadrature(ready.domain.points)
    r = np.linalg.norm(points, axis=2, keepdims=True)
    given = exact.rim_velocity * (1 + FAR * r) / (1 + FAR) * np.exp(FAR * (1 - r)) * points / r**3
    host = ready.domain.region == ready.domain.regions.index("normal")
    off, size = (rms(ready, (v**2).sum(axis=2).mean(axis=1) * host) for v in (velocity - given, given))
    return off / size


def quadrature(points: Array) -> Array:
    """Return the four points of the rule of degree two in each cell, shape (n_cells, 4, 3)."""
    far = (5 - np.sqrt(5)) / 20
    return np.asarray(far * points.sum(axis=1, keepdims=True) + (1 - 4 * far) * points)


def test_where_cells_are_larger_than_the_layer_the_velocity_is_kept_and_that_of_continuous_pressures_is_not(
    page: Page, tmp_path: Path
) -> None:
    ready, exact = thin(tmp_path, 80.0, 1e-3, 8)
    flow, domain = ready.flow, ready.domain
    assert 11 < flow.rim_resolution()["tumor|normal"] < 13
    spread = quadrature(domain.points) - domain.centers[:, None]
    velocity = flow.flux.mean[:, None] + flow.flux.divergence[:, None, None] / 3 * spread
    linear = continuous_velocity(flow, float(exact.pressure(np.array([3.0]))[0]))
    case = "h α = 12, K₁/K₂ = 0.001"
    page.error(LARGE, case, "v outside, L2", in_the_host(ready, exact, velocity), 0.19)
    page.error(LARGE, case, "flux through the rim", abs(20 * flow.flux_through("tumor|normal") / exact.flux - 1), 0.12)
    page.compared(LARGE, case, "P1: v outside, L2", in_the_host(ready, exact, linear[:, None]), 0.73)
    surface = domain.surfaces["tumor|normal"]
    for name, cells in (("inside", surface.cells), ("outside", surface.beyond)):
        rate = 20 * total(float(np.einsum("ij,ij->", linear[cells], surface.area_vectors)))
        page.compared(LARGE, case, f"P1: flux, from the cells {name}", abs(rate / exact.flux - 1), 0.73)


@pytest.mark.parametrize(("width", "layers", "allowed"), [(1.0, 8, 0.03), (0.5, 16, 0.02), (0.3, 16, 0.008)])
def test_the_flux_through_the_rim_of_a_sphere_is_as_right_as_the_cells_are_small(
    width: float, layers: int, allowed: float, page: Page, tmp_path: Path
) -> None:
    # Edges at the rim are 1.2 layers long.
    ready, exact = thin(tmp_path, width * layers / 1.204, 4.84, layers)
    assert ready.flow.rim_resolution()["tumor|normal"] == pytest.approx(width, rel=0.01)
    flux = 20 * ready.flow.flux_through("tumor|normal")
    page.value(LARGE, f"h α = {width:g}, K₁/K₂ = 4.84", "flux [mm³/s]", flux, exact.flux, allowed)
