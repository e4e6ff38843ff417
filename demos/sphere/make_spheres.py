"""Make the closed surfaces of this demo: spheres of triangles, from an icosahedron divided again and again.

A polyhedron whose corners lie on a sphere is smaller than the sphere. Here the corners lie slightly outside, at the
distance that gives the polyhedron the volume of the sphere, so that the tumor makes as much fluid as the closed form
says.

    python make_spheres.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

type Points = NDArray[np.float64]
type Triangles = NDArray[np.int64]


def icosahedron() -> tuple[Points, Triangles]:
    """Return the corners on the unit sphere, shape (12, 3), and the triangles that look outward, shape (20, 3)."""
    golden = (1.0 + np.sqrt(5.0)) / 2.0
    base = [(0.0, one, two) for one in (-1.0, 1.0) for two in (-golden, golden)]
    points = np.array([np.roll(corner, shift) for shift in range(3) for corner in base])
    edge = 2.0
    near = np.abs(np.linalg.norm(points[:, None] - points[None], axis=2) - edge) < 1e-9
    triangles = [
        (i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] and near[j, k] and near[k, i]
    ]
    return points / np.linalg.norm(points, axis=1, keepdims=True), outward(points, np.array(triangles))


def outward(points: Points, triangles: Triangles) -> Triangles:
    """Turn the triangles round whose normal points to the origin."""
    inward = np.linalg.det(points[triangles]) < 0.0
    return np.where(inward[:, None], triangles[:, ::-1], triangles)


def divide(points: Points, triangles: Triangles) -> tuple[Points, Triangles]:
    """Cut each triangle into four; the new corners are the middles of the edges, moved onto the unit sphere."""
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=2)
    distinct, which = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True)
    middles = points[distinct].sum(axis=1)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    a, b, c = triangles.T
    ab, bc, ca = len(points) + which.reshape(-1, 3).T
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([points, middles]), np.concatenate([np.stack(part, axis=1) for part in parts])


def volume(points: Points, triangles: Triangles) -> float:
    """Return the volume inside a closed surface whose triangles look outward."""
    return float(np.linalg.det(points[triangles]).sum() / 6.0)


def sphere(radius: float, divisions: int) -> tuple[Points, Triangles]:
    """Return a polyhedron that has the volume of a sphere.

    Args:
        radius: Radius of the sphere [mm].
        divisions: How often the icosahedron is divided; there are 20·4^divisions triangles.
    """
    points, triangles = icosahedron()
    for _ in range(divisions):
        points, triangles = divide(points, triangles)
    corners = radius * (4.0 / 3.0 * np.pi / volume(points, triangles)) ** (1.0 / 3.0)
    return corners * points, triangles


def write(file: Path, points: Points, triangles: Triangles) -> None:
    """Write a binary PLY file, lengths in mm."""
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment turgor demo, mm\n"
        f"element vertex {len(points)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(triangles), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, triangles
    file.write_bytes(header.encode() + points.astype("<f4").tobytes() + faces.tobytes())


def make(folder: Path, *, radii: tuple[float, float] = (2.0, 8.0), divisions: tuple[int, int] = (4, 4)) -> None:
    """Write the surface of the tumor and that of the normal tissue round it.

    Args:
        folder: Where `tumor.ply` and `normal.ply` go.
        radii: Of tumor and normal tissue [mm].
        divisions: How often the icosahedron is divided for each.
    """
    for name, radius, times in zip(("tumor", "normal"), radii, divisions, strict=True):
        write(folder / f"{name}.ply", *sphere(radius, times))


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
