"""The best move for a bad cell: points go elsewhere, edges and faces flip, edges collapse, edges are split."""

from __future__ import annotations

import numpy as np

from turgor.meshing.compiled import compiled
from turgor.meshing.slivers import (
    GAIN,
    MOST_IN_RING,
    Cells,
    Scratch,
    across,
    add,
    cosine_of,
    position,
    relocate,
    remove_edge,
    ring_of,
    search,
    star_of,
    triangulate,
    worst_of,
    worst_to,
    write_face,
)
from turgor.meshing.tetrahedra import Integers

SPARE_CELLS = 4 * MOST_IN_RING
"""Room that a move may take."""


@compiled
def mend(state: Cells, bad: Integers, wanted: float, room: Scratch) -> int:
    """Try to better cells, one after the other.

    Args:
        state: The cells.
        bad: Cells to look at.
        wanted: A cell whose cosine is at most this is good.
        room: For the moves.

    Returns:
        How many moves were made; -1 - moves when there was no room for more.
    """
    moves = 0
    for t in bad:
        if state.used[0] + 2 > len(state.head) or state.used[1] + SPARE_CELLS > len(state.part):
            return -1 - moves
        if state.part[t] < 0 or state.cosine[t] <= wanted:
            continue
        for i in range(4):
            if state.cosine[t] > wanted and relocate(state, state.cells[t, i], room):
                moves += 1
        if state.cosine[t] > wanted and (flip(state, t, room) or collapse(state, t, room) or split(state, t, room)):
            moves += 1
    return moves


@compiled
def flip(state: Cells, t: int, room: Scratch) -> bool:
    """Remove the edge or the face of a cell whose removal gives the best cells; say whether there was one."""
    best, gain = -1, GAIN
    for edge in range(6):
        a, b = ends(state, t, edge)
        size = ring_of(state, a, b, room)
        if size > 0:
            before = worst_of(state, room.ring, size)
            after = triangulate(state, a, b, size, room, before - gain)
            if after < before - gain:
                best, gain = edge, before - after
    for i in range(4):
        after, before = _after_removal(state, t, i, room, gain)
        if after < before - gain:
            best, gain = 6 + i, before - after
    if best < 0:
        return False
    if best >= 6:
        _remove_face(state, t, best - 6, room)
        return True
    a, b = ends(state, t, best)
    size = ring_of(state, a, b, room)
    triangulate(state, a, b, size, room, worst_of(state, room.ring, size))
    remove_edge(state, a, b, size, room)
    return True


@compiled
def ends(state: Cells, t: int, edge: int) -> tuple[int, int]:
    """Return the ends of one of the six edges of a cell."""
    i = 0 if edge < 3 else (1 if edge < 5 else 2)
    j = edge + 1 if edge < 3 else (edge - 1 if edge < 5 else 3)
    return state.cells[t, i], state.cells[t, j]


@compiled
def _apex(state: Cells, t: int, face: Integers) -> int:
    """Return the point of a cell that is not on a face."""
    for i in range(4):
        v = state.cells[t, i]
        if v != face[0] and v != face[1] and v != face[2]:
            return int(v)
    return -1


@compiled
def _after_removal(state: Cells, t: int, i: int, room: Scratch, gain: float) -> tuple[float, float]:
    """Return the largest cosine with three cells round a new edge in place of the two at a face, and that of the two.

    Without a gain the first is not below the second less the gain.
    """
    face = room.faces[0]
    write_face(state, t, i, face)
    other = across(state, t, face, room)
    if other < 0:
        return 2.0, 0.0
    d, e = state.cells[t, i], _apex(state, other, face)
    before = max(state.cosine[t], state.cosine[other])
    worst = cosine_of(state.points, d, face[0], face[1], e)
    if worst < before - gain:
        worst = max(worst, cosine_of(state.points, d, e, face[1], face[2]))
    if worst < before - gain:
        worst = max(worst, cosine_of(state.points, d, face[0], e, face[2]))
    return worst, before


