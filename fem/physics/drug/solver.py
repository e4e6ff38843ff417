"""The discrete counterpart of `equations`: coefficients, operators, steps and balance of one agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import ufl
from numpy.typing import NDArray

from turgor.fem.startup import MPI, PETSc, form  # isort: skip  (MPI before DOLFINx)

from dolfinx import fem
from dolfinx.fem import petsc

from turgor.fem.assembly import Form, array, assemble, new
from turgor.fem.coefficients import Coefficients
from turgor.fem.conditions import in_words, on_surfaces, tables
from turgor.fem.domain import Domain, Surface
from turgor.fem.fields import Field
from turgor.fem.flux import DarcyFlux
from turgor.fem.graph import Graph
from turgor.fem.nodes import from_cells, from_facets
from turgor.fem.physics.drug.boundary import Boundary, boundary
from turgor.fem.physics.drug.equations import TERMS, Cells, mass, transport, velocity
from turgor.fem.physics.drug.ledger import RegionRates, drug_balance, region_rates
from turgor.fem.physics.drug.plasma import Plasma
from turgor.fem.physics.drug.ports import Ports
from turgor.fem.physics.drug.scheme import Operators, Scheme, Step
from turgor.fem.physics.drug.spec import DrugSpec
from turgor.fem.problem import BalanceRow, Nodal, Problem
from turgor.fem.sources import active, shares
from turgor.materials.errors import CaseError
from turgor.resolve import agent_of

Array = NDArray[np.float64]
FAINT = 1e-3
"""Part of the largest below which a region's concentration does not rule the time steps, nor an inflow is told."""


