"""Fewer triangles without losing a contact: edge collapse that keeps the topology of all patches and junctions.

A collapse u -> v moves the triangles of u to v, which stays. It must keep the link condition (and that of the junction
curves), stay near the original planes, turn no normal, make no sharp triangle and no sharp edge, and cross nothing.
Vertices are tried block by block, so that what is looked at stays near in memory.

Source: Dey et al. (1999) for the link condition of complexes; Garland and Heckbert (1997) for quadrics.
"""

from __future__ import annotations

import numpy as np

from turgor.meshing.boundary import Boundary
from turgor.meshing.clearance import Room, folds, largest_cosine, length2, meets, new_room
from turgor.meshing.compiled import lean
from turgor.meshing.crossing import Grid, Numbers, fill_grid, grid_of, insert
from turgor.meshing.quadrics import gather_planes, lift, off_planes, write_normal
from turgor.meshing.stars import Star, Surface, has_vertex, keeps_topology, look, vertex_kind
from turgor.meshing.tetrahedra import Floats, Integers

SWEEPS = 7
RAMP = 4
"""Sweeps in which the longest edge that is collapsed grows to the one wanted."""

RELAXED_FROM = 2
"""Sweep after which points are moved, too: before that most of them are still to go."""

BLOCK = 12.0
"""Edge of a block of vertices in units of the usual edge length."""

CUBE = 1.6
"""Width of the cubes in which triangles are listed, in units of the usual edge length."""

FLATNESS = 1e-6
LONGEST = 1.5
COS_TURN = 0.5
COS_SHARP = float(np.cos(np.radians(22.0)))
COS_GOOD = float(np.cos(np.radians(35.0)))
GAIN = 1e-3
"""Smallest gain of a cosine for which a point is moved."""


def collapsed(boundary: Boundary, target: Floats, tolerance: Floats, width: float, seed: int = 0) -> Boundary:
    """Collapse edges until they are about as long as wanted.

    Args:
        boundary: Surfaces that do not cross.
        target: Wanted edge length at each point [mm].
        tolerance: How far the surface may move at each point [mm].
        width: Usual edge length now [mm].
        seed: Of the order in which vertices are tried.

    Returns:
        Surfaces with the same patches, junctions and contacts.
    """
    boundary, order = _sorted(boundary, BLOCK * width, seed)
    state = _surface(boundary, target[order], tolerance[order])
    count = len(boundary.points)
    calm, room = np.zeros(count + 1, dtype=np.int8), new_room(len(state.triangles))
    gather_planes(state, room.one, room.normals[0])
    for sweep in range(SWEEPS):
        reach = min(1.0, 0.6 + 0.4 * sweep / RAMP)
        grid = grid_of(boundary.points, CUBE * _usual_edge(state), 8 * int(state.alive.sum()) + 10_000)
        start = done = 0
        while start < count:
            grid = _refilled(grid, state)
            start, more = _sweep(state, grid, start, reach, calm, room)
            done += more
        start = 0 if sweep >= RELAXED_FROM else count
        while start < count:
            grid = _refilled(grid, state)
            start = _relax(state, grid, start, calm, room)
        if done < 0.001 * count and reach == 1.0:
            break
    kept = state.alive == 1
    triangles = state.triangles[kept].astype(np.int64)
    return Boundary(state.points[:-1], triangles, boundary.sides[kept], boundary.parts).cleaned()


def _blocks(points: Floats, width: float) -> Integers:
    """Return the number of the cube around each point, cubes near each other having numbers near each other."""
    cube = np.floor((points - points.min(axis=0)) / width).astype(np.int64)
    number = np.zeros(len(points), dtype=np.int64)
    for bit in range(int(cube.max(initial=0)).bit_length()):
        for axis in range(3):
            number |= (cube[:, axis] >> bit & 1) << (3 * bit + axis)
    return number


def _sorted(boundary: Boundary, width: float, seed: int) -> tuple[Boundary, Integers]:
    """Return the same surfaces with points, then triangles, sorted by block, and the old number of each point.

    Within a block points come in a random order, which is the one in which they are tried.
    """
    random = np.random.default_rng(seed).permutation(len(boundary.points))
    order = np.lexsort((random, _blocks(boundary.points, width)))
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order))
    triangles = number[boundary.triangles]
    by_corner = np.argsort(triangles.min(axis=1), kind="stable")
    return Boundary(boundary.points[order], triangles[by_corner], boundary.sides[by_corner], boundary.parts), order


