"""Where a point in world coordinates lies in the mesh, whatever the partition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from turgor.fem.domain import OPPOSITE, Domain
from turgor.materials.errors import CaseError

type Array = NDArray[np.float64]

REACH = 1e-3
"""A point this far outside, measured by the longest edge of the nearest cell, still counts as in the mesh."""
ROUNDING = 1e-10
NOWHERE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Place:
    """A point in a cell.

    Attributes:
        cell: Local number of the cell on the rank that owns it, None on all others.
        weights: Barycentric coordinates of the point, shape (4,).
    """

    cell: int | None
    weights: Array


def locate(domain: Domain, point: Array, where: str) -> Place:
    """Find the cell of a point; of several that share it, the one with the lowest number in the mesh file. Collective.

    Args:
        domain: The mesh.
        point: World coordinates [mm], shape (3,).
        where: The place in the case, for the message.

    Raises:
        CaseError: The point is outside; says how far.
    """
    cells = _near(domain, point)
    corners = domain.points[cells]
    weights = barycentric(corners, point)
    away = np.where(weights.min(axis=1) >= -ROUNDING, 0.0, distance(corners, point))
    nearest = float(domain.comm.allreduce(float(away.min(initial=np.inf)), op=MPI.MIN))
    numbers = np.asarray(domain.mesh.topology.original_cell_index, dtype=np.int64)[cells]
    close = away <= nearest * (1.0 + 1e-9)
    number = domain.comm.allreduce(int(numbers[close].min(initial=NOWHERE)), op=MPI.MIN)
    chosen = np.flatnonzero(numbers == number)
    size = float(domain.comm.allreduce(float(_longest_edge(corners[chosen]).max(initial=0.0)), op=MPI.MAX))
    if nearest > REACH * size:
        x, y, z = point
        raise CaseError(
            f"{where}: the point ({x:g}, {y:g}, {z:g}) mm is {nearest:.3g} mm outside the mesh; "
            f"expected a point in it, in world coordinates (RAS, mm)"
        )
    if not len(chosen):
        return Place(None, np.zeros(4))
    inside = np.maximum(weights[chosen[0]], 0.0)
    return Place(int(cells[chosen[0]]), inside / inside.sum())


def barycentric(corners: Array, point: Array) -> Array:
    """Return the barycentric coordinates of a point in each tetrahedron, shape (n, 4)."""
    edges = np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2)
    three = np.linalg.solve(edges, (point - corners[:, 0])[:, :, None])[:, :, 0]
    return np.column_stack([1.0 - three.sum(axis=1), three])


def distance(corners: Array, point: Array) -> Array:
    """Return the distance of a point from the surface of each tetrahedron, shape (n,)."""
    return _from_triangles(corners[:, OPPOSITE], point).min(axis=1)


def _from_triangles(triangles: Array, point: Array) -> Array:
    """Return the distance of a point from triangles, shape (..., 3, 3) to (...): from the face, else from an edge."""
    a, b, c = np.moveaxis(triangles, -2, 0)
    normal = np.cross(b - a, c - a)
    square = (normal * normal).sum(axis=-1)
    beside = np.stack(
        [(np.cross(q - p, point - p) * normal).sum(axis=-1) for p, q in ((a, b), (b, c), (c, a))],
        axis=-1,
    )
    face = np.abs(((point - a) * normal).sum(axis=-1)) / np.sqrt(square)
    edge = np.min([_from_segments(p, q, point) for p, q in ((a, b), (b, c), (c, a))], axis=0)
    return np.where((beside >= 0.0).all(axis=-1), face, edge)


def _from_segments(a: Array, b: Array, point: Array) -> Array:
    along = b - a
    share = np.clip(((point - a) * along).sum(axis=-1) / (along * along).sum(axis=-1), 0.0, 1.0)
    return np.asarray(np.linalg.norm(point - a - share[..., None] * along, axis=-1))


def _near(domain: Domain, point: Array) -> NDArray[np.int64]:
    """Return the owned cells that can be the nearest: those whose ball reaches as close as the closest center."""
    corners, centers = domain.points[: domain.owned], domain.centers[: domain.owned]
    radius = np.linalg.norm(corners - centers[:, None], axis=2).max(axis=1, initial=0.0)
    away = np.linalg.norm(centers - point, axis=1)
    return np.flatnonzero(away - radius <= away.min(initial=np.inf))


def _longest_edge(corners: Array) -> Array:
    pairs = corners[:, :, None] - corners[:, None]
    return np.asarray(np.linalg.norm(pairs, axis=-1).max(axis=(1, 2), initial=0.0))