@compiled
def _remove_face(state: Cells, t: int, i: int, room: Scratch) -> None:
    """Replace the two cells at a face by three around the edge between the points on either side."""
    face = room.faces[0]
    write_face(state, t, i, face)
    other = across(state, t, face, room)
    d, e, part = state.cells[t, i], _apex(state, other, face), state.part[t]
    state.part[t], state.part[other] = -1, -1
    add(state, d, face[0], face[1], e, part)
    add(state, d, e, face[1], face[2], part)
    add(state, d, face[0], e, face[2], part)


@compiled
def _cavity(state: Cells, u: int, v: int, count: int, room: Scratch) -> int:
    """Write the faces of the cells at u, opposite to u, that do not have v; return how many."""
    faces = 0
    for i in range(count):
        t = room.star[i]
        if position(state, t, v) < 0:
            write_face(state, t, position(state, t, u), room.faces[faces])
            faces += 1
    return faces


@compiled
def collapse(state: Cells, t: int, room: Scratch) -> bool:
    """Merge a free point of a cell into another one, whichever gives the best cells; say whether that was better."""
    best_u, best_v, gain = -1, -1, GAIN
    for i in range(4):
        u = state.cells[t, i]
        if state.fixed[u] == 1:
            continue
        count = star_of(state, u, room.star)
        before = worst_of(state, room.star, count)
        for j in range(4):
            v = state.cells[t, j]
            if j == i or count < 0:
                continue
            faces = _cavity(state, u, v, count, room)
            after = worst_to(state.points, room.faces, faces, v, before - gain)
            if after < before - gain:
                best_u, best_v, gain = u, v, before - after
    if best_u < 0:
        return False
    count = star_of(state, best_u, room.star)
    if count > SPARE_CELLS:
        return False
    faces = _cavity(state, best_u, best_v, count, room)
    _replace(state, room.star, count, room.faces, faces, best_v)
    return True


@compiled
def _replace(state: Cells, gone: Integers, n_gone: int, faces: Integers, n_faces: int, v: int) -> None:
    """Replace cells by those between a point and faces."""
    part = state.part[gone[0]]
    for i in range(n_gone):
        state.part[gone[i]] = -1
    for i in range(n_faces):
        add(state, v, faces[i, 0], faces[i, 1], faces[i, 2], part)


@compiled
def _ring_faces(state: Cells, a: int, b: int, size: int, room: Scratch) -> int:
    """Write the outer faces of the cells around an edge, put the spare point into its middle; return how many faces."""
    for i in range(size):
        t = room.ring[i]
        write_face(state, t, position(state, t, a), room.faces[2 * i])
        write_face(state, t, position(state, t, b), room.faces[2 * i + 1])
    state.points[state.used[0]] = 0.5 * (state.points[a] + state.points[b])
    return 2 * size


@compiled
def split(state: Cells, t: int, room: Scratch) -> bool:
    """Put a point into the inner edge of a cell where that gives the best cells; say whether it is better."""
    best, gain = -1, GAIN
    place = np.empty(3)
    for edge in range(6):
        a, b = ends(state, t, edge)
        size = ring_of(state, a, b, room)
        if size < 0:
            continue
        before = worst_of(state, room.ring, size)
        count = _ring_faces(state, a, b, size, room)
        after = search(state, room.faces, count, room.offsets, before - gain)
        if after < before - gain:
            best, gain = edge, before - after
            place[:] = state.points[state.used[0]]
    if best < 0:
        return False
    a, b = ends(state, t, best)
    size = ring_of(state, a, b, room)
    count = _ring_faces(state, a, b, size, room)
    v = state.used[0]
    state.points[v] = place
    state.fixed[v], state.head[v] = 0, -1
    state.used[0] = v + 1
    _replace(state, room.ring, size, room.faces, count, v)
    return True