def _surface(boundary: Boundary, target: Floats, tolerance: Floats) -> Surface:
    """Copy a boundary to where it can change."""
    _, patch = boundary.patches()
    triangles = boundary.triangles.astype(np.int32)
    count = len(boundary.points)
    cut = np.array([part.kind == "cut" for part in boundary.parts])
    order = np.argsort(triangles.ravel(), kind="stable").astype(np.int32)
    head = np.full(count + 1, -1, dtype=np.int32)
    following = np.full(3 * len(triangles), -1, dtype=np.int32)
    owner = triangles.ravel()[order]
    same = owner[1:] == owner[:-1]
    following[order[:-1][same]] = order[1:][same]
    first = np.concatenate([[True], ~same])
    head[owner[first]] = order[first]
    return Surface(
        np.concatenate([boundary.points, np.zeros((1, 3))]),
        triangles,
        patch.astype(np.int32),
        cut[boundary.sides].any(axis=1).astype(np.int8),
        np.ones(len(triangles), dtype=np.int8),
        head,
        following,
        np.append(target, 0.0),
        np.append(tolerance, 0.0),
        np.zeros((count + 1, 22)),
        np.zeros(count + 1),
    )


def _usual_edge(state: Surface) -> float:
    """Return the median length of the edges that are left [mm]."""
    corner = state.points[state.triangles[state.alive == 1][:: max(len(state.triangles) // 100_000, 1)]]
    return float(np.median(np.linalg.norm(corner[:, 0] - corner[:, 1], axis=1)))


def _refilled(grid: Grid, state: Surface) -> Grid:
    """List the living triangles anew, with more room where it is needed."""
    while not fill_grid(grid, state.points, state.triangles, state.alive) or grid.used[0] > 0.6 * len(grid.triangle):
        room = 2 * len(grid.triangle)
        grid = grid._replace(triangle=np.empty(room, dtype=np.int64), following=np.empty(room, dtype=np.int64))
    return grid


@lean
def _worst(state: Surface, star: Star) -> float:
    """Return the cosine of the smallest angle in a star."""
    worst = -1.0
    for i in range(star.size[0]):
        t = star.triangles[i]
        a, b, c = state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2]
        worst = max(worst, largest_cosine(state.points, a, b, c))
    return worst


@lean
def _new_triangles(state: Surface, u: int, v: int, star: Star, room: Room, worst: float) -> int:
    """Write the triangles that u -> v would make; return how many, or -1 when one is bad by itself."""
    points, made, count = state.points, room.made, 0
    before, after = room.normals[0], room.normals[1]
    longest = LONGEST * max(state.target[v], state.target[u])
    for i in range(star.size[0]):
        t = star.triangles[i]
        a, b, c = state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2]
        if a == v or b == v or c == v:
            continue
        write_normal(points, a, b, c, before)
        a, b, c = (v if a == u else a), (v if b == u else b), (v if c == u else c)
        area = write_normal(points, a, b, c, after)
        turn = before[0] * after[0] + before[1] * after[1] + before[2] * after[2]
        if area <= 0 or turn < COS_TURN or largest_cosine(points, a, b, c) > worst:
            return -1
        made[count, 0], made[count, 1], made[count, 2] = a, b, c
        for j in range(3):
            w = made[count, j]
            if w != v and length2(points, v, w) > longest * longest:
                return -1
        count += 1
    return count


@lean
def _move(state: Surface, grid: Grid, u: int, v: int, calm: Numbers) -> bool:
    """Do the collapse; say whether the grid had room."""
    room = True
    corner = state.head[u]
    state.head[u] = -1
    while corner >= 0:
        t = corner // 3
        following = state.following[corner]
        if state.alive[t] == 1:
            if has_vertex(state.triangles, t, v):
                state.alive[t] = 0
            else:
                state.triangles[t, corner - 3 * t] = v
                state.following[corner] = state.head[v]
                state.head[v] = corner
                room = _listed(state, grid, t, calm) and room
        corner = following
    for i in range(22):
        state.planes[v, i] += state.planes[u, i]
    state.tolerance[v] = min(state.tolerance[v], state.tolerance[u])
    return room


@lean
def _listed(state: Surface, grid: Grid, t: int, calm: Numbers) -> bool:
    """List a triangle that has changed, whose vertices may be tried again; say whether the grid had room."""
    a, b, c = state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2]
    state.tried[a], state.tried[b], state.tried[c] = 0.0, 0.0, 0.0
    calm[a], calm[b], calm[c] = 0, 0, 0
    return insert(grid, t, state.points[a], state.points[b], state.points[c])


@lean
def _near(state: Surface, u: int, v: int, kind: int, star: Star, room: Room) -> bool:
    """Say whether v is close enough to the planes and lines of u, and in all planes that must stay flat."""
    limit = state.tolerance[u] ** 2
    if off_planes(state.planes[u, :11], state.points[v]) > limit:
        return False
    n, points = room.normals[0], state.points
    x, y, z = points[v, 0] - points[u, 0], points[v, 1] - points[u, 1], points[v, 2] - points[u, 2]
    for i in range(star.size[0]):
        t = star.triangles[i]
        if state.flat[t] == 1:
            write_normal(points, state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2], n)
            off = n[0] * x + n[1] * y + n[2] * z
            if off * off > FLATNESS**2 * (x * x + y * y + z * z):
                return False
    return kind == 0 or off_planes(state.planes[u, 11:], state.points[v]) <= limit


