"""Triangles in a grid of cells, and whether any two of them cross: compiled loops for collapse and for checks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import lean
from turgor.meshing.tetrahedra import Floats, Integers

Numbers = NDArray[np.int64] | NDArray[np.int32] | NDArray[np.int8]
"""Whole numbers of whichever size."""

MOST_GRID_CELLS = 20_000_000

FLAT = 1e-11
"""Volumes below this, in units of the cube of a length, are those of rounding in one plane."""


class Grid(NamedTuple):
    """Triangles hashed into cubes; a triangle may be listed in more cubes than it touches.

    Attributes:
        origin: Lowest corner, shape (3,).
        shape: Number of cubes along each axis, shape (3,).
        width: Of a cube.
        head: First entry of each cube, -1 for none.
        triangle: Triangle of each entry.
        following: Next entry of the same cube, -1 at the end.
        used: Number of entries in use, shape (1,).
    """

    origin: Floats
    shape: Integers
    width: float
    head: Integers
    triangle: Integers
    following: Integers
    used: Integers


def grid_of(points: Floats, width: float, room: int) -> Grid:
    """Return an empty grid around points, with room for a number of entries."""
    low, high = points.min(axis=0), points.max(axis=0)
    while np.prod(np.ceil((high - low) / width) + 2) > MOST_GRID_CELLS:
        width *= 1.3
    shape = (np.ceil((high - low) / width) + 2).astype(np.int64)
    return Grid(
        low - 0.5 * width,
        shape,
        float(width),
        np.full(int(np.prod(shape)), -1, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        np.zeros(1, dtype=np.int64),
    )


@lean
def _range(grid: Grid, axis: int, a: float, b: float, c: float) -> tuple[int, int]:
    """Return the first cube along an axis that has one of three coordinates, and the one after the last."""
    low = int((min(a, b, c) - grid.origin[axis]) / grid.width)
    return low, int((max(a, b, c) - grid.origin[axis]) / grid.width) + 1


@lean
def insert(grid: Grid, t: int, a: Floats, b: Floats, c: Floats) -> bool:
    """List a triangle in the cubes near its plane and inside its box; say whether there was room."""
    x_low, x_high = _range(grid, 0, a[0], b[0], c[0])
    y_low, y_high = _range(grid, 1, a[1], b[1], c[1])
    z_low, z_high = _range(grid, 2, a[2], b[2], c[2])
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    wx, wy, wz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
    length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-300
    reach = 0.5 * grid.width * (abs(nx) + abs(ny) + abs(nz)) * 1.0001
    for i in range(x_low, x_high):
        for j in range(y_low, y_high):
            for k in range(z_low, z_high):
                x = grid.origin[0] + (i + 0.5) * grid.width - a[0]
                y = grid.origin[1] + (j + 0.5) * grid.width - a[1]
                z = grid.origin[2] + (k + 0.5) * grid.width - a[2]
                if abs(nx * x + ny * y + nz * z) > reach + 1e-12 * length:
                    continue
                if grid.used[0] >= len(grid.triangle):
                    return False
                cube = (i * grid.shape[1] + j) * grid.shape[2] + k
                entry = grid.used[0]
                grid.used[0] += 1
                grid.triangle[entry] = t
                grid.following[entry] = grid.head[cube]
                grid.head[cube] = entry
    return True


@lean
def volume6(a: Floats, b: Floats, c: Floats, d: Floats) -> float:
    """Return six times the signed volume of a tetrahedron."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    wx, wy, wz = d[0] - a[0], d[1] - a[1], d[2] - a[2]
    return float(ux * (vy * wz - vz * wy) + uy * (vz * wx - vx * wz) + uz * (vx * wy - vy * wx))


