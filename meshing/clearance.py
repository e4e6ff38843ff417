"""Whether triangles that are about to be made fold onto those around them or cross any other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import lean
from turgor.meshing.crossing import FLAT, Grid, Numbers
from turgor.meshing.stars import STAR, Star, Surface, has_vertex, new_star, third_vertex
from turgor.meshing.tetrahedra import Floats, Integers

COS_FOLD = float(np.cos(np.radians(25.0)))


class Room(NamedTuple):
    """Room for what is tried.

    Attributes:
        made: New triangles, shape (most, 3).
        mark: Stamp of each triangle that was looked at, the last one given at the end.
        normals: For vectors, shape (3, 3).
        lengths: Of edges.
        order: Of neighbors.
        one: Star of the vertex that may go.
        two: Star of the one that stays.
    """

    made: Integers
    mark: NDArray[np.int32]
    normals: Floats
    lengths: Floats
    order: Integers
    one: Star
    two: Star


def new_room(n_triangles: int) -> Room:
    """Return room for a number of triangles."""
    return Room(
        np.empty((STAR, 3), dtype=np.int64),
        np.zeros(n_triangles + 1, dtype=np.int32),
        np.empty((3, 3)),
        np.empty(2 * STAR),
        np.empty(2 * STAR, dtype=np.int64),
        new_star(),
        new_star(),
    )


@lean
def length2(points: Floats, a: int, b: int) -> float:
    """Return the squared length of an edge."""
    x, y, z = points[a, 0] - points[b, 0], points[a, 1] - points[b, 1], points[a, 2] - points[b, 2]
    return float(x * x + y * y + z * z)


@lean
def largest_cosine(points: Floats, a: int, b: int, c: int) -> float:
    """Return the cosine of the smallest angle of a triangle."""
    x, y, z = length2(points, b, c), length2(points, a, c), length2(points, a, b)
    if x <= y and x <= z:
        return float((y + z - x) / (2 * np.sqrt(y * z) + 1e-300))
    if y <= z:
        return float((x + z - y) / (2 * np.sqrt(x * z) + 1e-300))
    return float((x + y - z) / (2 * np.sqrt(x * y) + 1e-300))


@lean
def _fold(points: Floats, a: int, b: int, p: int, q: int) -> bool:
    """Say whether the triangles abp and abq meet at a sharp angle."""
    ex, ey, ez = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    ux, uy, uz = points[p, 0] - points[a, 0], points[p, 1] - points[a, 1], points[p, 2] - points[a, 2]
    wx, wy, wz = points[q, 0] - points[a, 0], points[q, 1] - points[a, 1], points[q, 2] - points[a, 2]
    square = ex * ex + ey * ey + ez * ez + 1e-300
    s, t = (ux * ex + uy * ey + uz * ez) / square, (wx * ex + wy * ey + wz * ez) / square
    ux, uy, uz = ux - s * ex, uy - s * ey, uz - s * ez
    wx, wy, wz = wx - t * ex, wy - t * ey, wz - t * ez
    dot = ux * wx + uy * wy + uz * wz
    if dot <= 0:
        return False
    return bool(dot * dot > COS_FOLD**2 * (ux * ux + uy * uy + uz * uz) * (wx * wx + wy * wy + wz * wz))


@lean
def _fold_at(points: Floats, v: int, x: int, y: int, p: int, q: int) -> bool:
    """Say whether the triangles vxy and vpq share an edge at v and meet there at a sharp angle."""
    if p == x and q != y:
        return _fold(points, v, x, y, q)
    if q == x and p != y:
        return _fold(points, v, x, y, p)
    if p == y and q != x:
        return _fold(points, v, y, x, q)
    if q == y and p != x:
        return _fold(points, v, y, x, p)
    return False


@lean
def _others(triangles: Numbers, t: int, v: int) -> tuple[int, int]:
    """Return the two vertices of a triangle other than v."""
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    if a == v:
        return b, c
    if b == v:
        return a, c
    return a, b


@lean
def folds(state: Surface, u: int, v: int, two: Star, room: Room, count: int) -> bool:
    """Say whether a new triangle meets one that shares an edge with it at a sharp angle.

    Args:
        state: The triangles.
        u: The vertex that goes.
        v: The vertex that stays.
        two: The star of v.
        room: With the new triangles.
        count: How many.
    """
    points, made, triangles = state.points, room.made, state.triangles
    for i in range(count):
        x, y = _others(made, i, v)
        for j in range(i):
            p, q = _others(made, j, v)
            if _fold_at(points, v, x, y, p, q):
                return True
        for j in range(two.size[0]):
            t = two.triangles[j]
            if not has_vertex(triangles, t, u):
                p, q = _others(triangles, t, v)
                if _fold_at(points, v, x, y, p, q):
                    return True
        corner = state.head[x]
        while corner >= 0:
            t = corner // 3
            corner = state.following[corner]
            if state.alive[t] == 1 and has_vertex(triangles, t, y):
                z = third_vertex(triangles, t, x, y)
                if z != u and z != v and _fold(points, x, y, v, z):
                    return True
    return False


@lean
def _side(x: Floats, a: int, nx: float, ny: float, nz: float, p: int) -> float:
    """Return how far a point is from a plane, in units of its normal."""
    return float((x[p, 0] - x[a, 0]) * nx + (x[p, 1] - x[a, 1]) * ny + (x[p, 2] - x[a, 2]) * nz)


@lean
def _volume6(x: Floats, a: int, b: int, c: int, d: int) -> float:
    """Return six times the signed volume of a tetrahedron."""
    ux, uy, uz = x[b, 0] - x[a, 0], x[b, 1] - x[a, 1], x[b, 2] - x[a, 2]
    vx, vy, vz = x[c, 0] - x[a, 0], x[c, 1] - x[a, 1], x[c, 2] - x[a, 2]
    wx, wy, wz = x[d, 0] - x[a, 0], x[d, 1] - x[a, 1], x[d, 2] - x[a, 2]
    return float(ux * (vy * wz - vz * wy) + uy * (vz * wx - vx * wz) + uz * (vx * wy - vy * wx))


@lean
def _through(x: Floats, p: int, q: int, one: float, two: float, a: int, b: int, c: int, tiny: float) -> bool:
    """Say whether the segment pq, whose ends are on these sides of the plane abc, goes through the triangle."""
    if (one > 0 and two > 0) or (one < 0 and two < 0) or max(abs(one), abs(two)) < tiny:
        return False
    s = _volume6(x, p, q, a, b)
    t = _volume6(x, p, q, b, c)
    if (s > 0 and t < 0) or (s < 0 and t > 0):
        return False
    u = _volume6(x, p, q, c, a)
    return bool((s >= 0 and t >= 0 and u >= 0) or (s <= 0 and t <= 0 and u <= 0))


@lean
def _edges_cross(x: Floats, a: int, b: int, c: int, d: int, e: int, f: int) -> int:
    """Say whether an edge of def goes through abc: 1 if so, 0 if not, -1 if def lies on one side of its plane."""
    ux, uy, uz = x[b, 0] - x[a, 0], x[b, 1] - x[a, 1], x[b, 2] - x[a, 2]
    vx, vy, vz = x[c, 0] - x[a, 0], x[c, 1] - x[a, 1], x[c, 2] - x[a, 2]
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    size = abs(ux) + abs(uy) + abs(uz) + abs(vx) + abs(vy) + abs(vz)
    tiny = FLAT * size * size * size
    one, two, three = _side(x, a, nx, ny, nz, d), _side(x, a, nx, ny, nz, e), _side(x, a, nx, ny, nz, f)
    if (one > tiny and two > tiny and three > tiny) or (one < -tiny and two < -tiny and three < -tiny):
        return -1
    if _through(x, d, e, one, two, a, b, c, tiny) or _through(x, e, f, two, three, a, b, c, tiny):
        return 1
    return 1 if _through(x, f, d, three, one, a, b, c, tiny) else 0


@lean
def _opposite_crosses(x: Floats, a: int, b: int, c: int, p: int, q: int) -> bool:
    """Say whether the segment pq goes through the triangle abc."""
    size = abs(x[a, 0] - x[b, 0]) + abs(x[a, 1] - x[b, 1]) + abs(x[a, 2] - x[b, 2])
    size += abs(x[a, 0] - x[c, 0]) + abs(x[a, 1] - x[c, 1]) + abs(x[a, 2] - x[c, 2])
    one, two = _volume6(x, a, b, c, p), _volume6(x, a, b, c, q)
    return _through(x, p, q, one, two, a, b, c, FLAT * size * size * size)


@lean
def _crosses(x: Floats, made: Integers, i: int, triangles: Numbers, t: int) -> bool:
    """Say whether a new triangle crosses another one apart from a vertex or an edge that they share."""
    shared, at_one, at_two = 0, 0, 0
    for j in range(3):
        for k in range(3):
            if made[i, j] == triangles[t, k]:
                shared += 1
                at_one, at_two = j, k
    if shared >= 2:
        return False
    a, b, c = made[i, at_one], made[i, (at_one + 1) % 3], made[i, (at_one + 2) % 3]
    d, e, f = triangles[t, at_two], triangles[t, (at_two + 1) % 3], triangles[t, (at_two + 2) % 3]
    if shared == 1:
        return _opposite_crosses(x, a, b, c, e, f) or _opposite_crosses(x, d, e, f, b, c)
    found = _edges_cross(x, a, b, c, d, e, f)
    return found == 1 or (found == 0 and _edges_cross(x, d, e, f, a, b, c) == 1)


@lean
def _apart(x: Floats, triangles: Numbers, t: int, low: Floats, high: Floats) -> bool:
    """Say whether a triangle is outside a box."""
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    for k in range(3):
        p, q, r = x[a, k], x[b, k], x[c, k]
        if (p < low[k] and q < low[k] and r < low[k]) or (p > high[k] and q > high[k] and r > high[k]):
            return True
    return False


@lean
def _meets_in(state: Surface, grid: Grid, u: int, room: Room, i: int, cube: int) -> bool:
    """Say whether a new triangle, in the box that is noted, crosses one of a cube; forget those that are gone."""
    entry, last, stamp = grid.head[cube], -1, room.mark[-1]
    while entry >= 0:
        t, following = grid.triangle[entry], grid.following[entry]
        if state.alive[t] == 1:
            last = entry
        elif last < 0:
            grid.head[cube] = following
        else:
            grid.following[last] = following
        entry = following
        if room.mark[t] == stamp or state.alive[t] == 0:
            continue
        room.mark[t] = stamp
        if _apart(state.points, state.triangles, t, room.normals[0], room.normals[1]):
            continue
        if not has_vertex(state.triangles, t, u) and _crosses(state.points, room.made, i, state.triangles, t):
            return True
    return False


@lean
def _meets_one(state: Surface, grid: Grid, u: int, room: Room, i: int) -> bool:
    """Say whether a new triangle crosses one that is there, apart from those at u."""
    x, made = state.points, room.made
    low, high, n = room.normals[0], room.normals[1], room.normals[2]
    a, b, c = made[i, 0], made[i, 1], made[i, 2]
    for k in range(3):
        low[k], high[k] = min(x[a, k], x[b, k], x[c, k]), max(x[a, k], x[b, k], x[c, k])
    ux, uy, uz = x[b, 0] - x[a, 0], x[b, 1] - x[a, 1], x[b, 2] - x[a, 2]
    wx, wy, wz = x[c, 0] - x[a, 0], x[c, 1] - x[a, 1], x[c, 2] - x[a, 2]
    n[0], n[1], n[2] = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
    w, origin = grid.width, grid.origin
    reach = 0.5 * w * (abs(n[0]) + abs(n[1]) + abs(n[2])) * 1.0001 + 1e-12
    room.mark[-1] += 1
    for p in range(int((low[0] - origin[0]) / w), int((high[0] - origin[0]) / w) + 1):
        for q in range(int((low[1] - origin[1]) / w), int((high[1] - origin[1]) / w) + 1):
            off = n[0] * (origin[0] + (p + 0.5) * w - x[a, 0]) + n[1] * (origin[1] + (q + 0.5) * w - x[a, 1])
            for r in range(int((low[2] - origin[2]) / w), int((high[2] - origin[2]) / w) + 1):
                if abs(off + n[2] * (origin[2] + (r + 0.5) * w - x[a, 2])) > reach:
                    continue
                if _meets_in(state, grid, u, room, i, (p * grid.shape[1] + q) * grid.shape[2] + r):
                    return True
    return False


@lean
def meets(state: Surface, grid: Grid, u: int, room: Room, count: int) -> bool:
    """Say whether a new triangle crosses one that is there, or another new one.

    Args:
        state: The triangles.
        grid: In which they are listed.
        u: Vertex whose triangles do not count, because they go.
        room: With the new triangles.
        count: How many.
    """
    for i in range(count):
        for j in range(i):
            if _crosses(state.points, room.made, i, room.made, j):
                return True
    for i in range(count):
        if _meets_one(state, grid, u, room, i):
            return True
    return False
