"""Surface points that give way a little where no other move betters a cell.

A point moves within a small ball, together with all cells at it, of whichever part; cells stay positive, so that
surfaces do not cross. Where nothing is meshed on one side, it moves into the mesh only.
"""

from __future__ import annotations

import numpy as np

from turgor.meshing.compiled import compiled
from turgor.meshing.slivers import (
    GAIN,
    LEVELS,
    SHRINK,
    Cells,
    Scratch,
    measure,
    position,
    star_of,
    worst_to,
    write_face,
)
from turgor.meshing.tetrahedra import Floats, Integers

MOST_OUTER = 64
"""Outer faces at a point that is looked at."""


@compiled
def slide(state: Cells, points: Integers, start: Floats, slack: Floats, wanted: float, room: Scratch) -> int:
    """Move surface points to where the smallest angle of their cells is largest.

    Args:
        state: The cells.
        points: Those to move, in this order.
        start: Places around which points may move, shape (n, 3).
        slack: How far from there [mm], shape (n,).
        wanted: Points whose cells have cosines of at most this stay.
        room: For the cells at a point.

    Returns:
        How many moved.
    """
    planes = np.empty((MOST_OUTER, 3))
    moved = 0
    for v in points:
        count = star_of(state, v, room.star)
        before = -1.0
        for i in range(count):
            t = room.star[i]
            before = max(before, state.cosine[t])
            write_face(state, t, position(state, t, v), room.faces[i])
        if before <= wanted or slack[v] <= 0.0:
            continue
        outer = _outer_planes(state, v, count, room, planes)
        if outer < 0:
            continue
        if _search_near(state, v, count, start[v], slack[v], planes[:outer], before - GAIN, room) < before - GAIN:
            state.points[v] = state.points[state.used[0]]
            measure(state, room.star, count)
            moved += 1
    return moved


@compiled
def _outer_planes(state: Cells, v: int, count: int, room: Scratch, planes: Floats) -> int:
    """Write the outward normals of the faces at a point that only one cell has; return how many, -1 for too many."""
    x, outer = state.points, 0
    for i in range(count):
        for j in range(3):
            a, b, opposite = room.faces[i, j], room.faces[i, (j + 1) % 3], room.faces[i, (j + 2) % 3]
            beyond = False
            for k in range(count):
                if k != i and position(state, room.star[k], a) >= 0 and position(state, room.star[k], b) >= 0:
                    beyond = True
            if beyond:
                continue
            if outer == len(planes):
                return -1
            n = np.cross(x[a] - x[v], x[b] - x[v])
            if (n * (x[opposite] - x[v])).sum() > 0:
                n = -n
            planes[outer] = n / np.sqrt((n * n).sum())
            outer += 1
    return outer


@compiled
def _search_near(
    state: Cells, v: int, count: int, start: Floats, slack: float, planes: Floats, bound: float, room: Scratch
) -> float:
    """Put the spare point where the largest cosine is least, near the start and behind planes; return that cosine."""
    x, spare = state.points, state.used[0]
    best, trial, least, reach = x[v].copy(), np.empty(3), bound, slack
    for _ in range(LEVELS):
        center = best.copy()
        for offset in room.offsets:
            trial[:] = center + reach * offset
            away = trial - start
            if (away * away).sum() > slack * slack:
                continue
            out = False
            for k in range(len(planes)):
                out = out or (planes[k] * (trial - x[v])).sum() > 0.0
            if out:
                continue
            x[spare] = trial
            value = worst_to(x, room.faces, count, spare, least)
            if value < least:
                least = value
                best[:] = trial
        reach *= SHRINK
    x[spare] = best
    return least
