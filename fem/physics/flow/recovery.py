"""A continuous pressure from the multiplier and the cell pressures, for pictures, measures and mechanics."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import PETSc  # isort: skip  (MPI before DOLFINx)

from turgor.fem.assembly import add_from_ghosts, largest_of_ghosts, new
from turgor.fem.domain import Domain, Surface
from turgor.fem.nodes import facet_nodes
from turgor.fem.physics.flow.hybrid import Cells, cofactors, resisted
from turgor.meshing.compiled import compiled

Array = NDArray[np.float64]
Ints = NDArray[np.int32]

Pressed = list[tuple[Surface, Array]]
"""Surfaces with the pressure on each of their facets [Pa]."""


class CellValues(NamedTuple):
    """What was found.

    Attributes:
        multiplier: l on the facets [Pa].
        pressure: p_T in each cell [Pa].
        divergence: s in each cell [1/s].
    """

    multiplier: Array
    pressure: Array
    divergence: Array


class Shares(NamedTuple):
    """What the cells say of each node.

    Attributes:
        weights: Sum of their weights.
        sums: Sum of their pressures there, weighted.
        least: Least mean pressure of a cell.
        largest: Largest mean pressure of a cell.
    """

    weights: Array
    sums: Array
    least: Array
    largest: Array


@compiled
def gather(cells: Cells, facets: Ints, values: CellValues, nodes: Ints, shares: Shares) -> None:
    """Add what each cell says of its vertices.

    v = v_T + s/3 (x - x_T) is the flow of a quadratic pressure; with its mean p_T in the cell it is

        p(x) = p_T + ∇l·d - s/6 (d·K⁻¹d - Σᵢ dᵢ·K⁻¹dᵢ/20),   d = x - x_T.

    A cell counts by |T|/|d|³, roughly the solid angle that it fills at the vertex: the more it is stretched away from
    there, the less it knows.

    Args:
        cells: What the equation has in the cells.
        facets: Facets of each cell, shape (n_cells, 4).
        values: What was found.
        nodes: Nodes of the cells that count, shape (n_owned, 4).
        shares: What to add to, for each node.
    """
    middle, squares, gradients = np.empty(3), np.empty(4), np.empty((4, 3))
    for cell in range(len(nodes)):
        points = cells.points[cell]
        volume = abs(cofactors(points, gradients)) / 6
        for x in range(3):
            middle[x] = 0.25 * (points[0, x] + points[1, x] + points[2, x] + points[3, x])
        whole = 0.0
        for i in range(4):
            whole += values.multiplier[facets[cell, i]]
            a, b, c = points[i, 0] - middle[0], points[i, 1] - middle[1], points[i, 2] - middle[2]
            squares[i] = resisted(cells.tensor[cell], a, b, c) if len(cells.tensor) else a * a + b * b + c * c
        bend = values.divergence[cell] / (6 if len(cells.tensor) else 6 * cells.conductivity[cell])
        mean = (squares[0] + squares[1] + squares[2] + squares[3]) / 20
        pressure = values.pressure[cell]
        for i in range(4):
            node = nodes[cell, i]
            a, b, c = points[i, 0] - middle[0], points[i, 1] - middle[1], points[i, 2] - middle[2]
            weight = volume / (a * a + b * b + c * c) ** 1.5
            end = pressure + 0.75 * whole - 3 * values.multiplier[facets[cell, i]] - bend * (squares[i] - mean)
            shares.weights[node] += weight
            shares.sums[node] += weight * end
            shares.least[node] = min(shares.least[node], pressure)
            shares.largest[node] = max(shares.largest[node], pressure)


def continuous(
    domain: Domain, cells: Cells, facets: Ints, values: CellValues, surfaces: tuple[Pressed, Pressed]
) -> Array:
    """Average the cells' pressures at each vertex and keep the bounds of the cells round it; collective.

    Where a boundary layer is thinner than the cells, the cells' pressures overshoot; their means do not, and bound the
    average, together with the pressures on outer facets.

    Args:
        domain: The mesh.
        cells: What the equation has in the cells.
        facets: Facets of each cell, shape (n_cells, 4).
        values: What was found.
        surfaces: Outer surfaces, and those where the case gives the pressure; it holds at their vertices, too.

    Returns:
        Values on the dofs of `domain.space`, ghosts included [Pa].
    """
    size = domain.space.dofmap.index_map.size_local + domain.space.dofmap.index_map.num_ghosts
    shares = Shares(np.zeros(size), np.zeros(size), np.full(size, np.inf), np.full(size, -np.inf))
    gather(cells, facets, values, np.asarray(domain.space.dofmap.list)[: domain.owned], shares)
    outer, prescribed = surfaces
    for surface, pressures in outer:
        nodes, repeated = facet_nodes(domain, surface).ravel(), np.repeat(pressures, 3)
        np.maximum.at(shares.largest, nodes, repeated)
        np.minimum.at(shares.least, nodes, repeated)
    total, sums = (_exchanged(domain, part, add_from_ghosts) for part in (shares.weights, shares.sums))
    largest = _exchanged(domain, shares.largest, largest_of_ghosts)
    least = -_exchanged(domain, -shares.least, largest_of_ghosts)
    kept = _on_surfaces(domain, prescribed, size)
    return np.where(np.isnan(kept), np.clip(sums / total, least, largest), kept)


def _on_surfaces(domain: Domain, prescribed: Pressed, size: int) -> Array:
    """Return the mean prescribed pressure at each vertex, weighted by area, and NaN where none is prescribed."""
    areas, sums = np.zeros(size), np.zeros(size)
    for surface, values in prescribed:
        nodes = facet_nodes(domain, surface).ravel()
        weights = np.repeat(np.linalg.norm(surface.area_vectors, axis=1), 3)
        areas += np.bincount(nodes, weights, minlength=size)
        sums += np.bincount(nodes, weights * np.repeat(values, 3), minlength=size)
    areas, sums = (_exchanged(domain, part, add_from_ghosts) for part in (areas, sums))
    means: Array = np.divide(sums, areas, out=np.full(size, np.nan), where=areas > 0)
    return means


def _exchanged(domain: Domain, values: Array, combine: Callable[[PETSc.Vec], None]) -> Array:
    """Combine the values that ranks have for shared nodes, and return the result on all of them."""
    shared = new(domain.space)
    shared.x.array[:] = values
    combine(shared.x.petsc_vec)
    shared.x.scatter_forward()
    return np.array(shared.x.array)
