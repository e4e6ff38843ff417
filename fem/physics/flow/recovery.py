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


def continuous(domain: Domain, multiplier: Array, cells: Array, outer: Pressed, prescribed: Pressed) -> Array:
    """Average the multiplier at each vertex and keep the bounds of the cells round it; collective.

    The average of the linear functions of all cells at a vertex, weighted by volume, is exact for linear pressures.
    Where a boundary layer is thinner than the cells, these functions overshoot; the cell pressures do not, and bound
    the average, together with the pressures on outer facets.

    Args:
        domain: The mesh.
        multiplier: l on the facets of each local cell [Pa], shape (n_cells, 4).
        cells: p_T [Pa], shape (n_cells,).
        outer: Outer surfaces.
        prescribed: Surfaces where the case gives the pressure; it holds at their vertices, too.

    Returns:
        Values on the dofs of `domain.space`, ghosts included [Pa].
    """
    owned = slice(domain.owned)
    corners = multiplier.sum(axis=1, keepdims=True) - 3 * multiplier
    dofs = np.asarray(domain.space.dofmap.list)[owned].ravel()
    weights = np.repeat(domain.volumes[owned], 4)
    size = domain.space.dofmap.index_map.size_local + domain.space.dofmap.index_map.num_ghosts
    total = _exchanged(domain, np.bincount(dofs, weights, minlength=size), add_from_ghosts)
    mean = (
        _exchanged(domain, np.bincount(dofs, weights * corners[owned].ravel(), minlength=size), add_from_ghosts) / total
    )
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
