"""Who gets which cells: recursive bisection by coordinates, with a layer of ghost cells across the cuts.

A graph partitioner matches the facets of all cells twice before it starts. Here planes cut the cells into parts of
equal number, each across the longest extent of what it divides, and only facets at the cuts are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from dolfinx import graph

Array = NDArray[np.float64]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Partitioner = Callable[[MPI.Comm, int, Sequence[object], Sequence[Longs]], object]

FACES = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
"""Vertices of the faces of a tetrahedron."""

TILT = 0.0137
"""Planes lean a little, so that cells of a regular grid don't lie in them by the layer."""

BINS = 1024
ROUNDS = 3
"""A plane is found to 1/1024³ of the extent."""


def by_coordinates(comm: MPI.Comm, points: Array, n_points: int) -> Partitioner:
    """Return a partitioner for `dolfinx.mesh.create_mesh`, with ghosts across facets.

    Args:
        comm: Communicator of the mesh.
        points: Coordinates by vertex number, all that this rank's cells name, shape (n, 3).
        n_points: Number of points of the whole mesh.
    """

    def divide(_comm: MPI.Comm, _parts: int, _types: Sequence[object], cells: Sequence[Longs]) -> object:
        vertices = np.asarray(cells[0]).reshape(-1, 4)
        centers = sum(points[vertices[:, corner]] for corner in range(4)) / 4
        part = bisect(comm, np.asarray(centers))
        guest, where = ghosts(comm, vertices, part, n_points)
        start = np.concatenate([[0], np.cumsum(1 + np.bincount(guest, minlength=len(part)))]).astype(np.int32)
        targets = np.concatenate([part, where]).astype(np.int32)
        order = np.argsort(np.concatenate([np.arange(len(part)), guest]), kind="stable")
        return graph.adjacencylist(targets[order], start)._cpp_object

    return divide


def bisect(comm: MPI.Comm, centers: Array) -> Ints:
    """Divide cells into as many parts as there are ranks, of equal number of cells. Collective.

    Args:
        comm: Communicator.
        centers: Barycenters of this rank's cells, shape (n, 3).

    Returns:
        The part of each cell, shape (n,).

    Source: Berger and Bokhari (1987).
    """
    group = np.zeros(len(centers), dtype=np.int64)
    ranges = [(0, comm.size)]
    while any(last - first > 1 for first, last in ranges):
        share = np.array([(last - first) // 2 / max(last - first, 1) for first, last in ranges])
        behind = _planes(comm, centers, group, share)
        group = 2 * group + behind
        ranges = [half for first, last in ranges for half in _halves(first, last)]
    return np.array([first for first, _ in ranges], dtype=np.int32)[group]


def _halves(first: int, last: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return both halves of a range of ranks; of a single one the first is empty."""
    middle = first + (last - first) // 2
    return (first, middle), (middle, last)


def _planes(comm: MPI.Comm, centers: Array, group: Longs, share: Array) -> NDArray[np.bool_]:
    """Cut each group in two by a plane; return which cells lie behind it.

    Args:
        comm: Communicator.
        centers: Barycenters, shape (n, 3).
        group: Group of each cell, shape (n,).
        share: Of each group, the share of cells before the plane.
    """
    count = len(share)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    for index in range(count):
        here = centers[group == index]
        if len(here):
            low[index], high[index] = here.min(axis=0), here.max(axis=0)
    comm.Allreduce(MPI.IN_PLACE, low, op=MPI.MIN)
    comm.Allreduce(MPI.IN_PLACE, high, op=MPI.MAX)
    extent = np.where(high > low, high - low, 0.0)
    axis = extent.argmax(axis=1)
    lean = np.array([1.0, TILT, TILT**2])
    directions = np.stack([np.roll(lean, shift) for shift in range(3)])[axis]
    values = np.einsum("ij,ij->i", centers, directions[group])
    start = np.where(np.isfinite(low), low, 0.0)
    ends = [np.einsum("ij,ij->i", start + part, directions) for part in (0.0, extent)]
    cut = np.where(share > 0, _quantiles(comm, values, group, share, (ends[0], ends[1])), -np.inf)
    return np.asarray(values > cut[group])


def _quantiles(comm: MPI.Comm, values: Array, group: Longs, share: Array, ends: tuple[Array, Array]) -> Array:
    """Return for each group the value below which a share of its cells lie, by counting in finer and finer bins."""
    low, width = ends[0], (ends[1] - ends[0]) / BINS
    wanted: Array | None = None
    for _ in range(ROUNDS):
        scale = np.where(width > 0, width, 1.0)
        place = np.floor((values - low[group]) / scale[group])
        inside = (place >= 0) & (place <= BINS)
        slots = group[inside] * BINS + np.minimum(place[inside], BINS - 1).astype(np.int64)
        counts = np.bincount(slots, minlength=BINS * len(share)).reshape(len(share), BINS)
        comm.Allreduce(MPI.IN_PLACE, counts, op=MPI.SUM)
        running = counts.cumsum(axis=1)
        wanted = share * running[:, -1] if wanted is None else wanted
        chosen = (running < wanted[:, None]).sum(axis=1).clip(max=BINS - 1)
        rows = np.arange(len(share))
        wanted = wanted - (running[rows, chosen] - counts[rows, chosen])
        low, width = low + chosen * width, width / BINS
    return np.asarray(low + width * BINS)


def ghosts(comm: MPI.Comm, cells: Longs, part: Ints, n_points: int) -> tuple[Longs, Ints]:
    """Find the cells that share a facet with a cell of another part. Collective.

    Args:
        comm: Communicator.
        cells: Vertices of this rank's cells, shape (n, 4).
        part: Part of each cell, shape (n,).
        n_points: Number of points of the whole mesh.

    Returns:
        Cells of this rank, and the part where each is a ghost, ascending; a cell may be there several times.
    """
    low, high = np.full(n_points, comm.size, dtype=np.int32), np.full(n_points, -1, dtype=np.int32)
    for corner in range(4):
        np.minimum.at(low, cells[:, corner], part)
        np.maximum.at(high, cells[:, corner], part)
    comm.Allreduce(MPI.IN_PLACE, low, op=MPI.MIN)
    comm.Allreduce(MPI.IN_PLACE, high, op=MPI.MAX)
    border = low < high
    near = np.flatnonzero(border[cells].sum(axis=1) >= 3)
    faces = np.sort(cells[near][:, FACES].reshape(-1, 3), axis=1)
    owner = np.repeat(near, 4)
    at_cut = border[faces].all(axis=1)
    mine = np.column_stack([faces[at_cut], part[owner[at_cut]]])
    gathered = comm.allgather(mine)
    every, first = np.concatenate(gathered), sum(len(rows) for rows in gathered[: comm.rank])
    pairs = _partners(every)
    here = (pairs[:, 0] >= first) & (pairs[:, 0] < first + len(mine))
    found = np.column_stack([owner[at_cut][pairs[here, 0] - first], every[pairs[here, 1], 3]])
    found = np.unique(found.reshape(-1, 2), axis=0)
    return found[:, 0], found[:, 1].astype(np.int32)


def _partners(faces: Longs) -> Longs:
    """Return both orders of each pair of rows with equal vertices and different parts.

    Args:
        faces: Three vertices and a part, shape (n, 4).
    """
    order = np.lexsort(faces[:, 2::-1].T)
    one, two = order[:-1], order[1:]
    same = (faces[one, :3] == faces[two, :3]).all(axis=1) & (faces[one, 3] != faces[two, 3])
    return np.concatenate([np.column_stack([one[same], two[same]]), np.column_stack([two[same], one[same]])])
