"""The discrete flow itself: its matrices against forms, tensors, thin layers, and a solver that jumps do not slow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from support.bench import Bench, bench, largest, order, tissue, total  # isort: skip  (first: it loads MPI)

from turgor.fem.startup import MPI, PETSc, form

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.fem import petsc
from support.closed_forms import Slab
from support.meshes import Array, balls, box, slab

from turgor.fem.assembly import array, new
from turgor.fem.coefficients import Coefficients
from turgor.fem.domain import Domain
from turgor.fem.linear import DIRECT, Krylov
from turgor.fem.physics.flow.equations import layer_factor
from turgor.fem.physics.flow.solver import Flow
from turgor.meshing.tetrahedra import Tetrahedra

ROUNDING = 1e-12
CONDITIONS = [
    {"on": "*|x-", "pressure": "700 Pa"},
    {"on": "*|x+", "exchange": {"coefficient": "3e-8 mm/(Pa*s)", "to": "-200 Pa"}},
    {"on": "*|y-", "inflow": "2e-6 mm/s"},
    {"on": "a|b", "pressure": "400 Pa"},
]


def shaken(mesh: Tetrahedra, share: float = 0.15) -> Tetrahedra:
    """Move the inner points of a box by up to a share of its shortest edge; points between regions in x stay there."""
    rng = np.random.default_rng(7)
    low, high = mesh.points.min(axis=0), mesh.points.max(axis=0)
    inner = (mesh.points > low + 1e-9) & (mesh.points < high - 1e-9)
    inner[:, 0] &= np.abs(mesh.points[:, 0] - (low[0] + high[0]) / 2) > 1e-9
    edge = np.linalg.norm(np.diff(mesh.points[mesh.cells[:, :2]], axis=1), axis=2).min()
    return replace(mesh, points=mesh.points + rng.uniform(-1, 1, mesh.points.shape) * inner * share * edge)


def tensors(monkeypatch: pytest.MonkeyPatch, of: dict[str, Array]) -> None:
    """Let regions have tensors of conductivity [mm²/(Pa s)]."""

    def tensor(self: Coefficients, name: str, time: float = 0.0) -> Array | None:
        found = self.cells(name, time)[:, None, None] * np.eye(3)
        for region, value in of.items():
            found[self.domain.within([region])] = value
        return found

    monkeypatch.setattr(Coefficients, "tensor", tensor)


def two_tissues(folder: Path, **laws: object) -> Bench:
    """Return a solved box of two leaky tissues with every kind of condition."""
    ticks = [np.linspace(0, 2, 7), np.linspace(0, 1, 4), np.linspace(0, 1.2, 4)]
    mesh = shaken(box(ticks, lambda c: (c[:, 0] > 1).astype(np.int64), ("a", "b"), sides=True))
    materials = {
        "a": tissue(3e-8, filtration=2e-7, pressure=900.0, **laws),
        "b": tissue(5e-9, filtration=1e-8, pressure=300.0, drainage=4e-8, lymph_pressure=-50.0, **laws),
    }
    return bench(folder, mesh, materials, {"flow": {"conditions": CONDITIONS}}).start()


def of_forms(flow: Flow) -> tuple[Any, Array]:
    """Return the matrix and the right-hand side of the equation as DOLFINx assembles them; collective."""
    space, mesh = flow.space, flow.domain.mesh
    constants, matrices = fem.functionspace(mesh, ("DG", 0)), fem.functionspace(mesh, ("DG", 0, (3, 3)))
    sink, layer, source = (new(constants) for _ in range(3))
    conductivity = new(matrices)
    for function, values in ((sink, flow.cells.sink), (layer, flow.cells.layer), (source, flow.cells.source)):
        array(function)[:] = values
    tensor = flow.cells.tensor if len(flow.cells.tensor) else flow.conductivity[:, None, None] * np.eye(3)
    array(conductivity)[:] = tensor.ravel()
    l, m = ufl.TrialFunction(space), ufl.TestFunction(space)  # noqa: E741
    point, exact = (ufl.dx(metadata={"quadrature_degree": degree}) for degree in (1, 2))
    bilinear = ufl.dot(conductivity * ufl.grad(l), ufl.grad(m)) * point + sink * l * m * point
    bilinear += layer * l * m * exact - layer * l * m * point
    fixed = np.flatnonzero(flow.facets.fixed).astype(np.int32)
    given = new(space)
    array(given)[:] = flow.facets.given
    strong = [fem.dirichletbc(given, fixed)]
    compiled, linear = form(bilinear), form(source * m * point)
    matrix = petsc.assemble_matrix(compiled, bcs=strong)
    matrix.assemble()
    diagonal = matrix.getDiagonal()
    diagonal.array[:] += flow.facets.exchange[: len(diagonal.array)]
    matrix.setDiagonal(diagonal)
    matrix.assemble()
    right = petsc.assemble_vector(linear)
    right.array[:] += flow._facet_terms(0.0)
    petsc.apply_lifting(right, [compiled], [strong])
    right.ghostUpdate(addv=True, mode="reverse")
    petsc.set_bc(right, strong)
    return matrix, right.array.copy()


@pytest.mark.parametrize("directed", [False, True])
def test_the_matrices_are_those_of_the_form(directed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if directed:
        tensors(monkeypatch, {"b": 1e-8 * np.array([[3.0, 1.0, 0.2], [1.0, 2.0, -0.4], [0.2, -0.4, 0.7]])})
    flow = two_tissues(tmp_path, lymph="linear").flow
    matrix, right = of_forms(flow)
    assert largest(flow.levels.right.array - right) < ROUNDING * largest(right)
    size = float(matrix.norm())
    # Rows of prescribed pressures are left out below, where the interpolation is zero.
    product = matrix.ptap(interpolation(flow))
    product.axpy(-1.0, flow.levels.coarse)
    assert float(product.norm()) < ROUNDING * float(flow.levels.coarse.norm())
    values, sums = matrix.createVecs()
    values.array[:] = np.cos(np.arange(*values.getOwnershipRange()))
    flow.levels.matrix.mult(values, sums)
    sums.axpy(-1.0, matrix * values)
    assert float(sums.norm()) < ROUNDING * size
    matrix.axpy(-1.0, flow.levels.explicit())
    assert float(matrix.norm()) < ROUNDING * size


def interpolation(flow: Flow) -> PETSc.Mat:
    """Return the matrix that takes the mean of three corners on each free facet; collective."""
    facets, nodes = flow.space.dofmap.index_map, flow.domain.space.dofmap.index_map
    owned = np.arange(facets.size_local, dtype=np.int32)
    matrix = PETSc.Mat().create(facets.comm)
    matrix.setSizes(tuple((m.size_local, m.size_global) for m in (facets, nodes)))
    matrix.setType("aij")
    rows = np.repeat(facets.local_to_global(owned), 3).astype(PETSc.IntType)
    columns = nodes.local_to_global(flow.levels.corners.ravel()).astype(PETSc.IntType)
    matrix.setPreallocationCOO(rows, columns)  # type: ignore[arg-type]
    matrix.setValuesCOO(np.repeat(np.where(flow.facets.fixed[owned], 0.0, 1 / 3), 3))  # type: ignore[arg-type]
    return matrix


def test_the_cycle_is_symmetric_and_a_few_of_them_solve(tmp_path: Path) -> None:
    flow = two_tissues(tmp_path).flow
    pc = flow.solver.ksp.getPC()
    one, other = (flow.levels.right.duplicate() for _ in range(2))
    start, end = one.getOwnershipRange()
    one.array[:], other.array[:] = np.cos(np.arange(start, end)), np.sin(np.arange(start, end) ** 2)
    found = [flow.levels.right.duplicate() for _ in range(2)]
    for vector, cycled in zip((one, other), found, strict=True):
        pc.apply(vector, cycled)
    # Rounded to single precision.
    size = np.sqrt(float(one.dot(found[0])) * float(other.dot(found[1])))
    assert abs(float(one.dot(found[1])) - float(other.dot(found[0]))) < 1e-5 * size
    # As one step of a stationary method, it takes a given share off the energy of every error.
    solution, rest = flow.levels.right.duplicate(), flow.levels.right.copy()
    for _ in range(10):
        pc.apply(rest, found[0])
        solution.axpy(1.0, found[0])
        flow.levels.matrix.mult(solution, rest)
        rest.aypx(-1.0, flow.levels.right)
    assert float(rest.norm()) < 1e-3 * float(flow.levels.right.norm())


def test_a_direct_solver_gives_the_same_pressures(tmp_path: Path) -> None:
    flow = two_tissues(tmp_path).flow
    exact = new(flow.space)
    direct = Krylov("flow_direct", flow.levels.explicit(), DIRECT, "a factorization", tolerance=1e-14)
    direct.solve(flow.levels.right, exact.x.petsc_vec)
    direct.destroy()
    owned = flow.space.dofmap.index_map.size_local
    assert largest((array(exact) - array(flow.multiplier))[:owned]) < 1e-9 * 700.0


@dataclass(frozen=True)
class Wave:
    """p = pe + C exp(k·x) in each of two tissues that meet at x = 1/2, with k·K k = a.

    Across the plane k and p keep their tangential parts, and the flux (K k)·n p is the same from both sides.

    Attributes:
        tensors: K of both [mm²/(Pa s)].
        waves: k of both [1/mm].
        plateau: pe [Pa].
    """

    tensors: tuple[Array, Array]
    waves: tuple[Array, Array]
    plateau: float

    def pressure(self, points: Array, second: Array) -> Array:
        """Return p at points, where `second` tells those of the second tissue."""
        one, other = self.waves
        shift = 0.5 * (one[0] - other[0])
        return np.asarray(self.plateau + 100 * np.exp(np.where(second, points @ other + shift, points @ one)))

    def velocity(self, points: Array, second: Array) -> Array:
        """Return -K ∇p, shape (..., 3)."""
        height = (self.pressure(points, second) - self.plateau)[..., None]
        flows = [tensor @ wave for tensor, wave in zip(self.tensors, self.waves, strict=True)]
        return np.asarray(-height * np.where(second[..., None], flows[1], flows[0]))

    def rates(self) -> tuple[float, float]:
        """Return a of both [1/(Pa s)]."""
        one, other = (float(k @ tensor @ k) for tensor, k in zip(self.tensors, self.waves, strict=True))
        return one, other


def wave() -> Wave:
    """Return a wave through two tissues with directions of their own and a jump of 30 in the conductivity."""
    one = 1e-8 * np.array([[3.0, 1.0, 0.2], [1.0, 2.0, -0.4], [0.2, -0.4, 0.7]])
    other = 3e-7 * np.array([[1.0, -0.3, 0.5], [-0.3, 2.0, 0.1], [0.5, 0.1, 1.5]])
    first = np.array([2.0, -1.0, 0.7])
    across = (one[0] @ first - other[0, 1:] @ first[1:]) / other[0, 0]
    return Wave((one, other), (first, np.array([across, *first[1:]])), 500.0)


def manufactured(folder: Path, n: int, exact: Wave, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return a cube of two tissues, solved with the exact pressure on all its sides."""
    tensors(monkeypatch, dict(zip("ab", exact.tensors, strict=True)))

    def prescribe(flow: Flow, time: float) -> None:
        points = flow.domain.points
        second = np.repeat(flow.domain.region[:, None] == 1, 4, axis=1)
        mean = np.zeros((len(points), 4))
        for i in range(4):
            corners = np.delete(points, i, axis=1)
            # The middles of the edges give the mean of a square exactly.
            mean[:, i] = (
                sum(exact.pressure((corners[:, j] + corners[:, j - 1]) / 2, second[:, i]) for j in range(3)) / 3
            )
        flow.facets.given[flow.rows] = mean

    monkeypatch.setattr(Flow, "_prescribe", prescribe)
    mesh = shaken(box(3 * [np.linspace(0, 1, n + 1)], lambda c: (c[:, 0] > 0.5).astype(np.int64), ("a", "b")))
    materials = {
        name: tissue(1e-8, filtration=rate, pressure=exact.plateau)
        for name, rate in zip("ab", exact.rates(), strict=True)
    }
    flow = {"conditions": [{"on": "*|outside", "pressure": "0 Pa"}]}
    return bench(folder, mesh, materials, {"flow": flow}).start()


