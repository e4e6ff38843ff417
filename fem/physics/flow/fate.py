"""Where the fluid that leaves a tumor ends: in vessels, in lymphatics, through which surface, or back in the tumor.

Fluid has no label. It is followed as a marker that the flow carries without spreading and that is mixed with all fluid
that a cell receives: the marked part φ is 1 in the tumor, and in every other cell T

    φ_T (Σ_F v⁺ + reabsorbed + drained + withdrawn) = Σ_F φ_T' v⁻

over its facets F, with v⁺ the rate out of the cell and v⁻ that from the cell T' beyond. What vessels, lymphatics and
surfaces take is φ times the whole that they take there. The shares add up to the tumor's efflux, because the fluxes are
the same from both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import PETSc  # isort: skip  (MPI before DOLFINx)

from dolfinx import fem

from turgor.fem.assembly import new
from turgor.fem.domain import Domain
from turgor.fem.flux import DarcyFlux
from turgor.fem.linear import GMRES, INCOMPLETE, Krylov
from turgor.fem.physics.flow.bodies import Body

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

REABSORBED, DRAINED, WITHDRAWN, LEFT, RETURNED = "reabsorbed", "lymph", "withdrawn", "through", "returned"
"""Ways in which the fluid of a tumor ends."""

NOTABLE = 1e-12
"""Cells that pass less than this part of the largest rate are taken as still, and hold no marked fluid."""

SMALLEST = 1e-6
"""Smaller shares of the efflux are not told."""


@dataclass(frozen=True)
class Ending:
    """A way in which the fluid of a tumor ends.

    Attributes:
        way: "reabsorbed" or "lymph" in a region, "withdrawn" there, "through" a surface, "returned" to the tumor.
        place: The region or surface; the tumor's name for what returns.
        rate: Volume per time [mm³/s].
        share: Of all that leaves the tumor.
    """

    way: str
    place: str
    rate: float
    share: float


FATE = ("tumor", "way", "place", "rate [mm^3/s]", "share")
"""Columns of `fate.csv` after the time."""


@dataclass(frozen=True)
class Exchange:
    """The flow between cells; facet i of cell c is number 4 c + i.

    Attributes:
        out: Rate out of the cell through each facet, 0 where it flows in [mm³/s].
        given: Of that, what the cell beyond takes [mm³/s]; all but for rounding, and for a pressure held there.
        partner: Number of the same facet from the other side, -1 where there is no cell here.
    """

    out: Array
    given: Array
    partner: Ints

    @classmethod
    def of(cls, domain: Domain, flux: DarcyFlux) -> Exchange:
        """Find it from the flux."""
        out = np.einsum("cix,cx->ci", _area_vectors(domain), flux.mean)
        out += (0.25 * flux.divergence * domain.volumes)[:, None]
        for name, closed in flux.sealed.items():
            surface = domain.surfaces[name]
            out[surface.cells[closed], surface.opposite[closed]] = 0.0
        facets = domain.mesh.topology.connectivity(3, 2).array[: out.size]
        order = np.argsort(facets, kind="stable")
        twin = np.flatnonzero(facets[order][1:] == facets[order][:-1])
        partner = np.full(out.size, -1, dtype=np.int64)
        partner[order[twin]], partner[order[twin + 1]] = order[twin + 1], order[twin]
        taken = np.where(partner >= 0, np.maximum(-out.ravel()[partner], 0.0), 0.0)
        leaving = np.maximum(out.ravel(), 0.0)
        return cls(leaving, np.minimum(leaving, taken), partner)

    @property
    def beyond(self) -> Ints:
        """The cell on the other side of each facet, or -1."""
        return np.where(self.partner >= 0, self.partner // 4, -1)

    @property
    def received(self) -> Array:
        """What each cell takes through each facet from the cell beyond [mm³/s]."""
        return np.where(self.partner >= 0, self.given[self.partner], 0.0)

    @property
    def lost(self) -> Array:
        """What leaves each cell through each facet and enters no other cell [mm³/s]."""
        return self.out - self.given


def endings(domain: Domain, body: Body, flux: DarcyFlux, source: Array, pressure: Array) -> list[Ending]:
    """Return how the fluid that leaves a tumor ends, the largest part first; collective.

    Args:
        domain: The mesh.
        body: The tumor.
        flux: The flow.
        source: Volume sources of the case in each cell [1/s]; they may be negative.
        pressure: Of each cell [Pa]; orders the unknowns along the flow.
    """
    exchange = Exchange.of(domain, flux)
    sinks = {
        REABSORBED: np.maximum(-flux.filtration, 0.0) * domain.volumes,
        DRAINED: np.maximum(flux.lymph, 0.0) * domain.volumes,
        WITHDRAWN: np.maximum(-source, 0.0) * domain.volumes,
    }
    total = np.sum(list(sinks.values()), axis=0)
    marked = _marked(domain, body, exchange, total, pressure)
    found = [
        (way, region, float(rate))
        for way, sink in sinks.items()
        for region, rate in zip(domain.regions, domain.by_region(sink * marked * ~body.inside), strict=True)
    ]
    owned = np.repeat(np.arange(len(body.inside)) < domain.owned, 4)
    outside = (exchange.beyond < 0) | ~body.inside[exchange.beyond]
    mine = np.repeat(body.inside, 4)
    back = exchange.given * np.repeat(marked, 4)
    efflux = _sum(domain, exchange.out[owned & mine & outside])
    found.append((RETURNED, body.name, _sum(domain, back[owned & ~mine & ~outside])))
    found += [(LEFT, name, rate) for name, rate in _through(domain, exchange.lost.reshape(-1, 4), marked, flux)]
    kept = [Ending(way, place, rate, rate / efflux) for way, place, rate in found if rate > SMALLEST * efflux]
    return sorted(kept, key=lambda ending: -ending.rate)


def _through(domain: Domain, lost: Array, marked: Array, flux: DarcyFlux) -> list[tuple[str, float]]:
    """Return the marked fluid that leaves through each outer surface, and at each pressure held inside."""
    found = []
    for name, surface in domain.surfaces.items():
        if surface.kind == "named" or (surface.second is not None and name not in flux.pressed):
            continue
        parts = lost[surface.cells, surface.opposite] * marked[surface.cells]
        if surface.second is not None:
            parts = parts + lost[surface.beyond, surface.beyond_opposite] * marked[surface.beyond]
        found.append((name, _sum(domain, parts)))
    return found


def _marked(domain: Domain, body: Body, exchange: Exchange, sinks: Array, pressure: Array) -> Array:
    """Return φ of each local cell; collective.

    Unknowns are numbered from the highest pressure to the lowest, along the flow, so that the matrix is nearly
    triangular and its incomplete factors nearly exact.
    """
    passing = exchange.out.reshape(-1, 4).sum(axis=1) + sinks
    passing = np.maximum(passing, exchange.received.reshape(-1, 4).sum(axis=1))
    largest = max(domain.comm.allgather(float(passing[: domain.owned].max(initial=0.0))))
    moving = ~body.inside & (passing > NOTABLE * largest)
    number = _numbers(domain, pressure)
    matrix = _matrix(domain, exchange, np.where(moving, passing, np.inf), number)
    right, solution = matrix.createVecLeft(), matrix.createVecRight()
    start = right.getOwnershipRange()[0]
    local = (number[: domain.owned] - start).astype(np.int64)
    right.array[local] = body.inside[: domain.owned]
    solver = Krylov("fate", matrix, {**GMRES, **INCOMPLETE}, "GMRES on the fluid of a tumor")
    solver.solve(right, solution)
    marked = new(fem.functionspace(domain.mesh, ("DG", 0)))
    marked.x.array[: domain.owned] = solution.array[local]
    marked.x.scatter_forward()
    solver.destroy()
    for thing in (matrix, right, solution):
        thing.destroy()
    return np.array(marked.x.array)


def _numbers(domain: Domain, pressure: Array) -> Array:
    """Return a global number for each local cell: those of a rank together, the highest pressure first."""
    numbers = new(fem.functionspace(domain.mesh, ("DG", 0)))
    first = domain.mesh.topology.index_map(3).local_range[0]
    numbers.x.array[np.argsort(-pressure[: domain.owned], kind="stable")] = first + np.arange(domain.owned)
    numbers.x.scatter_forward()
    return np.array(numbers.x.array)


def _matrix(domain: Domain, exchange: Exchange, passing: Array, number: Array) -> PETSc.Mat:
    """Return the matrix of φ, each row divided by what passes its cell; that of an infinite passing is 1."""
    count = domain.owned
    first, size = domain.mesh.topology.index_map(3).local_range[0], domain.mesh.topology.index_map(3).size_global
    ratio = exchange.received.reshape(-1, 4)[:count] / passing[:count, None]
    used = ratio > 0
    cells = np.repeat(np.arange(count), 4).reshape(-1, 4)[used]
    rows = np.concatenate([number[:count], number[cells]]).astype(np.int64) - first
    columns = np.concatenate([number[:count], number[exchange.beyond.reshape(-1, 4)[:count][used]]]).astype(np.int64)
    values = np.concatenate([np.ones(count), -ratio[used]])
    order = np.lexsort((columns, rows))
    pointer = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))])
    whole = ((count, size), (count, size))
    csr = (pointer.astype(PETSc.IntType), columns[order].astype(PETSc.IntType), values[order])
    return PETSc.Mat().createAIJ(size=whole, csr=csr, comm=domain.comm)  # type: ignore[arg-type]


def _area_vectors(domain: Domain) -> Array:
    """Return area times outward normal of the four facets of each local cell [mm²], shape (n_cells, 4, 3)."""
    one, two, three = (domain.points[:, corner] - domain.points[:, 0] for corner in (1, 2, 3))
    vectors = np.empty((len(one), 4, 3))
    for facet, (a, b) in enumerate(((three, two), (one, three), (two, one)), start=1):
        vectors[:, facet] = np.cross(a, b)
    turned = np.einsum("cx,cx->c", vectors[:, 1], one) > 0
    vectors[:, 0] = -vectors[:, 1:].sum(axis=1)
    return np.asarray(vectors * np.where(turned, -0.5, 0.5)[:, None, None])


def _sum(domain: Domain, values: Array) -> float:
    return float(domain.comm.allreduce(float(values.sum())))