class Drug(Problem):
    """Free concentration of one agent, advanced by flux-corrected steps."""

    balance_unit = "nmol/s"

    spec: DrugSpec

    def __init__(
        self, spec: DrugSpec, domain: Domain, coefficients: Coefficients, provided: Mapping[str, Any], case: Any
    ) -> None:
        """Discretize; collective."""
        self.spec, self.domain, self.coefficients = spec, domain, coefficients
        self.flow: Callable[[], DarcyFlux] = provided["velocity"]
        self.plasma = Plasma.of(spec.plasma, agent_of(case.physics), case.patient)
        self.conditions = {on.surface.name: on for on in on_surfaces(spec, domain, inside=("concentration",))}
        self._require_kept(case)
        self.injected = [shares(s, domain, f"physics.drug.sources.{i}") for i, s in enumerate(spec.sources)]
        self.concentration = new(domain.space, "concentration")
        self.owned = domain.space.dofmap.index_map.size_local
        self.cells = self._parameters(0.0)
        if spec.initial is not None:
            self.concentration.x.array[:] = spec.initial.concentration.value
        words = "free drug per volume of accessible fluid"
        self.fields = {"concentration": Field("concentration", "mol/m^3", words, self.concentration)}
        self._declare_forms()
        self._last: tuple[Step, Array, float] | None = None
        self._slope: tuple[Array, float] | None = None
        self._largest = np.zeros(len(domain.regions))

    def _require_kept(self, case: Any) -> None:
        """Refuse a measure of what passes a named surface for which no ledger is kept."""
        given = np.concatenate([np.zeros(0, np.int32), *(on.surface.places for on in self.conditions.values())])
        for key, measure in case.output.measures.items():
            surface = self.domain.surfaces.get(measure.through or "")
            if measure.of != "drug" or surface is None or surface.kind != "named" or surface.name in self.conditions:
                continue
            mixed = self.domain.comm.allreduce(bool(np.isin(surface.places, given).any()), op=MPI.LOR)
            if mixed or surface.second is not None:
                raise CaseError(
                    f"output.measures.{key}.through: what passes {surface.name!r} is not kept apart from the condition "
                    f'there or from what passes beside it; name it in a condition, or ask for "a|b" or "a|outside"'
                )

    def _outflow(self, surface: Surface) -> float:
        """Return the amount rate [nmol/s] that fluid takes along through an outer surface without a condition."""
        if self._last is None:
            return 0.0
        hindrance = self.cells["convective_hindrance"][surface.cells]
        rates = from_facets(self.domain, surface, hindrance * np.maximum(self.flow().through(surface), 0.0))
        return float(self.domain.comm.allreduce(float(rates @ self._last[0].low[: self.owned])))

    def start(self) -> None:
        """Take the flow at t = 0 and set the prescribed concentrations."""
        self._begin(0.0)
        self._keep(np.where(self.surfaces.fixed, self.surfaces.value, self.values))

    @property
    def values(self) -> Array:
        """Concentrations of the owned nodes."""
        return array(self.concentration)[: self.owned]

    def advance(self, begin: float, end: float) -> float:
        """Step; return the local error relative to the largest concentration that each region has had.

        Backward Euler errs by -dt²/2 c'', a straight line through the last step by dt (dt + dt')/2 c'': their
        difference tells c''. The first step after a jump has no last step and is kept short instead.
        """
        if self._is_stale(begin):
            self._discretize(begin, end)
            self.scheme.take(self._operators())
        dt, old = end - begin, self.values.copy()
        plasma = self.plasma.mean(begin, end)
        step = self.scheme.step(old, dt, plasma)
        self._trial = (step, old, dt, plasma)
        if self._slope is None:
            return 0.0
        slope, before = self._slope
        return self._relative((step.new - old - dt * slope) * dt / (2 * dt + before), step.new)

    def first_step(self, tolerance: float) -> float:
        """Return a step so short against the fastest exchange that its error stays below the tolerance."""
        fastest = float((self.scheme.operators.loss / self.scheme.lumped).max(initial=0.0))
        fastest = max(*self.domain.comm.allgather(fastest), *self.plasma.rates, 0.0)
        return tolerance / fastest if fastest > 0 else float("inf")

    def accept(self) -> None:
        """Keep the step."""
        step, old, dt, plasma = self._trial
        change = (step.new - old) / dt
        self._last = (step, change, plasma)
        self._slope = (change, dt)
        self._keep(step.new)
        self._largest = np.maximum(self._largest, self._norms(step.new))

    def restart(self) -> None:
        """Forget the slope, because the plasma or a source jumps now."""
        self._slope = None

    def state(self) -> Mapping[str, Nodal | Array]:
        """Return the concentration, how it changed in the last step, and the largest of each region so far."""
        state: dict[str, Nodal | Array] = {"concentration": Nodal(self.values), "largest": self._largest}
        if self._slope is not None:
            state |= {"slope": Nodal(self._slope[0]), "step": np.array([self._slope[1]])}
        return state

    def resume(self, time: float, state: Mapping[str, Array]) -> None:
        """Take the flow at a time, and the state."""
        self._begin(time)
        self._keep(state["concentration"])
        self._largest = state["largest"]
        self._slope = (state["slope"], float(state["step"][0])) if "slope" in state else None

    def balance(self) -> Iterable[BalanceRow]:
        """State the balance of the last step."""
        if self._last is None:
            return []
        return drug_balance(self.domain, self.ports, self.regions, self.surfaces, *self._last)

    def flux_through(self, surface: str) -> float:
        """Return the amount rate [nmol/s] through a surface, positive from its first region to its second."""
        found, sign = self.domain.surface(surface, f"through {surface!r}")
        if found.kind == "named" and found.name not in self.conditions:
            return self._outflow(found)
        sides = self.domain.regions if found.kind == "named" else (found.first,)
        rows = [row for row in self.balance() if row.region in sides and row.surface == found.name]
        return sign * sum(row.left - row.entered for row in rows)

    def events(self) -> Iterable[float]:
        """Return doses, ends of infusions and of sources."""
        return [*self.plasma.events(), *(s.duration.value for s in self.spec.sources if s.duration)]

    def bends(self) -> Iterable[float]:
        """Return the times of all tables."""
        given = (*tables(self.conditions.values()), *self.coefficients.tables(self.spec.parameters))
        return [time for table in given for time in table.times]

    def provides(self) -> Mapping[str, Any]:
        """Return the accessible fraction of the cells, which turns concentrations into amounts."""
        return {"accessible": {"concentration": self.cells["available_volume_fraction"]}}

    def statistics(self) -> Mapping[str, Any]:
        """Return solver figures, of both solves of a step together."""
        low, high = self.scheme.statistics
        words = dict(low.as_words())
        words["solves"] = low.solves + high.solves
        words["iterations_max"] = max([*low.iterations, *high.iterations], default=0)
        words["iterations_total"] = sum(low.iterations) + sum(high.iterations)
        words["residual_max"] = max(low.residual, high.residual)
        return {**words, "unknowns": self.domain.space.dofmap.index_map.size_global}

    def verification(self) -> Mapping[str, Any]:
        """Return the largest cell Peclet number |R v| h / (2 n_a D), and the least concentration."""
        cells, size = self.cells, np.cbrt(6 * np.sqrt(2) * self.domain.volumes)
        speed = cells["convective_hindrance"] * np.linalg.norm(self.flow().mean, axis=1)
        spread = 2 * cells["available_volume_fraction"] * cells["diffusivity"]
        peclet = np.divide(speed * size, spread, out=np.zeros_like(speed), where=spread > 0)
        worst = max(self.domain.comm.allgather(float(peclet[: self.domain.owned].max(initial=0.0))))
        least = min(self.domain.comm.allgather(float(self.values.min(initial=np.inf))))
        return {"cell_peclet_max": worst, "concentration_min": least}

    def warnings(self) -> Iterable[str]:
        """Return sentences on fluid that enters and brings no drug, unless it is rounding beside what vessels give."""
        flux = self.flow()
        turnover = self.domain.sum(np.abs(flux.filtration) * self.domain.volumes)
        for name, rate in self.surfaces.entering.items():
            if rate > FAINT * turnover and name not in self.conditions:
                yield f"drug: {rate:.3g} mm^3/s of fluid enters through {name} and brings no drug"

    def surface_conditions(self) -> Mapping[str, str]:
        """Return the condition on each outer surface, in words."""
        words = dict(in_words(self.conditions.values(), self.domain))
        return {name: "outflow, not named" if text.startswith("sealed") else text for name, text in words.items()}

    def _parameters(self, time: float) -> dict[str, Array]:
        return {name: self.coefficients.cells(name, time) for name in self.spec.parameters}

    def _declare_forms(self) -> None:
        """Compile the forms and make the graph, once."""
        domain = self.domain
        scalars, vectors = (fem.functionspace(domain.mesh, ("DG", 0, shape)) for shape in ((), (3,)))
        self._hindrance, self._spread, self._fraction, self._divergence = (new(scalars) for _ in range(4))
        self._mean, center = new(vectors), new(vectors)
        center.x.array[:] = domain.centers.ravel()
        c, w = ufl.TrialFunction(domain.space), ufl.TestFunction(domain.space)
        speed = velocity(self._mean, self._divergence, center)
        self._transport = form(transport(c, w, self._hindrance, speed, self._spread))
        self._mass = form(mass(c, w, self._fraction))
        self.matrix = petsc.create_matrix(self._mass)
        self._fraction.x.array[:] = 1.0
        self._assemble(self._mass)
        self.graph = Graph(self.matrix)

    def _assemble(self, compiled: Form) -> PETSc.Mat:
        return assemble(self.matrix, compiled)

    def _discretize(self, begin: float, time: float) -> None:
        """Take coefficients, flow and surface rates at the end of a step; assemble what they change."""
        domain = self.domain
        self.cells = self._parameters(time)
        flux = self.flow()
        terms = [term(Cells(flux, **self.cells)) for term in TERMS]
        self._gain = np.sum([term.gain for term in terms], axis=0)
        self._loss = np.sum([term.loss for term in terms], axis=0)
        self._source = sum(
            (
                s.amount() * density * runs
                for s, density, runs in zip(self.spec.sources, self.injected, self._running(begin), strict=True)
            ),
            np.zeros(len(domain.region)),
        )
        hindrance = self.cells["convective_hindrance"]
        self.surfaces: Boundary = boundary(domain, flux, hindrance, self.conditions, time)
        self._mean.x.array[:] = flux.mean.ravel()
        self._divergence.x.array[:] = flux.divergence
        prescribed = [name for name, on in self.conditions.items() if on.key == "concentration"]
        self.ports = Ports(domain, self.graph, prescribed, self.surfaces.fixed)
        whole = self._mass_in(np.ones(len(domain.region)))
        self.regions: list[RegionRates] = [self._region(index, whole) for index in range(len(domain.regions))]
        self._version = flux.version
        self._ran = self._running(begin)

    def _region(self, index: int, whole: Array) -> RegionRates:
        """Gather what belongs to one region; `whole` is the mass matrix of all with coefficient one."""
        inside = self.domain.region == index
        own = self._transport_in(inside)
        rows = self.ports.rows(index, own, self._mass_in(inside * 1.0), whole)
        fraction = self.cells["available_volume_fraction"]
        return region_rates(self.domain, fraction, self._gain, self._source, self._loss, index, rows)

    def _transport_in(self, inside: NDArray[np.bool_]) -> Array:
        """Return the transport matrix of some cells on the edges; leaves it in `matrix`."""
        cells = self.cells
        self._hindrance.x.array[:] = cells["convective_hindrance"] * inside
        self._spread.x.array[:] = cells["available_volume_fraction"] * cells["diffusivity"] * inside
        return self.graph.values(self._assemble(self._transport))

    def _mass_in(self, weight: Array) -> Array:
        """Return the mass matrix with a coefficient on the cells."""
        self._fraction.x.array[:] = weight
        return self.graph.values(self._assemble(self._mass))

    def _operators(self) -> Operators:
        """Assemble the operators of the whole mesh."""
        everywhere = np.ones(len(self.domain.region), bool)
        whole = self._transport_in(everywhere)
        mirrored = self.graph.mirrored(self.matrix)
        volumes = self.domain.volumes
        return Operators(
            mass=self._mass_in(self.cells["available_volume_fraction"]),
            transport=whole,
            mirrored=mirrored,
            loss=from_cells(self.domain, self._loss * volumes) + self.surfaces.total_loss,
            gain=from_cells(self.domain, self._source * volumes) + self.surfaces.total_gain,
            exchange=from_cells(self.domain, self._gain * volumes),
            fixed=self.surfaces.fixed,
            value=self.surfaces.value,
        )

    def _begin(self, time: float) -> None:
        """Set up the first step after a time."""
        self._discretize(time, time)
        self.scheme = Scheme(self.graph, self.matrix, self._operators(), "drug")

    def _is_stale(self, begin: float) -> bool:
        """Tell whether the operators must be assembled again for a step."""
        if self.flow().version != self._version or self.coefficients.vary(self.spec.parameters):
            return True
        return bool(tables(self.conditions.values())) or self._running(begin) != self._ran

    def _running(self, begin: float) -> tuple[bool, ...]:
        """Tell which sources run in a step that begins at a time."""
        return tuple(active(source, begin) for source in self.spec.sources)

    def _keep(self, values: Array) -> None:
        self.concentration.x.array[: self.owned] = values
        self.concentration.x.scatter_forward()

    def _norms(self, values: Array) -> Array:
        """Return the root mean square of nodal values in each region, by accessible volume."""
        sums = np.array([[rates.mass @ values**2, rates.mass.sum()] for rates in self.regions])
        totals = np.asarray(self.domain.comm.allreduce(sums))
        return np.asarray(np.sqrt(totals[:, 0] / np.maximum(totals[:, 1], 1e-300)))

    def _relative(self, error: Array, new: Array) -> float:
        """Return the error relative to the largest concentration so far, the worst of all regions."""
        largest = np.maximum(self._largest, self._norms(new))
        scale = np.maximum(largest, FAINT * largest.max(initial=0.0))
        ratio = np.divide(self._norms(error), scale, out=np.zeros_like(scale), where=scale > 0)
        return float(ratio.max(initial=0.0))