def test_with_tensors_and_a_jump_the_flux_converges_with_order_one_and_the_pressure_with_order_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, pressure, velocity, flux = wave(), [], [], []
    for n in (4, 8, 16):
        ready = manufactured(tmp_path, n, exact, monkeypatch)
        domain, flow = ready.domain, ready.flow
        second = domain.region == 1
        error = flow.flux.mean - exact.velocity(domain.centers, second)
        velocity.append(np.sqrt(domain.sum((error**2).sum(axis=1) * domain.volumes)))
        nodes = domain.space.tabulate_dof_coordinates()[: domain.space.dofmap.index_map.size_local]
        inner = ((nodes > 1e-9) & (nodes < 1 - 1e-9)).all(axis=1)
        off = array(flow.pressure)[: len(nodes)] - exact.pressure(nodes, nodes[:, 0] > 0.5)
        pressure.append(np.sqrt(total(float((off[inner] ** 2).sum())) / n**3))
        surface = domain.surfaces["a|b"]
        found = flow.flux.through(surface) / np.linalg.norm(surface.area_vectors, axis=1)
        given = exact.velocity(surface.midpoints, np.zeros(len(found), bool))[:, 0]
        areas = np.linalg.norm(surface.area_vectors, axis=1)
        flux.append(np.sqrt(total(float(areas @ (found - given) ** 2))))
    assert order(velocity) > 0.9
    assert order(flux) > 0.9
    assert order(pressure) == pytest.approx(2.0, abs=0.3)


