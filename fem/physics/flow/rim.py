"""What is reported of a tumor: its pressure against the distance from its surface, and the velocity at its rim.

Everything is taken from the pressures of cells and facets and the conservative flux, on any number of ranks:

    plateau     volume mean of the pressure in the deepest tenth of the tumor's volume
    profile     volume means and percentiles of the pressure in layers of equal distance from the tumor's surface
    rim depth   where that mean, followed from the surface inward, reaches 50, 90 and 95 % of the plateau
    velocity    flux/area of the facets of the tumor's surface, outward: median, 5 and 95 % of the area, and the mean,
                which is the whole flux over the whole area

Pressures are gauge pressures, and a depth is negative where the pressure outside of the tumor is above the percentage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from turgor.fem.domain import Domain
from turgor.fem.flux import DarcyFlux
from turgor.fem.physics.flow.bodies import Body
from turgor.fem.vtkhdf import gather

Array = NDArray[np.float64]

PERCENTS = (0.50, 0.90, 0.95)
"""Parts of the plateau to which a depth is told."""

DEEP = 0.1
"""The plateau is the mean in the deepest part of the tumor that has this share of its volume."""

REACH, LEAST_REACH = 3.0, 5.0
"""The profile goes outside as far as this many depths of the tumor, and at least so far [mm]."""

FIRST, GROWTH = 0.487, 1.1
"""Thickness of the layers at the surface, as a part of the edges there, and its growth from one to the next. The first
is no round number, so that the ends of layers are no distances that a regular mesh has."""

ROUNDED = 1e-9
"""Distances that differ by this part of the largest are equal."""

FEWEST = 8
"""Layers that hold fewer points are left out."""

QUADRATURE = np.full((4, 4), 0.1381966011250105) + np.eye(4) * (0.5854101966249685 - 0.1381966011250105)
"""Barycentric points of the rule of four points and degree two on a tetrahedron."""


@dataclass(frozen=True)
class Pressures:
    """The pressure as the flow has it.

    Attributes:
        cells: Mean in each local cell [Pa], shape (n,).
        facets: Mean on the facets of each local cell [Pa], shape (n, 4).
    """

    cells: Array
    facets: Array

    def ends(self, owned: int) -> Array:
        """Return the linear part of each owned cell's pressure at its vertices, its mean kept, shape (owned, 4)."""
        facets = self.facets[:owned]
        slope = facets.sum(axis=1, keepdims=True) - 3 * facets - facets.mean(axis=1, keepdims=True)
        return np.asarray(self.cells[:owned, None] + slope)


@dataclass(frozen=True)
class Layer:
    """A layer of the profile: distance [mm], negative inside; mean, 5 % and 95 % of the pressure [Pa]; volume [mm³]."""

    distance: float
    mean: float
    low: float
    high: float
    volume: float


PROFILE = ("tumor", "distance [mm]", "pressure mean [Pa]", "pressure p05 [Pa]", "pressure p95 [Pa]", "volume [mm^3]")
"""Columns of `profile.csv` after the time."""


@dataclass(frozen=True)
class Rim:
    """The numbers of a tumor; None where there is none to tell.

    Attributes:
        volume: Of the tumor [mm³].
        depth: Its greatest distance from its surface [mm].
        plateau: See above [Pa].
        surface: Area mean of the pressure on its surface [Pa].
        depth50: Where the pressure reaches half of the plateau [mm]; so are the next two for 90 and 95 %.
        edge: Mean length of the edges on its surface [mm].
        area: Of its surface that fluid may pass [mm²].
        median: Of the outward Darcy velocity over that area [mm/s].
        low: Its 5 % percentile [mm/s].
        high: Its 95 % percentile [mm/s].
        mean: Net flux over area [mm/s].
        efflux: What leaves through facets with an outward velocity [mm³/s].
        influx: What enters through the others [mm³/s].
    """

    volume: float
    depth: float
    plateau: float
    surface: float | None
    depth50: float | None
    depth90: float | None
    depth95: float | None
    edge: float
    area: float
    median: float
    low: float
    high: float
    mean: float
    efflux: float
    influx: float


