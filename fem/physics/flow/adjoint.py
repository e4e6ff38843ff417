"""Derivatives of a functional of the flow by every parameter of every cell: one more solve with the same matrix.

A functional J depends on the cells' pressures p_T, velocities v_T at their centers, net sources s_T and gradients g_T
of the multiplier l. With R(l; q) = 0 the discrete equation for l and q the parameters,

    A μ = ∂J/∂l,    dJ/dq = ∂J/∂q - μ ∂R/∂q,    A = ∂R/∂l, which is symmetric,
    μ R = Σ |T| (g·(K + c M) ∇μ - s μ_T) + terms on facets,    c = a₀ ψ(a₀ θ),
    s = (f - a l_T)/(1 + a θ),    p = l_T + θ s,    v = -(K + c M) g,
    ∂s/∂a = -p/(1 + a θ),    ∂s/∂f = 1/(1 + a θ),    ∂s/∂θ = -a s/(1 + a θ),

with a₀ the part of a that does not switch, and θ, ψ, M as in `equations`.

The switches of lymph and reabsorption stay as they are: where a cell is just about to switch, this is the derivative
from one side. In a cell with a tensor the derivative by the conductivity is that by a third of its trace, with ratios
and directions kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import PETSc  # isort: skip  (MPI before DOLFINx)

from dolfinx import fem
from dolfinx.fem import petsc

from turgor.fem.assembly import add_from_ghosts, array, new
from turgor.fem.domain import Domain
from turgor.fem.physics.flow.equations import layer_factor
from turgor.fem.places import locate

if TYPE_CHECKING:
    from turgor.fem.physics.flow.solver import Flow

Array = NDArray[np.float64]

SMALL = 0.1
"""Below this z a series has the derivative of ψ to 1e-5, and the formula loses digits."""

_WORDS = ("lymph", "reabsorption")


@dataclass(frozen=True)
class Sensitivity:
    """Derivative of a functional by what the flow is in each cell; what is left out is zero.

    Each cell's derivative may stand on any rank that has the cell, and is the sum of what stands on all.

    Attributes:
        pressure: By p_T [1/Pa of J's unit], shape (n_cells,).
        velocity: By v_T [s/mm], shape (n_cells, 3).
        divergence: By s_T [s], shape (n_cells,).
        gradient: By g_T = ∇l [mm/Pa], shape (n_cells, 3).
        explicit: By parameters that the functional itself depends on, named as in `transposed`, shape (n_cells,).
    """

    pressure: Array | None = None
    velocity: Array | None = None
    divergence: Array | None = None
    gradient: Array | None = None
    explicit: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class _Cells:
    """The flow in the local cells, as the formulas above name it."""

    tensor: Array
    moment: Array
    damping: Array
    gradient: Array
    net: Array
    pressure: Array


def transposed(flow: Flow, by: Sensitivity) -> Mapping[str, Array]:
    """Return the derivatives of a functional by the parameters of each cell; collective.

    Args:
        flow: A flow that has been solved.
        by: Derivative of the functional by the flow.

    Returns:
        Parameter -> derivative by its value in each local cell, ghosts included, shape (n_cells,): those of the case
        that are numbers; "exchange" (Lp S/V), "effective_pressure" (pv - σ (πv - πi)) and "source" (Q).
    """
    cells, rates, volumes = _cells(flow), flow.rates, flow.domain.volumes
    slope, steady = rates.slope(), rates.steady_slope()
    pressure, net = (_whole(flow.domain, part, ()) for part in (by.pressure, by.divergence))
    velocity, gradient = (_whole(flow.domain, part, (3,)) for part in (by.velocity, by.gradient))
    layer = (steady * layer_factor(steady, flow.theta))[:, None, None] * cells.moment
    along = gradient - np.einsum("cij,cj->ci", cells.tensor + layer, velocity)
    at_center, slant = _solve(flow, (pressure - slope * net) / cells.damping, along)
    slant = velocity + volumes[:, None] * slant
    by_tensor, by_layer = (-np.einsum("ci,cij,cj->c", slant, m, cells.gradient) for m in (cells.tensor, cells.moment))
    bent = steady * layer_bend(steady, flow.theta)
    weighted = net + volumes * at_center
    by_constant = (weighted + flow.theta * pressure) / cells.damping
    by_slope = -by_constant * cells.pressure
    by_steady = rates.uniform * by_layer * (layer_factor(steady, flow.theta) + bent * flow.theta)
    by_theta = (pressure - slope * weighted) * cells.net / cells.damping + by_layer * steady * bent
    found = {
        "hydraulic_conductivity": (by_tensor - flow.theta * by_theta) / _conductivity(flow),
        "exchange": rates.filters * (by_slope + rates.effective * by_constant) + ~rates.no_reabsorption * by_steady,
        "effective_pressure": rates.filters * rates.exchange * by_constant,
        "lymphatic_conductance": rates.drains * (by_slope + rates.lymph_pressure * by_constant)
        + ~rates.one_way * by_steady,
        "lymphatic_pressure": rates.drains * rates.lymph * by_constant,
        "source": by_constant,
    }
    for name, part in by.explicit.items():
        found[name] = found[name] + _whole(flow.domain, part, ())
    return {name: _shared(flow.domain, values) for name, values in {**found, **_of_case(flow, found)}.items()}


def layer_bend(slope: Array, theta: Array) -> Array:
    """Return the derivative of ψ, see `equations.layer_factor`, by a θ.

    With w = a θ and z = 3 √w it is 9/(2 z) dψ/dz; for small w, ψ = 1 - 3/5 w + 18/35 w².
    """
    z = np.maximum(3 * np.sqrt(slope * theta), SMALL)
    hyperbolic = 1 / np.tanh(z)
    by_z = 3 * (hyperbolic + z * (1 - hyperbolic**2)) / z**2 - 6 * (z * hyperbolic - 1) / z**3
    small = 3 * np.sqrt(slope * theta) <= SMALL
    return np.where(small, -0.6 + 36 / 35 * slope * theta, 4.5 * by_z / z)


def _of_case(flow: Flow, found: Mapping[str, Array]) -> Mapping[str, Array]:
    """Return the derivatives by the parameters of the case that exchange and effective pressure are made of."""
    value = {name: flow.coefficients.cells(name, flow.solved) for name in flow.spec.parameters if name not in _WORDS}
    exchange, pressure = found["exchange"], found["effective_pressure"]
    oncotic = value["plasma_oncotic_pressure"] - value["tissue_oncotic_pressure"]
    return {
        "vessel_conductivity": exchange * value["vessel_surface_density"],
        "vessel_surface_density": exchange * value["vessel_conductivity"],
        "vascular_pressure": pressure,
        "osmotic_reflection": -pressure * oncotic,
        "plasma_oncotic_pressure": -pressure * value["osmotic_reflection"],
        "tissue_oncotic_pressure": pressure * value["osmotic_reflection"],
    }


def _conductivity(flow: Flow) -> Array:
    """Return K in each local cell, of a tensor a third of its trace [mm²/(Pa s)]."""
    return flow.coefficients.cells("hydraulic_conductivity", flow.solved)


def _cells(flow: Flow) -> _Cells:
    """Return the flow as the formulas name it."""
    tensor = flow.coefficients.tensor("hydraulic_conductivity", flow.solved)
    if tensor is None:
        tensor = _conductivity(flow)[:, None, None] * np.eye(3)
    away = flow.domain.points - flow.domain.centers[:, None]
    values = array(flow.multiplier)[flow.multiplier.function_space.dofmap.list]
    gradient = -3 * np.einsum("ci,cix->cx", values, flow.gradients)
    slope, damping = flow.rates.slope(), 1 + flow.rates.slope() * flow.theta
    net = (flow.rates.constant() - slope * values.mean(axis=1)) / damping
    pressure = values.mean(axis=1) + flow.theta * net
    return _Cells(tensor, np.einsum("cix,ciy->cxy", away, away) / 20, damping, gradient, net, pressure)


def _solve(flow: Flow, at_center: Array, gradient: Array) -> tuple[Array, Array]:
    """Solve A μ = ∂J/∂l from the derivatives by l_T and by ∇l; return μ_T and ∇μ in each cell. Collective."""
    space = flow.multiplier.function_space
    dofs = np.asarray(space.dofmap.list)
    owned = slice(flow.domain.owned)
    terms = at_center[owned, None] / 4 - 3 * np.einsum("cx,cix->ci", gradient[owned], flow.gradients[owned])
    found, right = new(space), petsc.create_vector(space)
    with right.localForm() as local:
        local.array[:] = np.bincount(dofs[owned].ravel(), terms.ravel(), minlength=len(local.array))
    add_from_ghosts(right)
    right.array[_prescribed(flow)[: len(right.array)]] = 0.0
    flow.solver.solve(right, found.x.petsc_vec)
    right.destroy()
    found.x.scatter_forward()
    values = array(found)[dofs]
    return values.mean(axis=1), -3 * np.einsum("ci,cix->cx", values, flow.gradients)


def _prescribed(flow: Flow) -> NDArray[np.bool_]:
    """Return which unknowns have a given pressure, ghosts included; collective."""
    space = flow.multiplier.function_space
    marked = new(space)
    for on in flow.conditions:
        if on.key == "pressure":
            array(marked)[np.asarray(space.dofmap.list)[on.surface.cells, on.surface.opposite]] = 1.0
    with marked.x.petsc_vec.localForm() as local:
        local.array[:] = array(marked)
    marked.x.petsc_vec.ghostUpdate(addv=PETSc.InsertMode.MAX_VALUES, mode="reverse")
    marked.x.scatter_forward()
    return np.asarray(array(marked) > 0)


def _whole(domain: Domain, part: Array | None, shape: tuple[int, ...]) -> Array:
    """Return a derivative by each cell, summed over the ranks that hold a part of it; collective."""
    if part is None:
        return np.zeros((len(domain.volumes), *shape))
    columns = part.reshape(len(domain.volumes), -1)
    space = fem.functionspace(domain.mesh, ("DG", 0))
    return np.stack([_summed(space, column) for column in columns.T], axis=1).reshape(part.shape)


def _summed(space: fem.FunctionSpace[np.float64], values: Array) -> Array:
    whole = new(space)
    array(whole)[:] = values
    add_from_ghosts(whole.x.petsc_vec)
    whole.x.scatter_forward()
    return array(whole).copy()


def _shared(domain: Domain, values: Array) -> Array:
    """Return values with those of ghosts from their owners; collective."""
    shared = new(fem.functionspace(domain.mesh, ("DG", 0)))
    array(shared)[:] = values
    shared.x.scatter_forward()
    return array(shared).copy()


def mean_pressure(flow: Flow, region: str) -> tuple[float, Sensitivity]:
    """Return the mean pressure [Pa] in a region, of the cells' pressures, and its derivative; collective."""
    domain, cells = flow.domain, _cells(flow)
    weights = domain.volumes * domain.within([region])
    weights[domain.owned :] = 0.0
    weights = weights / domain.sum(weights)
    return domain.sum(weights * cells.pressure), Sensitivity(pressure=weights)


def flux(flow: Flow, surface: str) -> tuple[float, Sensitivity]:
    """Return the volume rate [mm³/s] through a surface, as `Flow.flux_through`, and its derivative; collective."""
    domain = flow.domain
    found, sign = domain.surface(surface, f"through {surface!r}")
    count = len(domain.volumes)
    open_ = ~np.broadcast_to(flow.flux.sealed.get(found.name, np.zeros(1, bool)), found.cells.shape)
    velocity = np.zeros((count, 3))
    np.add.at(velocity, found.cells, sign * open_[:, None] * found.area_vectors)
    quarter = 0.25 * np.bincount(found.cells, open_, minlength=count) * domain.volumes
    return flow.flux_through(surface), Sensitivity(velocity=velocity, divergence=sign * quarter)


@dataclass(frozen=True)
class Probes:
    """Pressures at points, and how they depend on the flow.

    The pressure in a cell is the quadratic one whose flow its velocity is: see `recovery.corners`.

    Attributes:
        values: Pressures [Pa], the same on all ranks, shape (n_points,).
    """

    values: Array
    _cell: Sequence[int | None]
    _away: Array
    _bend: Array
    _flow: Flow

    def sensitivity(self, weights: Array) -> Sensitivity:
        """Return the derivative of Σ weights·values; for J = ½ Σ ((p - d)/σ)² the weights are (p - d)/σ².

        Args:
            weights: The same on all ranks, shape (n_points,).
        """
        count = len(self._flow.domain.volumes)
        pressure, net, scale, gradient = np.zeros(count), np.zeros(count), np.zeros(count), np.zeros((count, 3))
        cells, conductivity = _cells(self._flow), _conductivity(self._flow)
        for weight, cell, away, bend in zip(weights, self._cell, self._away, self._bend, strict=True):
            if cell is not None:
                pressure[cell] += weight
                gradient[cell] += weight * away
                net[cell] -= weight * bend
                scale[cell] += weight * bend * cells.net[cell] / conductivity[cell]
        return Sensitivity(pressure, None, net, gradient, {"hydraulic_conductivity": scale})


def probes(flow: Flow, points: Array) -> Probes:
    """Return the pressures at points in world coordinates [mm], shape (n_points, 3); collective.

    Raises:
        CaseError: A point lies outside the mesh.
    """
    domain, cells = flow.domain, _cells(flow)
    places = [locate(domain, point, "points") for point in points]
    away, bend, values = np.zeros((len(points), 3)), np.zeros(len(points)), np.zeros(len(points))
    for row, place in enumerate(places):
        if place.cell is not None:
            cell = place.cell
            away[row] = place.weights @ domain.points[cell] - domain.centers[cell]
            inverse = np.linalg.inv(cells.tensor[cell])
            # The mean of d·K⁻¹d over the cell is 9 θ.
            bend[row] = (away[row] @ inverse @ away[row] - 9 * flow.theta[cell]) / 6
            values[row] = cells.pressure[cell] + cells.gradient[cell] @ away[row] - cells.net[cell] * bend[row]
    values = domain.comm.allreduce(values)
    return Probes(values, [place.cell for place in places], away, bend, flow)
