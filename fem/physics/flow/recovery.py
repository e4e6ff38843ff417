"""A continuous pressure from the multiplier and the cell pressures, for pictures, measures and mechanics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import PETSc  # isort: skip  (MPI before DOLFINx)


from turgor.fem.assembly import add_from_ghosts, largest_of_ghosts, new
from turgor.fem.domain import Domain, Surface
from turgor.fem.nodes import facet_nodes

Array = NDArray[np.float64]


Pressed = list[tuple[Surface, Array]]
"""Surfaces with the pressure on each of their facets [Pa]."""


def corners(domain: Domain, multiplier: Array, cells: Array, bend: Array) -> Array:
    """Return the pressure that the velocity of each cell has at its vertices [Pa], shape (n_cells, 4).

    v = v_T + s/3 (x - x_T) is the flow of a quadratic pressure; with its mean p_T in the cell it is

        p(x) = p_T + ∇l·(x - x_T) - s/(6 K) (|x - x_T|² - Σᵢ |xᵢ - x_T|²/20).

    Args:
        domain: The mesh.
        multiplier: l on the facets of each local cell [Pa], shape (n_cells, 4).
        cells: p_T [Pa], shape (n_cells,).
        bend: s/K [Pa/mm²], shape (n_cells,).
    """
    squares = ((domain.points - domain.centers[:, None]) ** 2).sum(axis=2)
    slope = multiplier.sum(axis=1, keepdims=True) - 3 * multiplier - multiplier.mean(axis=1, keepdims=True)
    curve = squares - squares.sum(axis=1, keepdims=True) / 20
    return np.asarray(cells[:, None] + slope - bend[:, None] / 6 * curve)


def continuous(domain: Domain, ends: Array, cells: Array, outer: Pressed, prescribed: Pressed) -> Array:
    """Average the cells' pressures at each vertex and keep the bounds of the cells round it; collective.

    A cell counts by |T|/|x_T - x|³, roughly the solid angle that it fills at the vertex: the more it is stretched away
    from there, the less it knows. Where a boundary layer is thinner than the cells, they overshoot; their means do not,
    and bound the average, together with the pressures on outer facets.

    Args:
        domain: The mesh.
        ends: Pressure of each local cell at its vertices [Pa], see `corners`, shape (n_cells, 4).
        cells: p_T [Pa], shape (n_cells,).
        outer: Outer surfaces.
        prescribed: Surfaces where the case gives the pressure; it holds at their vertices, too.

    Returns:
        Values on the dofs of `domain.space`, ghosts included [Pa].
    """
    owned = slice(domain.owned)
    dofs = np.asarray(domain.space.dofmap.list)[owned].ravel()
    away = np.linalg.norm(domain.points[owned] - domain.centers[owned, None], axis=2)
    weights = (domain.volumes[owned, None] / away**3).ravel()
    size = domain.space.dofmap.index_map.size_local + domain.space.dofmap.index_map.num_ghosts
    total = _exchanged(domain, np.bincount(dofs, weights, minlength=size), add_from_ghosts)
    mean = _exchanged(domain, np.bincount(dofs, weights * ends[owned].ravel(), minlength=size), add_from_ghosts) / total
    near = [(dofs, np.repeat(cells[owned], 4))]
    near += [(facet_nodes(domain, surface).ravel(), np.repeat(values, 3)) for surface, values in outer]
    largest, least = np.full(size, -np.inf), np.full(size, np.inf)
    for nodes, values in near:
        np.maximum.at(largest, nodes, values)
        np.minimum.at(least, nodes, values)
    largest = _exchanged(domain, largest, largest_of_ghosts)
    least = -_exchanged(domain, -least, largest_of_ghosts)
    kept = _on_surfaces(domain, prescribed, size)
    return np.where(np.isnan(kept), np.clip(mean, least, largest), kept)


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