UNITS = ("mm^3", "mm", "Pa", "Pa", *4 * ("mm",), "mm^2", *4 * ("mm/s",), *2 * ("mm^3/s",))
RIM = ("tumor", *(f"{field.name} [{unit}]" for field, unit in zip(fields(Rim), UNITS, strict=True)))
"""Columns of `rim.csv` after the time."""


def rim_of(domain: Domain, body: Body, flux: DarcyFlux, pressures: Pressures) -> tuple[Rim, list[Layer]]:
    """Return the numbers of a tumor and its profile; collective."""
    edge = _edge(domain, body)
    plateau, layers = _profile(domain, body, pressures, FIRST * edge)
    areas, rates, facets = _facets(domain, body, flux, pressures)
    area = float(areas.sum())
    surface = float(areas @ facets / area) if area > 0 else None
    low, median, high = percentiles(rates / areas, areas, (0.05, 0.5, 0.95)) if area > 0 else 3 * (0.0,)
    half, most, nearly = (_depth(layers, surface, share * plateau) for share in PERCENTS)
    volume = domain.sum(domain.volumes * body.inside)
    efflux, influx = (float(np.maximum(side * rates, 0.0).sum()) for side in (1, -1))
    mean = (efflux - influx) / area if area > 0 else 0.0
    pressure = (plateau, surface, half, most, nearly)
    told = Rim(volume, body.depth, *pressure, edge, area, median, low, high, mean, efflux, influx)
    return told, layers


def percentiles(values: Array, weights: Array, shares: Sequence[float]) -> tuple[float, ...]:
    """Return percentiles of values with unequal weights, by linear interpolation between the middles of the weights."""
    order = np.lexsort((weights, values))
    upto = np.cumsum(weights[order]) - 0.5 * weights[order]
    return tuple(float(x) for x in np.interp(np.array(shares) * weights.sum(), upto, values[order]))


def _facets(domain: Domain, body: Body, flux: DarcyFlux, pressures: Pressures) -> tuple[Array, Array, Array]:
    """Return area, outward rate and pressure of the rim's facets, on all ranks in an order that is always the same."""
    rows = [np.zeros((0, 6))]
    for patch in body.patches:
        surface = patch.surface.part(patch.passable)
        pressure = pressures.facets[surface.cells, surface.opposite]
        columns = (surface.midpoints, patch.areas(), patch.rates(flux), pressure)
        rows.append(np.column_stack(columns))
    found = np.concatenate(domain.comm.allgather(np.concatenate(rows)))
    found = found[np.lexsort(found[:, :3].T)]
    areas, rates, facets = found[:, 3:].T
    return areas, rates, facets


def _profile(domain: Domain, body: Body, pressures: Pressures, thickness: float) -> tuple[float, list[Layer]]:
    """Return the plateau, and the layers from the innermost outward; a point counts for a quarter of its cell."""
    owned = slice(domain.owned)
    nodes = np.asarray(domain.space.dofmap.list)[owned]
    away, inside = body.distance[nodes], body.inside[owned]
    outer = min(max(REACH * body.depth, LEAST_REACH), max(domain.comm.allgather(float(away.max(initial=0.0)))))
    near = away.min(axis=1) <= outer
    numbers = np.asarray(domain.mesh.topology.original_cell_index)[owned][near]
    points = away[near] @ QUADRATURE
    columns = (
        np.where(inside[near, None], np.minimum(points, 0.0), np.maximum(points, 0.0)),
        pressures.ends(domain.owned)[near] @ QUADRATURE,
        domain.volumes[owned][near, None],
        inside[near, None],
    )
    rows = gather(domain.comm, np.hstack(columns))
    order = np.argsort(gather(domain.comm, numbers))
    made: tuple[float, list[tuple[float, ...]]] = (0.0, [])
    if domain.comm.rank == 0:
        within, around = (_Points.of(rows[order][rows[order, 9] == part], side) for part, side in ((1, -1), (0, 1)))
        inner = [(-away, *rest) for away, *rest in within.layers(_ends(thickness, np.nextafter(body.depth, np.inf)))]
        made = (within.deepest(DEEP), [*reversed(inner), *around.layers(_ends(thickness, outer))])
    plateau, layers = domain.comm.bcast(made)
    return plateau, [Layer(*row) for row in layers]


