"""The discrete counterpart of `equations`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import basix.ufl
import numpy as np
import ufl
from numpy.typing import NDArray

from turgor.fem.startup import form  # isort: skip  (MPI before DOLFINx)

from dolfinx import fem
from dolfinx.fem import petsc

from turgor.fem.assembly import add_to_diagonal, array, assemble, assemble_right, new, strongly
from turgor.fem.coefficients import Coefficients
from turgor.fem.conditions import OnSurface, at, in_words, on_surfaces, tables
from turgor.fem.domain import Domain, Surface
from turgor.fem.fields import Field
from turgor.fem.flux import DarcyFlux
from turgor.fem.linear import CONJUGATE_GRADIENTS, TWO_LEVEL, Krylov
from turgor.fem.physics.flow.equations import Rates, bilinear, linear, theta
from turgor.fem.physics.flow.ledger import fluid_balance
from turgor.fem.physics.flow.recovery import Pressed, continuous, corners
from turgor.fem.physics.flow.resolution import rim_resolution, too_coarse
from turgor.fem.physics.flow.spec import FlowCondition, FlowSpec
from turgor.fem.physics.flow.wellposed import require_sinks
from turgor.fem.problem import BalanceRow, Nodal, Problem
from turgor.fem.sources import active, shares
from turgor.materials.errors import NotConverged

Array = NDArray[np.float64]
SWITCHES = 50
"""Most rounds of the semismooth Newton method."""


class Flow(Problem):
    """Pressure and velocity; quasi-static, so that it is solved again only when something changed in time."""

    balance_unit = "mm^3/s"

    spec: FlowSpec

    def __init__(
        self, spec: FlowSpec, domain: Domain, coefficients: Coefficients, provided: Mapping[str, Any], case: Any
    ) -> None:
        """Discretize; collective.

        Raises:
            CaseError: A connected piece with a source of fluid and no sink, or a surface that does not exist.
        """
        self.spec = spec
        self.domain = domain
        self.coefficients = coefficients
        self.conditions = on_surfaces(spec, domain, inside=("pressure",))
        self.injected = [shares(s, domain, f"physics.flow.sources.{i}") for i, s in enumerate(spec.sources)]
        self.tables = (*tables(self.conditions), *coefficients.tables(spec.parameters))
        self.running, self.solved = self._running(0.0), 0.0
        self.rates = self._rates(0.0)
        require_sinks(domain, coefficients, self.rates, self.conditions)
        self.space = fem.functionspace(domain.mesh, basix.ufl.element("CR", "tetrahedron", 1))
        self.multiplier = new(self.space)
        self.gradients = _hat_gradients(domain.points)
        self._assemble_once()
        self.pressure = new(domain.space, "pressure")
        velocity = new(fem.functionspace(domain.mesh, ("DG", 0, (3,))), "velocity")
        self.fields = {
            "pressure": Field("pressure", "Pa", "interstitial pressure", self.pressure),
            "velocity": Field("velocity", "mm/s", "Darcy velocity", velocity),
        }
        nothing = np.zeros_like(domain.volumes)
        still = np.zeros((len(nothing), 3))
        pressed = frozenset(on.surface.name for on in self.conditions if on.key == "pressure")
        self.flux = DarcyFlux(still, nothing, nothing, nothing, domain.volumes, 0, pressed, self._sealed())

    def start(self) -> None:
        """Solve the steady flow at t = 0."""
        self._solve(0.0)

    def advance(self, begin: float, end: float) -> float:
        """Solve again where a value changes in time; the flow has no memory, so that there is no error in time."""
        running = self._running(begin)
        if running != self.running or any(table.at(self.solved) != table.at(end) for table in self.tables):
            self.running = running
            self._solve(end)
        return 0.0

    def state(self) -> Mapping[str, Nodal | Array]:
        """Return which sources ran in the last step; beyond that the flow has no memory."""
        return {"running": np.array(self.running, dtype=np.float64)}

    def resume(self, time: float, state: Mapping[str, Array]) -> None:
        """Solve the flow at a time, as it was in the step that ended there."""
        self.running = tuple(bool(running) for running in state["running"])
        self._solve(time)

    def accept(self) -> None:
        """Keep the step; the flow has no old state."""

    def balance(self) -> Iterable[BalanceRow]:
        """State the fluid balance by region and by surface."""
        return fluid_balance(self.domain, self.flux, self.rates.source)

    def flux_through(self, surface: str) -> float:
        """Return the volume rate [mm³/s] through a surface, positive from its first region to its second."""
        found, sign = self.domain.surface(surface, f"through {surface!r}")
        return sign * float(self.domain.comm.allreduce(float(self.flux.through(found).sum())))

    def events(self) -> Iterable[float]:
        """Return the ends of sources."""
        return [source.duration.value for source in self.spec.sources if source.duration]

    def bends(self) -> Iterable[float]:
        """Return the times of all tables."""
        return [time for table in self.tables for time in table.times]

    def provides(self) -> Mapping[str, Any]:
        """Return the conservative flux as "velocity"."""
        return {"velocity": lambda: self.flux}

    def statistics(self) -> Mapping[str, Any]:
        """Return solver figures."""
        return {**self.solver.statistics.as_words(), "unknowns": self.space.dofmap.index_map.size_global}

    def verification(self) -> Mapping[str, Any]:
        """Return the largest imbalance of a cell, and h α at the rim of each leaky region."""
        return {"cell_imbalance_max": self.imbalance(), "h_alpha": self.rim_resolution()}

    def warnings(self) -> Iterable[str]:
        """Say which boundary layers the cells do not show, and what of the case had no effect."""
        yield from too_coarse(self.domain, self.flux, self.rim_resolution())
        if self.spec.initial is not None:
            yield "flow: in rigid tissue the pressure has no memory; initial.pressure was not used"

    def surface_conditions(self) -> Mapping[str, str]:
        """Return the condition on each outer surface, in words."""
        return in_words(self.conditions, self.domain)

    def imbalance(self) -> float:
        """Return the largest mismatch of a facet's flux from its two sides, relative to the largest term of a cell.

        What passes a facet that lets nothing pass counts, too; what vanishes at a given pressure does not.
        """
        domain, flux = self.domain, self.flux
        areas = 3 * domain.volumes[:, None, None] * self.gradients
        own = 0.25 * flux.divergence * domain.volumes
        out = -np.einsum("cix,cx->ci", areas, flux.mean) + own[:, None]
        facets = domain.mesh.topology.connectivity(3, 2).array.reshape(-1, 4)
        inner = np.bincount(facets.ravel(), minlength=facets.max() + 1) == 2
        inner[facets[np.isin(self.space.dofmap.list, self.strong[0].dof_indices()[0])]] = False
        mismatch = np.abs(np.bincount(facets.ravel(), out.ravel()))[inner]
        leaks = [
            np.abs(out[domain.surfaces[name].cells, domain.surfaces[name].opposite][closed])
            for name, closed in flux.sealed.items()
        ]
        scale = np.abs(flux.divergence * domain.volumes) + np.abs(out).sum(axis=1)
        largest = [float(values.max(initial=0.0)) for values in (np.concatenate([mismatch, *leaks]), scale)]
        worst, size = (max(domain.comm.allgather(value)) for value in largest)
        return worst / size if size > 0 else 0.0

    def rim_resolution(self) -> Mapping[str, float]:
        """Return h α at each interface and at each outer surface that fluid may pass; see `resolution`."""
        alpha = np.sqrt(self.rates.exchange / array(self.conductivity))
        passable = [on.surface.name for on in self.conditions if on.key in ("pressure", "exchange")]
        return rim_resolution(self.domain, alpha, passable)

    def _rates(self, time: float) -> Rates:
        """Return the rates in force at a time, lymph and reabsorption switched on."""
        value = {
            name: self.coefficients.cells(name, time)
            for name in self.spec.parameters
            if name not in ("lymph", "reabsorption")
        }
        osmotic = value["osmotic_reflection"] * (value["plasma_oncotic_pressure"] - value["tissue_oncotic_pressure"])
        source = np.zeros(len(self.domain.region))
        for spec, density, runs in zip(self.spec.sources, self.injected, self.running, strict=True):
            source += spec.rate.value * density * runs
        on = np.ones(len(source), bool)
        return Rates(
            exchange=value["vessel_conductivity"] * value["vessel_surface_density"],
            effective=value["vascular_pressure"] - osmotic,
            lymph=value["lymphatic_conductance"],
            lymph_pressure=value["lymphatic_pressure"],
            source=source,
            one_way=self.coefficients.chosen("lymph", "one-way"),
            no_reabsorption=self.coefficients.chosen("reabsorption", "none"),
            filters=on,
            drains=on,
        )

    def _running(self, begin: float) -> tuple[bool, ...]:
        """Tell which sources run in a step that begins at a time."""
        return tuple(active(source, begin) for source in self.spec.sources)

    def _assemble_once(self) -> None:
        """Create the matrix, the fixed facet terms and the solver."""
        cells = fem.functionspace(self.domain.mesh, ("DG", 0))
        self.conductivity, self.sink, self.source = (new(cells) for _ in range(3))
        self._conduct(0.0)
        l, m = ufl.TrialFunction(self.space), ufl.TestFunction(self.space)  # noqa: E741
        self.bilinear = form(bilinear(l, m, self.conductivity, self.sink))
        self.linear = form(linear(m, self.source))
        self.prescribed = new(self.space)
        marked = new(self.space)
        for on in self.conditions:
            if on.key == "pressure":
                marked.x.array[self._facet_dofs(on.surface)] = 1.0
        marked.x.scatter_forward()
        fixed = np.flatnonzero(marked.x.array > 0).astype(np.int32)
        self.strong = [strongly(self.prescribed, fixed)]
        self.matrix = petsc.create_matrix(self.bilinear)
        self.right = petsc.create_vector(self.space)
        coarse = petsc.interpolation_matrix(self.domain.space, self.space)
        coarse.assemble()
        free = coarse.createVecLeft()
        free.array[:] = 1.0 - marked.x.array[: len(free.array)]
        coarse.diagonalScale(L=free)
        method = "conjugate gradients with two-level multigrid on the facet pressures"
        self.solver = Krylov("flow", self.matrix, {**CONJUGATE_GRADIENTS, **TWO_LEVEL}, method, coarse=coarse)

    def _conduct(self, time: float) -> None:
        """Take the conductivity at a time."""
        array(self.conductivity)[:] = self.coefficients.cells("hydraulic_conductivity", time)
        self.theta = theta(array(self.conductivity), self.domain.points, self.domain.centers)

    def _boundary_facets(self) -> tuple[Pressed, Pressed]:
        """Return the pressure on the facets of outer surfaces, and of those where it is prescribed."""
        outer = [surface for surface in self.domain.surfaces.values() if surface.second is None]
        given = [on.surface for on in self.conditions if on.key == "pressure"]
        outer_facets, given_facets = (
            [(surface, array(self.multiplier)[self._facet_dofs(surface)]) for surface in surfaces]
            for surfaces in (outer, given)
        )
        return outer_facets, given_facets

    def _sealed(self) -> Mapping[str, NDArray[np.bool_]]:
        """Return outer surface -> which of its facets no condition names."""
        named = np.concatenate([np.zeros(0, np.int32), *(self._facet_dofs(on.surface) for on in self.conditions)])
        outer = [surface for surface in self.domain.surfaces.values() if surface.second is None]
        return {surface.name: ~np.isin(self._facet_dofs(surface), named) for surface in outer}

    def _facet_dofs(self, surface: Surface) -> NDArray[np.int32]:
        return np.asarray(self.space.dofmap.list)[surface.cells, surface.opposite]

    def _solve(self, time: float) -> None:
        """Solve by a semismooth Newton method: the switches of lymph and reabsorption, then the linear problem."""
        self.rates, self.solved = self._rates(time), time
        if self.coefficients.vary(["hydraulic_conductivity"]):
            self._conduct(time)
        self._prescribe(time)
        for _ in range(SWITCHES):
            self._solve_linear(time)
            center = array(self.multiplier)[self.space.dofmap.list].mean(axis=1)
            switched = self.rates.switched(center, self.theta)
            same = bool(
                np.array_equal(switched.drains, self.rates.drains)
                and np.array_equal(switched.filters, self.rates.filters)
            )
            if min(self.domain.comm.allgather(same)):
                self._recover(center)
                return
            self.rates = switched
        raise NotConverged(f"flow: lymph and reabsorption still switch after {SWITCHES} rounds at t = {time:g} s")

    def _prescribe(self, time: float) -> None:
        for on in self.conditions:
            if on.key == "pressure":
                array(self.prescribed)[self._facet_dofs(on.surface)] = at(_values(on)[0], time)
        self.prescribed.x.scatter_forward()

    def _solve_linear(self, time: float) -> None:
        slope, constant = self.rates.slope(), self.rates.constant()
        array(self.sink)[:] = slope / (1 + slope * self.theta)
        array(self.source)[:] = constant / (1 + slope * self.theta)
        diagonal, right = self._facet_terms(time)
        assemble(self.matrix, self.bilinear, self.strong)
        if any(on.key == "exchange" for on in self.conditions):
            add_to_diagonal(self.matrix, diagonal)
        assemble_right(self.right, self.linear, right, self.bilinear, self.strong)
        size = self._norm_of_free_rows()
        fixed = self.strong[0].dof_indices()[0]
        array(self.multiplier)[fixed] = array(self.prescribed)[fixed]
        self.solver.solve(self.right, self.multiplier.x.petsc_vec, size=size)
        self.multiplier.x.scatter_forward()

    def _norm_of_free_rows(self) -> float:
        """Return the norm of the right-hand side without the rows of prescribed pressures, which are exact."""
        free = self.right.array.copy()
        dofs, owned = self.strong[0].dof_indices()
        free[dofs[:owned]] = 0.0
        return float(np.sqrt(self.domain.comm.allreduce(float(free @ free))))

    def _facet_terms(self, time: float) -> tuple[Array, Array]:
        """Return what exchange and inflow add to the diagonal and to the right-hand side, at the owned facets.

        With one point a facet both touch only that facet's own unknown.
        """
        right = np.zeros(len(array(self.multiplier)))
        diagonal = np.zeros(len(right))
        for on in self.conditions:
            dofs = self._facet_dofs(on.surface)
            areas = np.linalg.norm(on.surface.area_vectors, axis=1)
            if on.key == "inflow":
                right[dofs] += areas * at(_values(on)[0], time)
            elif on.key == "exchange":
                coefficient, to = (at(value, time) for value in _values(on))
                diagonal[dofs] += areas * coefficient
                right[dofs] += areas * coefficient * to
        owned = self.space.dofmap.index_map.size_local
        return diagonal[:owned], right[:owned]

    def _recover(self, center: Array) -> None:
        """Recover cell pressures, flux and the continuous pressure from the multiplier."""
        slope, constant = self.rates.slope(), self.rates.constant()
        pressure = (center + self.theta * constant) / (1 + slope * self.theta)
        values = array(self.multiplier)[self.space.dofmap.list]
        gradient = -3 * np.einsum("ci,cix->cx", values, self.gradients)
        self.cell_pressure = pressure
        mean = -array(self.conductivity)[:, None] * gradient
        made, drained = self.rates.filtration(pressure), self.rates.drainage(pressure)
        self.flux = replace(
            self.flux,
            mean=mean,
            divergence=constant - slope * pressure,
            filtration=made,
            lymph=drained,
            version=self.flux.version + 1,
        )
        self.fields["velocity"].function.x.array[:] = mean.ravel()
        ends = corners(self.domain, values, pressure, self.flux.divergence / array(self.conductivity))
        array(self.pressure)[:] = continuous(self.domain, ends, pressure, *self._boundary_facets())


def _hat_gradients(points: Array) -> Array:
    """Return the gradients [1/mm] of the barycentric coordinates, shape (n_cells, 4, 3)."""
    edges = points[:, 1:] - points[:, :1]
    inner = np.transpose(np.linalg.inv(edges), (0, 2, 1))
    return np.concatenate([-inner.sum(axis=1, keepdims=True), inner], axis=1)


def _values(on: OnSurface) -> tuple[Any, ...]:
    """Return the numbers or tables of a condition: its value, or coefficient and outer pressure."""
    condition = on.condition
    if not isinstance(condition, FlowCondition):
        raise TypeError(f"{on.where} is no condition of flow")
    if condition.exchange is not None:
        return condition.exchange.coefficient, condition.exchange.to
    return (condition.pressure if condition.pressure is not None else condition.inflow,)