def turned(mesh: Tetrahedra, turn: Array) -> Tetrahedra:
    """Return the mesh, turned."""
    return replace(mesh, points=mesh.points @ turn.T)


def test_a_turned_tensor_in_a_turned_mesh_gives_the_same_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = 1e-8 * np.array([[3.0, 1.0, 0.2], [1.0, 2.0, -0.4], [0.2, -0.4, 0.7]])
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    turn[:, 2] *= np.linalg.det(turn)
    mesh = shaken(slab(2.0, 8, across=3))
    sides = [{"on": "*|x-", "pressure": "500 Pa"}, {"on": "*|x+", "pressure": "0 Pa"}]
    rates = {}
    for name, (body, k) in {"one": (mesh, tensor), "other": (turned(mesh, turn), turn @ tensor @ turn.T)}.items():
        tensors(monkeypatch, {"tissue": k})
        words = {"tissue": tissue(1e-8, filtration=3e-8, pressure=900.0)}
        ready = bench(tmp_path, body, words, {"flow": {"conditions": sides}}).start()
        rates[name] = [ready.flow.flux_through(f"tissue|{side}") for side in ("x-", "x+")]
        rates[name] += [ready.domain.sum(ready.flow.cell_pressure * ready.domain.volumes)]
        rates[name] += [ready.flow.rim_resolution()["tissue|x-"]]
    assert rates["one"] == pytest.approx(rates["other"], rel=1e-9)