@lean
def pierces(p: Floats, q: Floats, a: Floats, b: Floats, c: Floats) -> bool:
    """Say whether the segment pq goes through the triangle abc; touching counts, lying in its plane does not."""
    one, two = volume6(a, b, c, p), volume6(a, b, c, q)
    if (one > 0 and two > 0) or (one < 0 and two < 0):
        return False
    size = abs(a[0] - b[0]) + abs(a[1] - b[1]) + abs(a[2] - b[2])
    size += abs(a[0] - c[0]) + abs(a[1] - c[1]) + abs(a[2] - c[2])
    if max(abs(one), abs(two)) < FLAT * size * size * size:
        return False
    s, t, u = volume6(p, q, a, b), volume6(p, q, b, c), volume6(p, q, c, a)
    return (s >= 0 and t >= 0 and u >= 0) or (s <= 0 and t <= 0 and u <= 0)


@lean
def cross(points: Floats, one: Integers, two: Integers) -> bool:
    """Say whether two triangles cross apart from the vertex they may share; pairs with a common edge do not count."""
    shared, at_one, at_two = 0, 0, 0
    for i in range(3):
        for j in range(3):
            if one[i] == two[j]:
                shared += 1
                at_one, at_two = i, j
    if shared >= 2:
        return False
    a, b, c = points[two[0]], points[two[1]], points[two[2]]
    d, e, f = points[one[0]], points[one[1]], points[one[2]]
    if shared == 1:
        p, q = points[one[(at_one + 1) % 3]], points[one[(at_one + 2) % 3]]
        r, s = points[two[(at_two + 1) % 3]], points[two[(at_two + 2) % 3]]
        return pierces(p, q, a, b, c) or pierces(r, s, d, e, f)
    if pierces(d, e, a, b, c) or pierces(e, f, a, b, c) or pierces(f, d, a, b, c):
        return True
    return pierces(a, b, d, e, f) or pierces(b, c, d, e, f) or pierces(c, a, d, e, f)


@lean
def apart(points: Floats, one: Integers, two: Integers) -> bool:
    """Say whether the boxes of two triangles are apart."""
    for i in range(3):
        low = min(points[one[0], i], points[one[1], i], points[one[2], i])
        high = max(points[one[0], i], points[one[1], i], points[one[2], i])
        if min(points[two[0], i], points[two[1], i], points[two[2], i]) > high:
            return True
        if max(points[two[0], i], points[two[1], i], points[two[2], i]) < low:
            return True
    return False


@lean
def fill_grid(grid: Grid, points: Floats, triangles: Numbers, alive: Numbers) -> bool:
    """List all living triangles in an emptied grid; say whether there was room."""
    grid.head[:] = -1
    grid.used[0] = 0
    for t in range(len(triangles)):
        if alive[t] == 1 and not insert(
            grid, t, points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]
        ):
            return False
    return True


@lean
def _first_crossings(grid: Grid, points: Floats, triangles: Integers, found: Integers) -> int:
    """Write crossing pairs into `found` until it is full; return how many there are."""
    count = 0
    for cube in range(len(grid.head)):
        one = grid.head[cube]
        while one >= 0:
            two = grid.following[one]
            while two >= 0:
                s, t = grid.triangle[one], grid.triangle[two]
                if not apart(points, triangles[s], triangles[t]) and cross(points, triangles[s], triangles[t]):
                    if count < len(found):
                        found[count, 0], found[count, 1] = min(s, t), max(s, t)
                    count += 1
                two = grid.following[two]
            one = grid.following[one]
    return count


def crossings(points: Floats, triangles: Integers, most: int = 1000) -> Integers:
    """Return pairs of triangles that cross, ascending, at most so many, shape (k, 2)."""
    edge = np.linalg.norm(points[triangles] - points[np.roll(triangles, 1, axis=1)], axis=2)
    room = 16 * len(triangles) + 1000
    grid = grid_of(points, float(np.percentile(edge, 75)) * 1.5, room)
    alive = np.ones(len(triangles), dtype=np.int64)
    while not fill_grid(grid, points, triangles, alive):
        room *= 2
        grid = grid_of(points, grid.width, room)
    found = np.zeros((most, 2), dtype=np.int64)
    count = _first_crossings(grid, points, triangles, found)
    return np.asarray(np.unique(found[: min(count, most)], axis=0))
