"""How far the surfaces of a mesh are from the faces between the voxels of the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import compiled
from turgor.meshing.tetrahedra import Floats, Tetrahedra

MOST_POINTS = 30_000
WIDEST = 8
"""Voxels around a point that are looked at."""


def distances(mesh: Tetrahedra, ids: NDArray[np.int32], affine: Floats) -> Floats:
    """Return the distance from the centers and corners of facets to the nearest face between unlike voxels [mm].

    Args:
        mesh: With facets; those at the end of the image do not count.
        ids: What each voxel is, padded by one voxel.
        affine: Index of a voxel (without the padding) to RAS millimeters, shape (4, 4).
    """
    kept = np.array([s.kind not in ("cut", "named") for s in mesh.surfaces])[mesh.facet_surface]
    facets = mesh.facets[kept]
    points = np.concatenate([mesh.points[np.unique(facets)], mesh.points[facets].mean(axis=1)])
    points = points[:: max(len(points) // MOST_POINTS, 1)]
    inverse = np.linalg.inv(affine)
    index = points @ inverse[:3, :3].T + inverse[:3, 3] + 1.0
    frame = np.ascontiguousarray(affine[:3, :3])
    return _nearest(index, ids, frame.T @ frame, WIDEST)


@compiled
def _nearest(index: Floats, ids: NDArray[np.int32], metric: Floats, widest: int) -> Floats:
    """Search shells of voxels around each point until none further out can be nearer."""
    found = np.full(len(index), np.inf)
    shortest = np.sqrt(np.min(np.diag(metric)))
    for p in range(len(index)):
        best = np.inf
        for reach in range(1, widest + 1):
            best = min(best, _shell(index[p], ids, metric, reach))
            if best <= ((reach - 0.5) * shortest) ** 2:
                break
        found[p] = np.sqrt(best)
    return found


@compiled
def _shell(point: Floats, ids: NDArray[np.int32], metric: Floats, reach: int) -> float:
    """Return the squared distance to the faces of voxels in a shell of a box around a point."""
    best = np.inf
    gap = np.empty(3)
    low, high = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64)
    center = np.empty(3, dtype=np.int64)
    for i in range(3):
        center[i] = int(np.rint(point[i]))
        low[i] = max(center[i] - reach, 0)
        high[i] = min(center[i] + reach, ids.shape[i] - 1)
    for x in range(low[0], high[0] + 1):
        for y in range(low[1], high[1] + 1):
            for z in range(low[2], high[2] + 1):
                away = max(abs(x - center[0]), abs(y - center[1]), abs(z - center[2]))
                if away != reach and reach > 1:
                    continue
                own = ids[x, y, z]
                for axis in range(3):
                    i, j, k = x + (axis == 0), y + (axis == 1), z + (axis == 2)
                    if i == ids.shape[0] or j == ids.shape[1] or k == ids.shape[2] or ids[i, j, k] == own:
                        continue
                    _to_square(point, x, y, z, axis, gap)
                    square = 0.0
                    for a in range(3):
                        for b in range(3):
                            square += gap[a] * metric[a, b] * gap[b]
                    best = min(best, square)
    return best


@compiled
def _to_square(point: Floats, x: int, y: int, z: int, axis: int, gap: Floats) -> None:
    """Set the step from a point to the nearest point of a voxel's far face, in indices."""
    gap[0], gap[1], gap[2] = x - point[0], y - point[1], z - point[2]
    for a in range(3):
        if a == axis:
            gap[a] += 0.5
        else:
            gap[a] = np.sign(gap[a]) * max(abs(gap[a]) - 0.5, 0.0)


def words(values: Floats, voxel: float) -> dict[str, float]:
    """Return median, 99th percentile and largest distance in millimeters and in voxels.

    Args:
        values: Distances [mm].
        voxel: Edge of a voxel [mm].
    """
    if not len(values):
        return {}
    finite = values[np.isfinite(values)]
    at = {"p50": float(np.median(finite)), "p99": float(np.percentile(finite, 99)), "max": float(finite.max())}
    return {**{f"{k}_mm": v for k, v in at.items()}, **{f"{k}_voxels": v / voxel for k, v in at.items()}}
