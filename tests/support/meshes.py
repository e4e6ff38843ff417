"""Meshes for tests, made without a mesher: boxes, and nested balls of spherical layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.formats import write_h5, write_msh
from turgor.meshing.tetrahedra import Surface, Tetrahedra, assemble, faces_of, positive

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

KUHN = np.array([[0, 1, 3, 7], [0, 3, 2, 7], [0, 2, 6, 7], [0, 6, 4, 7], [0, 4, 5, 7], [0, 5, 1, 7]])
"""Six tetrahedra that fill a cube whose corner (x, y, z) has the number x + 2 y + 4 z."""

SIDES = ("x-", "x+", "y-", "y+", "z-", "z+")
"""Names of the six sides of a box, where they are asked for: "tumor|x-" is a surface of kind "cut"."""


def box(
    ticks: Sequence[Array], region: Callable[[Array], Ints], names: tuple[str, ...], *, sides: bool = False
) -> Tetrahedra:
    """Return a box of six tetrahedra for each brick between the ticks.

    Args:
        ticks: Planes in x, y and z [mm].
        region: Centers of cells, shape (n, 3), to indices into `names`.
        names: Names of the regions.
        sides: Whether the six sides have names of their own; else all of it is "outside".
    """
    counts = [len(t) for t in ticks]
    points = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    number = np.arange(len(points)).reshape(counts)
    nx, ny, nz = (count - 1 for count in counts)
    shifts = [(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    corners = [number[x : nx + x, y : ny + y, z : nz + z].ravel() for x, y, z in shifts]
    cells = positive(points, np.stack(corners, axis=1)[:, KUHN].reshape(-1, 4))
    outer: tuple[Ints, list[Surface]] = (np.zeros((0, 4), np.int64), [])
    if sides:
        outer = _sides(points, cells, [t[end] for t in ticks for end in (0, -1)])
    return assemble(points, cells, region(points[cells].mean(axis=1)), names, outer)


def slab(length: float, n: int, *, across: int = 1, regions: tuple[str, ...] = ("tissue",)) -> Tetrahedra:
    """Return a bar along x with bricks as wide as they are long and named sides: what is solved on it depends on x.

    Args:
        length: Of the bar, which starts at x = 0 [mm].
        n: Bricks along it.
        across: Bricks in y and in z.
        regions: They share the length equally; n is a multiple of their number.
    """
    x, y = np.linspace(0, length, n + 1), np.linspace(0, across * length / n, across + 1)
    count = len(regions)
    return box([x, y, y], lambda c: (c[:, 0] * count / length).astype(np.int64), regions, sides=True)


def _sides(points: Array, cells: Ints, planes: Sequence[float]) -> tuple[Ints, list[Surface]]:
    faces = faces_of(cells, len(points))
    rows = faces.vertices[faces.second < 0]
    beyond = np.zeros(len(rows), np.int64)
    for index, plane in enumerate(planes):
        beyond[(points[rows][:, :, index // 2] == plane).all(axis=1)] = index
    return np.column_stack([rows, beyond]), [Surface(name, "cut") for name in SIDES]


@dataclass(frozen=True)
class Sphere:
    """Triangles with corners on the unit sphere.

    Attributes:
        points: Shape (n, 3); those of the next coarser sphere come first.
        triangles: Shape (m, 3).
        middles: For each triangle abc of the next coarser sphere the points on ab, bc, ca, shape (m / 4, 3).
    """

    points: Array
    triangles: Ints
    middles: Ints


def spheres(divisions: int, faces: int) -> list[Sphere]:
    """Return an icosahedron, or some of its faces, divided again and again: each triangle into four."""
    golden = (1 + np.sqrt(5)) / 2
    points = np.array([np.roll([0, one, two], s) for s in range(3) for one in (-1, 1) for two in (-golden, golden)])
    near = np.linalg.norm(points[:, None] - points[None], axis=2) < 2.1
    triples = [
        (i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] and near[j, k] and near[k, i]
    ]
    used, numbers = np.unique(np.array(triples[:faces]), return_inverse=True)
    points = points[used] / np.linalg.norm(points[0])
    found = [Sphere(points, numbers.reshape(-1, 3), np.zeros((0, 3), np.int64))]
    for _ in range(divisions):
        old = found[-1]
        edges = np.sort(old.triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=2)
        distinct, which = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True)
        new = old.points[distinct].sum(axis=1)
        new /= np.linalg.norm(new, axis=1, keepdims=True)
        middles = len(old.points) + which.reshape(-1, 3)
        a, b, c = old.triangles.T
        ab, bc, ca = middles.T
        parts = [np.stack(part, axis=1) for part in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
        found.append(Sphere(np.concatenate([old.points, new]), np.concatenate(parts), middles))
    return found


def balls(radii: Sequence[Array], names: tuple[str, ...], divisions: int = 3, faces: int = 20) -> Tetrahedra:
    """Return nested balls of layers of tetrahedra between spheres.

    Each sphere is an icosahedron divided so often that its triangles are about as wide as the layer below is thick.
    Corners lie a little outside the radius, so that each polyhedron has the volume of its ball.

    Args:
        radii: For each region the radii at which its layers end [mm]; the first one starts after zero.
        names: Names of the regions, from the inside out.
        divisions: Most divisions of the icosahedron.
        faces: 20, or fewer for a cone over some faces; its flat sides are then of kind "cut". What depends on the
            radius only has no flux through them: one face gives all at a twentieth of the work.
    """
    ends = np.concatenate(radii)
    levels = _levels(ends, divisions)
    kinds = spheres(divisions, faces)
    used = [kinds[level] for level in levels]
    share = 4 / 3 * np.pi * faces / 20
    sizes = [np.abs(np.linalg.det(s.points[s.triangles])).sum() / 6 for s in kinds]
    points = [np.zeros((1, 3))]
    points += [r * (share / sizes[level]) ** (1 / 3) * s.points for r, level, s in zip(ends, levels, used, strict=True)]
    starts = np.cumsum([len(p) for p in points])
    parts = [np.column_stack([used[0].triangles + 1, np.zeros(len(used[0].triangles), np.int64)])]
    for i in range(1, len(ends)):
        parts.append(_layer(used[i - 1], used[i], int(starts[i - 1]), int(starts[i])))
    borders = np.cumsum([len(r) for r in radii])
    layer = np.repeat(np.arange(len(ends)), [len(part) for part in parts])
    every = np.concatenate(points)
    cells = positive(every, np.concatenate(parts))
    region = np.searchsorted(borders, layer, side="right").astype(np.int64)
    faces_found = faces_of(cells, len(every))
    rows = faces_found.vertices[faces_found.second < 0]
    flat = rows[(rows < starts[-2]).any(axis=1)]
    outer = np.column_stack([flat, np.zeros(len(flat), np.int64)])
    return assemble(every, cells, region, names, (outer, [Surface("cut", "cut")]))


def _levels(ends: Array, divisions: int) -> list[int]:
    """Return how often each sphere is divided; neighbors differ by one at most, the finer one wins."""
    steps = np.diff(ends, prepend=0.0)
    levels = np.clip(np.round(np.log2(1.1 * ends / steps)), 0, divisions).astype(int)
    for i in range(len(levels) - 2, -1, -1):
        levels[i] = max(levels[i], levels[i + 1] - 1)
    for i in range(1, len(levels)):
        levels[i] = max(levels[i], levels[i - 1] - 1)
    return [int(level) for level in levels]


def _layer(low: Sphere, high: Sphere, below: int, above: int) -> Ints:
    """Return the tetrahedra between two spheres, whose points are counted from `below` and `above`."""
    if len(low.triangles) == len(high.triangles):
        first, second, third = np.sort(low.triangles, axis=1).T
        corners = (first + below, second + below, third + below, first + above, second + above, third + above)
        # The diagonal of a side goes from its lower corner below to its higher one above, seen from both prisms.
        return np.concatenate(
            [np.stack([corners[i] for i in cell], axis=1) for cell in ((0, 1, 2, 5), (0, 1, 4, 5), (0, 3, 4, 5))]
        )
    coarse, fine = (low, high) if len(low.triangles) < len(high.triangles) else (high, low)
    of_coarse, of_fine = (below, above) if coarse is low else (above, below)
    a, b, c = (coarse.triangles + of_coarse).T
    far_a, far_b, far_c = (coarse.triangles + of_fine).T
    ab, bc, ca = (fine.middles + of_fine).T
    corners_cut = ((a, far_a, ab, ca), (b, far_b, ab, bc), (c, far_c, bc, ca))
    octahedron = ((a, bc, ab, b), (a, bc, b, c), (a, bc, c, ca), (a, bc, ca, ab))
    return np.concatenate([np.stack(cell, axis=1) for cell in (*corners_cut, *octahedron)])


def write(mesh: Tetrahedra, folder: Path, name: str = "mesh") -> Path:
    """Write the mesh as NAME.msh and NAME.h5, and return the latter."""
    write_msh(folder / f"{name}.msh", mesh)
    file = folder / f"{name}.h5"
    write_h5(file, mesh, "")
    return file
