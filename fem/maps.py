"""Averages of an image over cells, by sampling each cell at least as finely as the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from turgor.materials.errors import TurgorError
from turgor.meshing.images import read_map

Array = NDArray[np.float64]
FINEST = 6
CHUNK = 100_000
"""Cells that are sampled at once, which bounds the memory."""


def lattice(n: int) -> Array:
    """Return n(n+1)(n+2)/6 points spread evenly in a tetrahedron, barycentric, shape (n_points, 4)."""
    i, j, k = (index.ravel() for index in np.meshgrid(*3 * [np.arange(n)], indexing="ij"))
    inside = i + j + k < n
    counts = np.stack([i, j, k, n - 1 - i - j - k], axis=1)[inside]
    return np.asarray((counts + 0.25) / n)


def cell_averages(file: Path, cells: Array, comm: MPI.Comm) -> tuple[Array, Array, str]:
    """Average an image over tetrahedra; collective.

    Args:
        file: The image.
        cells: Vertices in world coordinates [mm], shape (n, 4, 3).
        comm: Communicator of the mesh.

    Returns:
        Averages in the image's numbers, shape (n,); the part of each cell that lies in the image, shape (n,); what
        is wrong with the image, the same on all ranks, or an empty text.
    """
    try:
        values, affine = read_map(file)
        problem = ""
    except TurgorError as error:
        values, affine, problem = np.zeros((1, 1, 1)), np.eye(4), str(error)
    means, covered = np.zeros(len(cells)), np.zeros(len(cells))
    if not problem:
        means, covered = _sample(values, np.linalg.inv(affine), cells)
        if not np.all(np.isfinite(means)):
            problem = f"{file.name} holds values that are no finite numbers (NaN) inside the region; fill them first"
    problems = [text for text in comm.allgather(problem) if text]
    return means, covered, problems[0] if problems else ""


def _sample(values: Array, to_voxel: Array, cells: Array) -> tuple[Array, Array]:
    """Return averages and covered parts; the image's voxels reach half a spacing beyond their centers."""
    means, covered = np.zeros(len(cells)), np.zeros(len(cells))
    voxels = cells @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    extent = np.ptp(voxels, axis=1).max(axis=1) if len(cells) else np.zeros(0)
    fineness = np.clip(np.ceil(extent), 2, FINEST).astype(int)
    upper = np.array(values.shape) - 0.5
    groups = [np.flatnonzero(fineness == n) for n in np.unique(fineness)]
    for chosen in (group[start : start + CHUNK] for group in groups for start in range(0, len(group), CHUNK)):
        n = fineness[chosen[0]]
        points = np.einsum("pv,cvx->cpx", lattice(int(n)), voxels[chosen])
        inside = ((points >= -0.5) & (points <= upper)).all(axis=2)
        sampled = map_coordinates(values, points.reshape(-1, 3).T, order=1, mode="nearest").reshape(inside.shape)
        hits = inside.sum(axis=1)
        means[chosen] = np.where(inside, sampled, 0.0).sum(axis=1) / np.maximum(hits, 1)
        covered[chosen] = hits / inside.shape[1]
    return means, covered
