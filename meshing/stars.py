"""Triangles that change, and the star of a vertex: what is around it and whether it may go.

Source: Dey et al. (1999) for the link condition of complexes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from turgor.meshing.compiled import lean
from turgor.meshing.crossing import Numbers
from turgor.meshing.tetrahedra import Floats, Integers

STAR = 96
"""Most triangles at a vertex that is looked at."""


class Surface(NamedTuple):
    """Triangles while they change.

    Attributes:
        points: Shape (n, 3); the last one belongs to no triangle and is a place to try.
        triangles: Shape (t, 3).
        patch: Shape (t,).
        flat: 1 for a triangle of a plane that must stay one, shape (t,).
        alive: 1 for a triangle that is there, shape (t,).
        head: First corner (3 t + i) at each vertex, -1 for none, shape (n,).
        following: Next corner at the same vertex, shape (3 t,).
        target: Wanted edge length by vertex.
        tolerance: Largest distance from the original planes by vertex.
        planes: Sum of squared distances to the planes and, from column 11, lines met so far: ten coefficients and their
            weight each, shape (n, 22).
        tried: Reach up to which a collapse of the vertex was tried in vain since its triangles changed, shape (n,).
    """

    points: Floats
    triangles: Numbers
    patch: Numbers
    flat: Numbers
    alive: Numbers
    head: Numbers
    following: Numbers
    target: Floats
    tolerance: Floats
    planes: Floats
    tried: Floats


class Star(NamedTuple):
    """The triangles at a vertex and its neighbors: how many triangles at each edge, and whether it is a junction."""

    size: Integers
    triangles: Integers
    neighbors: Integers
    uses: Integers
    patch: Integers
    junction: Integers


def new_star() -> Star:
    """Return room for a star."""
    return Star(
        np.zeros(2, dtype=np.int64),
        np.empty(STAR, dtype=np.int64),
        np.empty(2 * STAR, dtype=np.int64),
        np.empty(2 * STAR, dtype=np.int64),
        np.empty(2 * STAR, dtype=np.int64),
        np.empty(2 * STAR, dtype=np.int64),
    )


@lean
def position_of(neighbors: Integers, count: int, w: int) -> int:
    """Return the position of a neighbor, -1 when it is none."""
    for i in range(count):
        if neighbors[i] == w:
            return i
    return -1


@lean
def look(state: Surface, u: int, star: Star) -> bool:
    """Gather the star of a vertex and forget its dead triangles; say whether it fits the room."""
    star.size[0], star.size[1] = 0, 0
    corner, last = state.head[u], -1
    while corner >= 0:
        t, following = corner // 3, state.following[corner]
        if state.alive[t] == 1:
            last = corner
            if star.size[0] >= STAR:
                return False
            _add(state.triangles[t], state.patch[t], t, u, star)
        elif last < 0:
            state.head[u] = following
        else:
            state.following[last] = following
        corner = following
    for i in range(star.size[1]):
        if star.uses[i] != 2:
            star.junction[i] = 1
    return True


@lean
def _add(triangle: Numbers, patch: int, t: int, u: int, star: Star) -> None:
    """Add a triangle and its two other vertices to a star."""
    star.triangles[star.size[0]] = t
    star.size[0] += 1
    for i in range(3):
        w = triangle[i]
        if w == u:
            continue
        at = position_of(star.neighbors, star.size[1], w)
        if at < 0:
            at = star.size[1]
            star.size[1] += 1
            star.neighbors[at], star.uses[at], star.patch[at], star.junction[at] = w, 0, patch, 0
        star.uses[at] += 1
        if patch != star.patch[at]:
            star.junction[at] = 1


@lean
def third_vertex(triangles: Numbers, t: int, u: int, w: int) -> int:
    """Return the vertex of a triangle that is neither u nor w."""
    for i in range(3):
        x = triangles[t, i]
        if x != u and x != w:
            return int(x)
    return -1


@lean
def has_vertex(triangles: Numbers, t: int, w: int) -> bool:
    """Say whether a triangle has a vertex."""
    return bool(triangles[t, 0] == w or triangles[t, 1] == w or triangles[t, 2] == w)


@lean
def walk(state: Surface, star: Star, u: int, start: int, w: int) -> int:
    """Count the triangles from one, which has the edge uw, across ordinary edges to a junction or back to the start."""
    t, steps = start, 0
    while steps <= star.size[0]:
        steps += 1
        x = third_vertex(state.triangles, t, u, w)
        if star.junction[position_of(star.neighbors, star.size[1], x)] == 1:
            return steps
        across = -1
        for i in range(star.size[0]):
            if star.triangles[i] != t and has_vertex(state.triangles, star.triangles[i], x):
                across = star.triangles[i]
        if across < 0 or across == start:
            return steps
        t, w = across, x
    return steps


@lean
def vertex_kind(state: Surface, u: int, star: Star) -> int:
    """Return 0 for a vertex inside a patch, 1 on a junction curve, 2 for one that must stay."""
    junctions, first = 0, -1
    for i in range(star.size[1]):
        if star.junction[i] == 1:
            junctions += 1
            if first < 0:
                first = star.neighbors[i]
    if star.size[0] < 3 or (junctions != 0 and junctions != 2):
        return 2
    walked = 0
    if junctions == 0:
        t = star.triangles[0]
        w = state.triangles[t, 0] if state.triangles[t, 0] != u else state.triangles[t, 1]
        walked = walk(state, star, u, t, w)
    else:
        for i in range(star.size[0]):
            if has_vertex(state.triangles, star.triangles[i], first):
                walked += walk(state, star, u, star.triangles[i], first)
    if walked != star.size[0]:
        return 2
    return 0 if junctions == 0 else 1


@lean
def doubles(state: Surface, u: int, v: int, one: Star, two: Star) -> bool:
    """Say whether u -> v would make a triangle that is there already."""
    for i in range(one.size[0]):
        t = one.triangles[i]
        if has_vertex(state.triangles, t, v):
            continue
        x = state.triangles[t, 0] if state.triangles[t, 0] != u else state.triangles[t, 1]
        y = third_vertex(state.triangles, t, u, x)
        for j in range(two.size[0]):
            if has_vertex(state.triangles, two.triangles[j], x) and has_vertex(state.triangles, two.triangles[j], y):
                return True
    return False


@lean
def keeps_topology(state: Surface, u: int, v: int, kind: int, one: Star, two: Star) -> bool:
    """Say whether u -> v keeps the complex and its junction curves as they are."""
    common = 0
    for i in range(one.size[1]):
        at = position_of(two.neighbors, two.size[1], one.neighbors[i])
        if at >= 0:
            common += 1
            if kind == 1 and one.junction[i] == 1 and two.junction[at] == 1 and one.neighbors[i] != v:
                return False
    if common != one.uses[position_of(one.neighbors, one.size[1], v)]:
        return False
    return not doubles(state, u, v, one, two)
