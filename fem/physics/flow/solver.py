"""The discrete counterpart of `equations`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import basix.ufl
import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from dolfinx import fem

from turgor.fem.assembly import array, largest_of_ghosts, new
from turgor.fem.coefficients import Coefficients
from turgor.fem.conditions import OnSurface, at, in_words, on_surfaces, tables
from turgor.fem.domain import Domain, Surface
from turgor.fem.fields import Field
from turgor.fem.flux import DarcyFlux
from turgor.fem.linear import CONJUGATE_GRADIENTS, Krylov
from turgor.fem.physics.flow.adjoint import Sensitivity, transposed
from turgor.fem.physics.flow.equations import Rates, layer_factor
from turgor.fem.physics.flow.hybrid import Cells, Facets, centers_of, gradients_of, means, outflows, spread
from turgor.fem.physics.flow.ledger import cell_fields, fluid_balance
from turgor.fem.physics.flow.levels import Levels
from turgor.fem.physics.flow.recovery import CellValues, Pressed, continuous
from turgor.fem.physics.flow.report import Report, State
from turgor.fem.physics.flow.resolution import rim_resolution, too_coarse
from turgor.fem.physics.flow.rim import Pressures
from turgor.fem.physics.flow.spec import FlowCondition, FlowSpec
from turgor.fem.physics.flow.wellposed import require_sinks
from turgor.fem.problem import BalanceRow, Nodal, OwnTable, Problem
from turgor.fem.sources import active, shares
from turgor.materials.errors import NotConverged
from turgor.resolve import group_of, tumors

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
        self.uniform = self._uniform()
        self.rates = self._rates(0.0)
        require_sinks(domain, coefficients, self.rates, self.conditions)
        self.space = fem.functionspace(domain.mesh, basix.ufl.element("CR", "tetrahedron", 1))
        self.multiplier = new(self.space)
        self.rows = np.asarray(self.space.dofmap.list)
        self.cells = self._conduct(0.0)
        self.facets = self._facet_data()
        self.levels = Levels(domain, self.space)
        self.solver = self._solver()
        self.pressure = new(domain.space, "pressure")
        velocity = new(fem.functionspace(domain.mesh, ("DG", 0, (3,))), "velocity")
        self.fields = {
            "pressure": Field("pressure", "Pa", "interstitial pressure", self.pressure),
            "velocity": Field("velocity", "mm/s", "Darcy velocity", velocity),
        }
        nothing = np.zeros_like(domain.volumes)
        still = np.zeros((len(nothing), 3))
        pressed = frozenset(on.surface.name for on in self.conditions if on.key == "pressure")
        self.cell_pressure = nothing
        groups = {name: group_of(name, material) for name, material in case.materials.items()}
        self.report = Report(domain, tumors(case), groups)
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

    def own_tables(self) -> Mapping[str, OwnTable]:
        """Return the ledger, the surfaces and the tumors; see `report`."""
        return self.report.tables(self.told)

    def cell_fields(self) -> Mapping[str, tuple[Array, str]]:
        """Return the cells' pressures and rates."""
        return cell_fields(self.flux, self.cell_pressure)

    def findings(self) -> Mapping[str, Any]:
        """Return the numbers of the tumors, and of tissue far from them."""
        return self.report.findings(self.told())

    def told(self) -> State:
        """Return the flow as it is reported."""
        facets = array(self.multiplier)[self.rows]
        said = self.surface_conditions()
        pressures = Pressures(self.cell_pressure, facets)
        return State(self.flux, self.rates.source, pressures, self.rates.exchange, self.rates.lymph, said)

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
        yield from self.report.warnings(self.told())
        if self.spec.initial is not None:
            yield "flow: in rigid tissue the pressure has no memory; initial.pressure was not used"

    def transposed(self, by: Sensitivity) -> Mapping[str, Array]:
        """Return derivatives by every parameter of every cell, from those by what the flow is; see `adjoint`."""
        return transposed(self, by)

    def surface_conditions(self) -> Mapping[str, str]:
        """Return the condition on each outer surface, in words."""
        return in_words(self.conditions, self.domain)

    def imbalance(self) -> float:
        """Return the largest mismatch of a facet's flux from its two sides, relative to the largest term of a cell.

        What passes a facet that lets nothing pass counts, too; what vanishes at a given pressure does not.
        """
        domain, flux = self.domain, self.flux
        out = np.empty((len(domain.volumes), 4))
        outflows(domain.points, flux.mean, flux.divergence, out)
        facets = domain.mesh.topology.connectivity(3, 2).array.reshape(-1, 4)
        inner = np.bincount(facets.ravel(), minlength=facets.max() + 1) == 2
        inner[facets[self.facets.fixed[self.rows]]] = False
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
        passable = [on.surface.name for on in self.conditions if on.key in ("pressure", "exchange")]
        return rim_resolution(self.domain, self.cells, self.rates.exchange, passable)

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
            uniform=self.uniform,
        )

    def _uniform(self) -> NDArray[np.bool_]:
        """Return in which cells the pressure at which fluid rests is that of the whole region: see `steady_slope`.

        Maps of vessels alone do not move it, unless linear lymph pulls the other way.
        """
        pressures = ("vascular_pressure", "osmotic_reflection", "plasma_oncotic_pressure", "tissue_oncotic_pressure")
        rates = ("vessel_conductivity", "vessel_surface_density", "lymphatic_conductance")
        mapped = {name: np.zeros(len(self.domain.region), bool) for name in (*pressures, *rates, "lymphatic_pressure")}
        for region, name in self.coefficients.maps:
            if name in mapped:
                mapped[name] |= self.domain.within([region])
        pulled = ~self.coefficients.chosen("lymph", "one-way")
        moved = np.any([mapped[name] for name in pressures], axis=0)
        return ~(moved | pulled & np.any([mapped[name] for name in (*rates, "lymphatic_pressure")], axis=0))

    def _running(self, begin: float) -> tuple[bool, ...]:
        """Tell which sources run in a step that begins at a time."""
        return tuple(active(source, begin) for source in self.spec.sources)

    @property
    def gradients(self) -> Array:
        """Gradients of the barycentric coordinates of each local cell [1/mm], shape (n_cells, 4, 3)."""
        found = np.empty((len(self.domain.points), 4, 3))
        gradients_of(self.domain.points, found)
        return found

    @property
    def conductivity(self) -> Array:
        """K [mm²/(Pa s)] of each local cell; of a tensor a third of its trace."""
        return self.cells.conductivity

    def _facet_data(self) -> Facets:
        """Return which facet pressures are prescribed; collective."""
        marked = new(self.space)
        for on in self.conditions:
            if on.key == "pressure":
                array(marked)[self._facet_dofs(on.surface)] = 1.0
        largest_of_ghosts(marked.x.petsc_vec)
        marked.x.scatter_forward()
        fixed = array(marked) > 0
        return Facets(fixed, np.zeros(len(fixed)), np.zeros(len(fixed)))

    def _solver(self) -> Krylov:
        method = "conjugate gradients with two-level multigrid on the facet pressures"
        cycle = self.levels.cycle
        return Krylov("flow", self.levels.matrix, CONJUGATE_GRADIENTS, method, preconditioner=cycle)

    def _conduct(self, time: float) -> Cells:
        """Return the cells with the conductivity at a time, and set θ."""
        name, points = "hydraulic_conductivity", self.domain.points
        conductivity, tensor = self.coefficients.cells(name, time), self.coefficients.tensor(name, time)
        tensor = np.zeros((0, 3, 3)) if tensor is None else tensor
        self.theta = np.empty_like(conductivity)
        spread(points, conductivity, tensor, self.theta)
        return Cells(points, conductivity, tensor, *np.zeros((3, len(conductivity))))

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
        return self.rows[surface.cells, surface.opposite]

    def _solve(self, time: float) -> None:
        """Solve by a semismooth Newton method: the switches of lymph and reabsorption, then the linear problem."""
        self.rates, self.solved = self._rates(time), time
        if self.coefficients.vary(["hydraulic_conductivity"]):
            self.cells = self._conduct(time)
        self._prescribe(time)
        for _ in range(SWITCHES):
            self._solve_linear(time)
            center = self._centers()
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

    def _centers(self) -> Array:
        """Return l at the cells' centers [Pa]."""
        found = np.empty(len(self.rows))
        centers_of(self.rows, array(self.multiplier), found)
        return found

    def _prescribe(self, time: float) -> None:
        """Set the given pressures; collective."""
        given = new(self.space)
        for on in self.conditions:
            if on.key == "pressure":
                array(given)[self._facet_dofs(on.surface)] = at(_values(on)[0], time)
        given.x.scatter_forward()
        self.facets.given[:] = array(given)

    def _solve_linear(self, time: float) -> None:
        slope, constant, steady = self.rates.slope(), self.rates.constant(), self.rates.steady_slope()
        damping = 1 + slope * self.theta
        layer = steady * layer_factor(steady, self.theta)
        self.cells = self.cells._replace(sink=slope / damping, layer=layer, source=constant / damping)
        right = self._facet_terms(time)
        self.levels.assemble(self.cells, self.facets, right)
        fixed = self.facets.fixed
        array(self.multiplier)[fixed] = self.facets.given[fixed]
        self.solver.solve(self.levels.right, self.multiplier.x.petsc_vec, size=self._norm_of_free_rows())
        self.multiplier.x.scatter_forward()

    def _norm_of_free_rows(self) -> float:
        """Return the norm of the right-hand side without the rows of prescribed pressures, which are exact."""
        right = self.levels.right.array
        free = right[~self.facets.fixed[: len(right)]]
        return float(np.sqrt(self.domain.comm.allreduce(float(free @ free), op=MPI.SUM)))

    def _facet_terms(self, time: float) -> Array:
        """Set what exchange adds to the diagonal; return what facets add to the right-hand side of the owned rows.

        With one point a facet both touch only that facet's own unknown.
        """
        right = np.zeros(len(self.facets.exchange))
        self.facets.exchange[:] = 0.0
        for on in self.conditions:
            dofs = self._facet_dofs(on.surface)
            areas = np.linalg.norm(on.surface.area_vectors, axis=1)
            if on.key == "inflow":
                right[dofs] += areas * at(_values(on)[0], time)
            elif on.key == "exchange":
                coefficient, to = (at(value, time) for value in _values(on))
                self.facets.exchange[dofs] += areas * coefficient
                right[dofs] += areas * coefficient * to
        return right[: self.space.dofmap.index_map.size_local]

    def _recover(self, center: Array) -> None:
        """Recover cell pressures, flux and the continuous pressure from the multiplier."""
        slope, constant = self.rates.slope(), self.rates.constant()
        pressure = (center + self.theta * constant) / (1 + slope * self.theta)
        self.cell_pressure = pressure
        mean = np.empty((len(pressure), 3))
        means(self.cells, self.rows, array(self.multiplier), mean)
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
        found = CellValues(array(self.multiplier), pressure, self.flux.divergence)
        surfaces = self._boundary_facets()
        array(self.pressure)[:] = continuous(self.domain, self.cells, self.rows, found, surfaces)


def _values(on: OnSurface) -> tuple[Any, ...]:
    """Return the numbers or tables of a condition: its value, or coefficient and outer pressure."""
    condition = on.condition
    if not isinstance(condition, FlowCondition):
        raise TypeError(f"{on.where} is no condition of flow")
    if condition.exchange is not None:
        return condition.exchange.coefficient, condition.exchange.to
    return (condition.pressure if condition.pressure is not None else condition.inflow,)