@lean
def _candidates(state: Surface, u: int, reach: float, star: Star, room: Room) -> int:
    """Write which neighbors are near enough to try, nearest first; return how many."""
    count = 0
    for i in range(star.size[1]):
        v = star.neighbors[i]
        length, limit = length2(state.points, u, v), reach * min(state.target[u], state.target[v])
        if length > limit * limit or length * reach * reach <= (limit * state.tried[u]) ** 2:
            continue
        at = count
        while at > 0 and room.lengths[at - 1] > length:
            room.lengths[at], room.order[at] = room.lengths[at - 1], room.order[at - 1]
            at -= 1
        room.lengths[at], room.order[at] = length, i
        count += 1
    return count


@lean
def _partner(state: Surface, grid: Grid, u: int, reach: float, one: Star, two: Star, room: Room) -> int:
    """Return the nearest neighbor to which a vertex may collapse, -1 when there is none."""
    candidates = _candidates(state, u, reach, one, room)
    kind = vertex_kind(state, u, one) if candidates > 0 else 2
    state.tried[u] = reach
    if kind == 2:
        return -1
    worst = max(COS_SHARP, _worst(state, one))
    for k in range(candidates):
        i = room.order[k]
        v = one.neighbors[i]
        if (kind == 1 and one.junction[i] == 0) or not _near(state, u, v, kind, one, room):
            continue
        count = _new_triangles(state, u, v, one, room, worst)
        if count < 0 or not look(state, v, two) or not keeps_topology(state, u, v, kind, one, two):
            continue
        if not folds(state, u, v, two, room, count) and not meets(state, grid, u, room, count):
            return int(v)
    return -1


@lean
def _sweep(state: Surface, grid: Grid, start: int, reach: float, calm: Numbers, room: Room) -> tuple[int, int]:
    """Try each vertex once, shortest edge first, until the grid is full; return where it ends, and how many went."""
    one, two = room.one, room.two
    done = 0
    for u in range(start, len(state.head) - 1):
        if state.head[u] < 0 or state.tried[u] >= reach or not look(state, u, one):
            continue
        v = _partner(state, grid, u, reach, one, two, room)
        if v >= 0:
            done += 1
            if not _move(state, grid, u, v, calm):
                return u + 1, done
    return len(state.head) - 1, done


@lean
def _place(state: Surface, u: int, star: Star, room: Room) -> None:
    """Put the spare point at the mean of the neighbors of u, in the plane of its triangles."""
    points, spare = state.points, len(state.points) - 1
    n, normal, mean = room.normals[0], room.normals[1], room.normals[2]
    normal[:], mean[:] = 0.0, 0.0
    for i in range(star.size[0]):
        t = star.triangles[i]
        area = write_normal(points, state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2], n)
        for k in range(3):
            normal[k] += area * n[k]
    for i in range(star.size[1]):
        for k in range(3):
            mean[k] += points[star.neighbors[i], k] / star.size[1]
    length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + 1e-300
    off = 0.0
    for k in range(3):
        normal[k] /= length
        off += (mean[k] - points[u, k]) * normal[k]
    for k in range(3):
        points[spare, k] = mean[k] - off * normal[k]
    off = lift(state.planes[u], points[spare], normal)
    for k in range(3):
        points[spare, k] += off * normal[k]
    state.target[spare], state.tolerance[spare] = state.target[u], state.tolerance[u]


@lean
def _improves(state: Surface, grid: Grid, u: int, one: Star, two: Star, worst: float, room: Room) -> bool:
    """Say whether the triangles of a vertex are better, and cross nothing, with it at the spare point."""
    spare = len(state.points) - 1
    _place(state, u, one, room)
    if not _near(state, u, spare, 0, one, room):
        return False
    count = _new_triangles(state, u, spare, one, room, worst - GAIN)
    if count < 0 or folds(state, u, spare, two, room, count):
        return False
    return not meets(state, grid, u, room, count)


@lean
def _relax(state: Surface, grid: Grid, start: int, calm: Numbers, room: Room) -> int:
    """Move vertices inside patches where that makes better triangles, until the grid is full; return where it ends."""
    one, two = room.one, room.two
    two.size[:] = 0
    for u in range(start, len(state.head) - 1):
        if state.head[u] < 0 or calm[u] == 1 or not look(state, u, one):
            continue
        calm[u] = 1
        worst = _worst(state, one)
        if worst < COS_GOOD or vertex_kind(state, u, one) != 0:
            continue
        if not _improves(state, grid, u, one, two, worst, room):
            continue
        for k in range(3):
            state.points[u, k] = state.points[-1, k]
        listed = True
        for i in range(one.size[0]):
            listed = _listed(state, grid, one.triangles[i], calm) and listed
        if not listed:
            return u + 1
    return len(state.head) - 1