def test_a_tensor_that_is_a_number_is_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = two_tissues(tmp_path).flow
    tensors(monkeypatch, {"a": 3e-8 * np.eye(3)})
    flow = two_tissues(tmp_path).flow
    assert largest(flow.theta - plain.theta) < ROUNDING * largest(plain.theta)
    assert largest(flow.cell_pressure - plain.cell_pressure) < 1e-9 * 900.0
    assert largest(array(flow.pressure) - array(plain.pressure)) < 1e-8 * 900.0
    assert flow.rim_resolution() == pytest.approx(plain.rim_resolution(), rel=1e-12)


def test_the_layer_factor_is_that_of_one_dimension() -> None:
    # In a cell of length h the fluxes K α coth(αh/2) of an odd pressure and those of the scheme agree: see `equations`.
    z = np.array([1e-3, 0.04, 0.06, 0.5, 3.0, 40.0])
    conductivity, length, alpha = 2e-8, 0.3, z / 0.15
    slope, moment = conductivity * alpha**2, length**2 / 12
    found = conductivity + slope * layer_factor(slope, np.full(len(z), length**2 / 36 / conductivity)) * moment
    np.testing.assert_allclose(found, conductivity * z / np.tanh(z), rtol=1e-9)


@pytest.mark.parametrize(("width", "error"), [(0.3, 0.008), (1.0, 0.03), (10.0, 0.15)])
def test_the_flux_through_a_rim_whose_layer_is_thinner_than_the_cells_is_right(
    width: float, error: float, tmp_path: Path
) -> None:
    # The outflow of a leaky bar into an end at p = 0 is K α pe tanh(αL). Without the term for thin layers 4 % are
    # missing at h α = 1, and two thirds at 10.
    n, length = 12, 3.0
    side = length / n
    # A facet is half of a square; h is the edge of an equilateral triangle as large.
    alpha = float(width / (np.sqrt(2 / np.sqrt(3)) * side))
    form = Slab(1e-8, 1e-8 * alpha**2, 1000.0, length, ((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    words = {"tissue": tissue(1e-8, filtration=form.filtration, pressure=1000.0)}
    flow = {"conditions": [{"on": "tissue|x-", "pressure": "0 Pa"}]}
    ready = bench(tmp_path, shaken(slab(length, n, across=3)), words, {"flow": flow}).start()
    exact = 1e-8 * alpha * 1000.0 * np.tanh(alpha * length) * (3 * length / n) ** 2
    assert ready.flow.flux_through("tissue|x-") == pytest.approx(exact, rel=error)


@pytest.mark.parametrize("jump", [1e-6, 1.0, 1e3, 1e6])
def test_jumps_and_weak_exchange_cost_few_iterations(jump: float, tmp_path: Path) -> None:
    radii = [np.linspace(0.125, 1.0, 8), np.linspace(1.2, 3.0, 10)]
    mesh = balls(radii, ("tumor", "host"), 3)
    counts = []
    for leaky, lymph in ((2e-7, 0.0), (2e-10, 0.0), (2e-5, 0.0), (2e-7, 5e-7)):
        materials = {
            "tumor": tissue(1e-8 * jump, filtration=leaky, pressure=1500.0),
            "host": tissue(1e-8, filtration=leaky / 4, pressure=100.0, drainage=lymph),
        }
        conditions = [{"on": "host|outside", "pressure": "0 Pa"}]
        ready = bench(tmp_path, mesh, materials, {"flow": {"conditions": conditions}}).start()
        counts += ready.flow.solver.statistics.iterations
    assert max(counts) <= 20


def test_all_ranks_together_find_what_one_finds_alone(tmp_path: Path) -> None:
    ready = two_tissues(tmp_path)
    domain = Domain.read(ready.domain.file, MPI.COMM_SELF)
    alone = Flow(ready.flow.spec, domain, Coefficients.of(ready.case, domain), {}, ready.case)
    alone.start()
    for surface in ("a|x-", "b|x+", "a|y-", "a|b"):
        assert ready.flow.flux_through(surface) == pytest.approx(alone.flux_through(surface), rel=1e-9)
    for field in ("cell_pressure", "theta"):
        one, other = (f.domain.sum(getattr(f, field) * f.domain.volumes) for f in (ready.flow, alone))
        assert one == pytest.approx(other, rel=1e-10)


def test_new_parameters_on_the_same_flow_give_what_a_new_flow_gives(tmp_path: Path) -> None:
    ready = two_tissues(tmp_path)
    flow = ready.flow
    again = ready.case.with_(materials__b__hydraulic_conductivity="2e-7 mm^2/(Pa*s)")
    flow.coefficients = Coefficients.of(again, ready.domain)
    flow.cells = flow._conduct(0.0)
    flow.start()
    fresh = Flow(flow.spec, ready.domain, flow.coefficients, {}, again)
    fresh.start()
    assert largest(flow.cell_pressure - fresh.cell_pressure) < 1e-9 * 900.0
