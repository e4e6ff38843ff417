"""Sums over cells and facets at the nodes: volumes, areas and rates that belong to each node."""

from __future__ import annotations

import numpy as np
from dolfinx import la
from numpy.typing import NDArray

from turgor.fem.domain import OPPOSITE, Domain, Surface

Array = NDArray[np.float64]


def from_cells(domain: Domain, values: Array) -> Array:
    """Share a value of each cell equally among its nodes and add up; collective.

    Args:
        domain: The mesh.
        values: One a local cell, for example its volume; those of ghosts are not used, shape (n_cells,).

    Returns:
        Sums on the nodes of `domain.space` that this rank owns.
    """
    dofs = np.asarray(domain.space.dofmap.list)[: domain.owned]
    return _add(domain, dofs.ravel(), np.repeat(values[: domain.owned] / 4, 4))


def from_facets(domain: Domain, surface: Surface, values: Array) -> Array:
    """Share a value of each facet of a surface equally among its nodes and add up; collective."""
    return _add(domain, facet_nodes(domain, surface).ravel(), np.repeat(values / 3, 3))


def facet_nodes(domain: Domain, surface: Surface) -> NDArray[np.int32]:
    """Return the nodes of each facet of a surface, shape (n_facets, 3)."""
    rows = np.asarray(domain.space.dofmap.list)[surface.cells]
    return np.take_along_axis(rows, OPPOSITE[surface.opposite], axis=1)


def _add(domain: Domain, dofs: NDArray[np.int32], values: Array) -> Array:
    """Add values at local dofs, those of other ranks' nodes at their owners; return the owned part."""
    sums = la.vector(domain.space.dofmap.index_map, 1, dtype=np.float64)
    sums.array[:] = np.bincount(dofs, values, minlength=len(sums.array))
    sums.scatter_reverse(la.InsertMode.add)
    return np.array(sums.array[: domain.space.dofmap.index_map.size_local])