def _edge(domain: Domain, body: Body) -> float:
    """Return the mean length of the edges on the tumor's surface [mm]; of its depth a tenth if it has none."""
    vectors = [patch.surface.area_vectors for patch in body.patches]
    edges = np.sqrt(4 / np.sqrt(3) * np.linalg.norm(np.concatenate([np.zeros((0, 3)), *vectors]), axis=1))
    total, count = (domain.comm.allreduce(value) for value in (float(edges.sum()), len(edges)))
    return total / count if count else body.depth / 10


def _ends(first: float, last: float) -> Array:
    """Return the ends of layers from 0 to `last`, whose thickness grows."""
    if last <= first:
        return np.array([0.0, max(last, 1e-9)])
    count = int(np.ceil(np.log1p((GROWTH - 1) * last / first) / np.log(GROWTH)))
    ends = first * (GROWTH ** np.arange(count + 1) - 1) / (GROWTH - 1)
    ends[-1] = last
    return np.asarray(ends)


@dataclass(frozen=True)
class _Points:
    """Points in or around a tumor: distance from its surface [mm], pressure [Pa] and volume [mm³]."""

    away: Array
    pressure: Array
    volume: Array

    @classmethod
    def of(cls, rows: Array, side: int) -> _Points:
        """Take rows of four distances, four pressures and a volume; distances count to one side of the surface."""
        return cls(side * rows[:, :4].ravel(), rows[:, 4:8].ravel(), np.repeat(rows[:, 8] / 4, 4))

    def deepest(self, share: float) -> float:
        """Return the mean pressure of the points farthest from the surface that make up a share of the volume.

        Of points that are equally far, as there are many in a regular mesh, each counts for the same part.
        """
        if not len(self.away):
            return 0.0
        steps = np.round(self.away / (ROUNDED * float(self.away.max(initial=1e-300)))).astype(np.int64)
        _, ring = np.unique(-steps, return_inverse=True)
        volumes, sums = (np.bincount(ring, weights) for weights in (self.volume, self.volume * self.pressure))
        wanted = share * float(volumes.sum())
        taken = np.clip(wanted - (np.cumsum(volumes) - volumes), 0.0, volumes)
        return float((taken / volumes) @ sums / wanted)

    def layers(self, ends: Array) -> Iterator[tuple[float, ...]]:
        """Yield distance, mean, percentiles and volume of each layer that holds enough points."""
        layer = np.searchsorted(ends, self.away, side="right")
        order = np.lexsort((self.pressure, layer))
        bounds = np.searchsorted(layer[order], np.arange(1, len(ends) + 1))
        for start, end in pairwise(bounds):
            if end - start < FEWEST:
                continue
            chosen = order[start:end]
            volume, values, total = self.volume[chosen], self.pressure[chosen], float(self.volume[chosen].sum())
            means = (float(volume @ numbers[chosen]) / total for numbers in (self.away, self.pressure))
            yield (*means, *percentiles(values, volume, (0.05, 0.95)), total)


def _depth(layers: Sequence[Layer], surface: float | None, threshold: float) -> float | None:
    """Return how deep below the surface the mean pressure reaches a threshold, negative outside; None if nowhere.

    From the surface it is followed inward as long as it is lower, else outward as long as it is not. Between layers it
    is a cubic that keeps to the bounds of its ends.
    """
    points = [(layer.distance, layer.mean) for layer in layers]
    if surface is not None:
        points.append((0.0, surface))
    places, means = np.array(sorted(points)).reshape(-1, 2).T
    inner = np.flatnonzero(places <= 0)
    if not len(inner):
        return None
    start = int(inner[-1])
    inward = means[start] < threshold
    steps = range(start - 1, -1, -1) if inward else range(start, len(places) - 1)
    for at in steps:
        ends = means[at : at + 2] - threshold
        if ends[0] * ends[1] <= 0 and ends[0] != ends[1]:
            near = slice(max(at - 1, 0), at + 3)
            roots = PchipInterpolator(places[near], means[near]).solve(threshold, extrapolate=False)
            inside = roots[(roots >= places[at]) & (roots <= places[at + 1])]
            return -float(inside[0]) if len(inside) else None
    return None
