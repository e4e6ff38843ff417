"""Cells that change: their lists at points, and the moves that lift a small dihedral angle.

Each move replaces cells by others that fill the same space, are positive, and whose smallest angle is larger than that
of the cells that they replace. Cells of different parts never change together, so that surfaces stay as they are.

Source: Freitag and Ollivier-Gooch (1997) for the moves; Klincsek (1980) for the best triangulation of a ring.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import compiled
from turgor.meshing.tetrahedra import Floats, Integers

MOST_CELLS_AT = 192
"""Cells at a point that is looked at."""

MOST_IN_RING = 9
LEVELS = 6
SHRINK = 0.55
GAIN = 1e-6
"""Smallest gain of a cosine for which a move is made."""

FLAT = 2.0
"""Stands for the cosine of a cell that is not positive."""


class Cells(NamedTuple):
    """Tetrahedra while they change, with room for more.

    Attributes:
        points: Shape (room, 3); the first one not in use is a place to try.
        cells: Positively oriented, shape (more room, 4).
        part: -1 for a cell that is gone.
        cosine: Of the smallest dihedral angle.
        fixed: 1 for a point on a surface, shape (room,).
        head: First corner (4 t + i) at each point, -1 for none, shape (room,).
        following: Next corner at the same point.
        used: Number of points and of cells, shape (2,).
    """

    points: Floats
    cells: Integers
    part: NDArray[np.int32]
    cosine: Floats
    fixed: NDArray[np.int8]
    head: NDArray[np.int32]
    following: NDArray[np.int32]
    used: Integers


class Scratch(NamedTuple):
    """Room for the moves: cells at two points, faces around a cavity, a ring, a table of its triangulations."""

    star: Integers
    ring: Integers
    faces: Integers
    around: Integers
    best: Floats
    choice: Integers
    offsets: Floats


def new_scratch(offsets: Floats) -> Scratch:
    """Return room for the moves, with the displacements to try, in units of a reach, shape (k, 3)."""
    n = MOST_IN_RING
    return Scratch(
        np.empty(MOST_CELLS_AT, dtype=np.int64),
        np.empty(n + 1, dtype=np.int64),
        np.empty((2 * MOST_CELLS_AT, 3), dtype=np.int64),
        np.empty(n + 1, dtype=np.int64),
        np.empty((n + 1, n + 1)),
        np.empty((n + 1, n + 1), dtype=np.int64),
        offsets,
    )


@compiled
def cosine_of(x: Floats, a: int, b: int, c: int, d: int) -> float:
    """Return the cosine of the smallest dihedral angle of a tetrahedron, `FLAT` when it is not positive."""
    ux, uy, uz = x[b, 0] - x[a, 0], x[b, 1] - x[a, 1], x[b, 2] - x[a, 2]
    vx, vy, vz = x[c, 0] - x[a, 0], x[c, 1] - x[a, 1], x[c, 2] - x[a, 2]
    wx, wy, wz = x[d, 0] - x[a, 0], x[d, 1] - x[a, 1], x[d, 2] - x[a, 2]
    px, py, pz = vy * wz - vz * wy, vz * wx - vx * wz, vx * wy - vy * wx
    if ux * px + uy * py + uz * pz <= 0.0:
        return FLAT
    qx, qy, qz = wy * uz - wz * uy, wz * ux - wx * uz, wx * uy - wy * ux
    rx, ry, rz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    sx, sy, sz = -px - qx - rx, -py - qy - ry, -pz - qz - rz
    p, q = 1.0 / np.sqrt(px * px + py * py + pz * pz), 1.0 / np.sqrt(qx * qx + qy * qy + qz * qz)
    r, s = 1.0 / np.sqrt(rx * rx + ry * ry + rz * rz), 1.0 / np.sqrt(sx * sx + sy * sy + sz * sz)
    least = min((px * qx + py * qy + pz * qz) * p * q, (px * rx + py * ry + pz * rz) * p * r)
    least = min(least, (px * sx + py * sy + pz * sz) * p * s, (qx * rx + qy * ry + qz * rz) * q * r)
    return float(-min(least, (qx * sx + qy * sy + qz * sz) * q * s, (rx * sx + ry * sy + rz * sz) * r * s))


@compiled
def link(state: Cells, start: int) -> None:
    """Enter all cells from one on into the lists of their points, and measure them."""
    for t in range(start, state.used[1]):
        state.cosine[t] = cosine_of(
            state.points, state.cells[t, 0], state.cells[t, 1], state.cells[t, 2], state.cells[t, 3]
        )
        for i in range(4):
            v = state.cells[t, i]
            state.following[4 * t + i] = state.head[v]
            state.head[v] = 4 * t + i


@compiled
def add(state: Cells, a: int, b: int, c: int, d: int, part: int) -> None:
    """Append a cell."""
    t = state.used[1]
    state.cells[t, 0], state.cells[t, 1], state.cells[t, 2], state.cells[t, 3] = a, b, c, d
    state.part[t] = part
    state.used[1] = t + 1
    link(state, t)


@compiled
def star_of(state: Cells, v: int, star: Integers) -> int:
    """Write the cells at a point and forget those that are gone; return how many, -1 when there is no room."""
    corner, last, count = state.head[v], -1, 0
    while corner >= 0:
        following = state.following[corner]
        if state.part[corner // 4] >= 0:
            last = corner
            if count == len(star):
                return -1
            star[count] = corner // 4
            count += 1
        elif last < 0:
            state.head[v] = following
        else:
            state.following[last] = following
        corner = following
    return count


@compiled
def position(state: Cells, t: int, v: int) -> int:
    """Return at which corner of a cell a point is, -1 for none."""
    for i in range(4):
        if state.cells[t, i] == v:
            return i
    return -1


@compiled
def write_face(state: Cells, t: int, i: int, face: Integers) -> None:
    """Write the face opposite to a corner, so that the cell (corner, face) is positive."""
    one = state.cells[t]
    if i == 0:
        face[0], face[1], face[2] = one[1], one[2], one[3]
    elif i == 1:
        face[0], face[1], face[2] = one[0], one[3], one[2]
    elif i == 2:
        face[0], face[1], face[2] = one[0], one[1], one[3]
    else:
        face[0], face[1], face[2] = one[0], one[2], one[1]


@compiled
def worst_to(points: Floats, faces: Integers, count: int, v: int, bound: float) -> float:
    """Return the largest cosine of the cells between a point and faces; stop where it exceeds a bound."""
    worst = -1.0
    for i in range(count):
        worst = max(worst, cosine_of(points, v, faces[i, 0], faces[i, 1], faces[i, 2]))
        if worst >= bound:
            return worst
    return worst


@compiled
def search(state: Cells, faces: Integers, count: int, offsets: Floats, bound: float) -> float:
    """Move the spare point to where the largest cosine of the cells to faces is least, if it is below a bound.

    Returns:
        That cosine; the bound where none is below it.
    """
    spare = state.used[0]
    x = state.points
    reach = np.inf
    for i in range(count):
        for j in range(3):
            w = faces[i, j]
            reach = min(
                reach, (x[w, 0] - x[spare, 0]) ** 2 + (x[w, 1] - x[spare, 1]) ** 2 + (x[w, 2] - x[spare, 2]) ** 2
            )
    reach = 0.5 * np.sqrt(reach)
    bx, by, bz = x[spare, 0], x[spare, 1], x[spare, 2]
    least = min(bound, worst_to(x, faces, count, spare, bound))
    for _ in range(LEVELS):
        cx, cy, cz = bx, by, bz
        for k in range(len(offsets)):
            x[spare, 0], x[spare, 1] = cx + reach * offsets[k, 0], cy + reach * offsets[k, 1]
            x[spare, 2] = cz + reach * offsets[k, 2]
            value = worst_to(x, faces, count, spare, least)
            if value < least:
                least, bx, by, bz = value, x[spare, 0], x[spare, 1], x[spare, 2]
        reach *= SHRINK
    x[spare, 0], x[spare, 1], x[spare, 2] = bx, by, bz
    return least


@compiled
def measure(state: Cells, star: Integers, count: int) -> None:
    """Measure some cells again."""
    for i in range(count):
        a, b, c, d = state.cells[star[i]]
        state.cosine[star[i]] = cosine_of(state.points, a, b, c, d)


@compiled
def relocate(state: Cells, v: int, room: Scratch) -> bool:
    """Move a free point to where the smallest angle of its cells is largest; say whether it moved."""
    count = star_of(state, v, room.star)
    if state.fixed[v] == 1 or count < 0:
        return False
    before = -1.0
    for i in range(count):
        t = room.star[i]
        before = max(before, state.cosine[t])
        write_face(state, t, position(state, t, v), room.faces[i])
    state.points[state.used[0]] = state.points[v]
    after = search(state, room.faces, count, room.offsets, before - GAIN)
    if after >= before - GAIN:
        return False
    state.points[v] = state.points[state.used[0]]
    measure(state, room.star, count)
    return True


@compiled
def ring_of(state: Cells, a: int, b: int, room: Scratch) -> int:
    """Write the cells around an edge and the points around it, in turn, so that each (a, b, point, next) is positive.

    Returns:
        How many; -1 for an edge on a surface, or one with too many cells.
    """
    count = star_of(state, a, room.star)
    size = 0
    for i in range(count):
        if position(state, room.star[i], b) >= 0:
            if size == MOST_IN_RING:
                return -1
            room.ring[size] = room.star[i]
            size += 1
    if size < 3:
        return -1
    after = -1
    for i in range(size):
        found, first, then = -1, -1, -1
        for j in range(i, size):
            first, then = _beside(state, room.ring[j], a, b)
            if i == 0 or first == after:
                found = j
                break
        if found < 0 or state.part[room.ring[found]] != state.part[room.ring[0]]:
            return -1
        room.ring[i], room.ring[found] = room.ring[found], room.ring[i]
        room.around[i], after = first, then
    return size if after == room.around[0] else -1


@compiled
def _beside(state: Cells, t: int, a: int, b: int) -> tuple[int, int]:
    """Return the two other points p, q of a cell at an edge, so that (a, b, p, q) is positive."""
    i, j = position(state, t, a), position(state, t, b)
    k = 0
    while k == i or k == j:
        k += 1
    m = 6 - i - j - k
    turns = (i > j) + (i > k) + (i > m) + (j > k) + (j > m) + (k > m)
    if turns % 2 == 1:
        k, m = m, k
    return state.cells[t, k], state.cells[t, m]


@compiled
def worst_of(state: Cells, cells: Integers, count: int) -> float:
    """Return the largest cosine of some cells."""
    worst = -1.0
    for i in range(count):
        worst = max(worst, state.cosine[cells[i]])
    return worst


@compiled
def triangulate(state: Cells, a: int, b: int, size: int, room: Scratch, bound: float) -> float:
    """Find the best way of filling the ring around an edge without the edge; return its largest cosine.

    The table holds, for points i < j of the ring, the least largest cosine of filling between them; values from the
    bound on are not told apart.
    """
    x, around = state.points, room.around
    for i in range(size - 1):
        room.best[i, i + 1] = -1.0
    for width in range(2, size):
        for i in range(size - width):
            j = i + width
            room.best[i, j] = bound
            room.choice[i, j] = -1
            for k in range(i + 1, j):
                value = max(room.best[i, k], room.best[k, j])
                if value >= room.best[i, j]:
                    continue
                value = max(value, cosine_of(x, around[i], around[k], around[j], b))
                if value < room.best[i, j]:
                    value = max(value, cosine_of(x, around[i], around[j], around[k], a))
                if value < room.best[i, j]:
                    room.best[i, j], room.choice[i, j] = value, k
    return float(room.best[0, size - 1])


@compiled
def remove_edge(state: Cells, a: int, b: int, size: int, room: Scratch) -> None:
    """Fill the ring around an edge as `triangulate` found it."""
    part = state.part[room.ring[0]]
    for i in range(size):
        state.part[room.ring[i]] = -1
    low, high = np.empty(2 * MOST_IN_RING, dtype=np.int64), np.empty(2 * MOST_IN_RING, dtype=np.int64)
    low[0], high[0], depth = 0, size - 1, 1
    while depth > 0:
        depth -= 1
        i, j = low[depth], high[depth]
        if j - i < 2:
            continue
        k = room.choice[i, j]
        add(state, room.around[i], room.around[k], room.around[j], b, part)
        add(state, room.around[i], room.around[j], room.around[k], a, part)
        low[depth], high[depth], low[depth + 1], high[depth + 1] = i, k, k, j
        depth += 2


@compiled
def across(state: Cells, t: int, face: Integers, room: Scratch) -> int:
    """Return the cell of the same part on the other side of a face, -1 for none."""
    count = star_of(state, face[0], room.star)
    for i in range(count):
        other = room.star[i]
        if other != t and position(state, other, face[1]) >= 0 and position(state, other, face[2]) >= 0:
            return int(other) if state.part[other] == state.part[t] else -1
    return -1
