"""Fewer triangles without losing a contact: edge collapse that keeps the topology of all patches and junctions.

A collapse u -> v moves the triangles of u to v, which stays. It must keep the link condition (and that of the junction
curves), stay near the original planes, turn no normal, make no sharp triangle and no sharp edge, and cross nothing.

Source: Dey et al. (1999) for the link condition of complexes; Garland and Heckbert (1997) for quadrics.
"""

from __future__ import annotations

import numpy as np

from turgor.meshing.boundary import Boundary
from turgor.meshing.compiled import compiled
from turgor.meshing.crossing import Grid, apart, cross, fill_grid, grid_of, insert
from turgor.meshing.quadrics import gather_planes, lift, off_planes, write_normal
from turgor.meshing.stars import (
    STAR,
    Star,
    Surface,
    has_vertex,
    keeps_topology,
    look,
    new_star,
    third_vertex,
    vertex_kind,
)
from turgor.meshing.tetrahedra import Floats, Integers

SWEEPS = 7
RELAXED_FROM = 2
"""Sweep after which points are moved, too: before that most of them are still to go."""

MOST_NEAR = 10_000
CHUNK = 30_000
"""Vertices tried before triangles are listed anew, which keeps the lists short."""

FLATNESS = 1e-6
LONGEST = 1.5
COS_TURN = 0.5
COS_SHARP = float(np.cos(np.radians(22.0)))
COS_GOOD = float(np.cos(np.radians(35.0)))
COS_FOLD = float(np.cos(np.radians(25.0)))


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
    _, patch = boundary.patches()
    triangles = boundary.triangles.astype(np.int64).copy()
    count = len(boundary.points)
    cut = np.array([part.kind == "cut" for part in boundary.parts])
    order = np.argsort(triangles.ravel(), kind="stable")
    head = np.full(count + 1, -1, dtype=np.int64)
    following = np.full(3 * len(triangles), -1, dtype=np.int64)
    owner = triangles.ravel()[order]
    same = owner[1:] == owner[:-1]
    following[order[:-1][same]] = order[1:][same]
    first = np.concatenate([[True], ~same])
    head[owner[first]] = order[first]
    state = Surface(
        np.concatenate([boundary.points, np.zeros((1, 3))]),
        triangles,
        patch.astype(np.int64),
        cut[boundary.sides].any(axis=1).astype(np.int64),
        np.ones(len(triangles), dtype=np.int64),
        head,
        following,
        np.append(target, 0.0),
        np.append(tolerance, 0.0),
        np.zeros((count + 1, 22)),
        np.zeros(count + 1),
    )
    gather_planes(state)
    grid = grid_of(boundary.points, 1.6 * width, 24 * len(triangles) + 10_000)
    random = np.random.default_rng(seed)
    for sweep in range(SWEEPS):
        reach = min(1.0, 0.6 + 0.4 * sweep / max(SWEEPS - 3, 1))
        done = 0
        for order in np.array_split(random.permutation(count), min(count // CHUNK, 3) + 1):
            grid = _refilled(grid, state)
            done += _sweep(state, grid, order, reach)
        grid = _refilled(grid, state)
        if sweep >= RELAXED_FROM:
            _relax(state, grid, random.permutation(count))
        if done < 0.001 * count and reach == 1.0:
            break
    kept = state.alive == 1
    return Boundary(state.points[:-1], state.triangles[kept], boundary.sides[kept], boundary.parts).cleaned()


def _refilled(grid: Grid, state: Surface) -> Grid:
    """List the living triangles anew, with more room where it is needed."""
    while not fill_grid(grid, state.points, state.triangles, state.alive) or grid.used[0] > 0.6 * len(grid.triangle):
        room = 2 * len(grid.triangle)
        grid = grid._replace(triangle=np.empty(room, dtype=np.int64), following=np.empty(room, dtype=np.int64))
    return grid


@compiled
def _largest_cosine(points: Floats, a: int, b: int, c: int) -> float:
    """Return the cosine of the smallest angle of a triangle."""
    x = (points[b, 0] - points[c, 0]) ** 2 + (points[b, 1] - points[c, 1]) ** 2 + (points[b, 2] - points[c, 2]) ** 2
    y = (points[a, 0] - points[c, 0]) ** 2 + (points[a, 1] - points[c, 1]) ** 2 + (points[a, 2] - points[c, 2]) ** 2
    z = (points[b, 0] - points[a, 0]) ** 2 + (points[b, 1] - points[a, 1]) ** 2 + (points[b, 2] - points[a, 2]) ** 2
    tiny = 1e-300
    one = (y + z - x) / (2 * np.sqrt(y * z) + tiny)
    two = (x + z - y) / (2 * np.sqrt(x * z) + tiny)
    return float(max(one, two, (x + y - z) / (2 * np.sqrt(x * y) + tiny)))


@compiled
def _new_triangles(state: Surface, u: int, v: int, star: Star, made: Integers) -> int:
    """Write the triangles that u -> v would make; return how many, or -1 when one is bad by itself."""
    points, count = state.points, 0
    before, after = np.empty(3), np.empty(3)
    worst = COS_SHARP
    for i in range(star.size[0]):
        t = star.triangles[i]
        a, b, c = state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2]
        worst = max(worst, _largest_cosine(points, a, b, c))
    longest = LONGEST * max(state.target[v], state.target[u])
    for i in range(star.size[0]):
        t = star.triangles[i]
        if has_vertex(state.triangles, t, v):
            continue
        a, b, c = state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2]
        write_normal(points, a, b, c, before)
        for j in range(3):
            made[count, j] = v if state.triangles[t, j] == u else state.triangles[t, j]
        a, b, c = made[count, 0], made[count, 1], made[count, 2]
        area = write_normal(points, a, b, c, after)
        turn = before[0] * after[0] + before[1] * after[1] + before[2] * after[2]
        if area <= 0 or turn < COS_TURN or _largest_cosine(points, a, b, c) > worst:
            return -1
        for j in range(3):
            w = made[count, j]
            if w != v and _length2(points, v, w) > longest * longest:
                return -1
        count += 1
    return count


@compiled
def _length2(points: Floats, a: int, b: int) -> float:
    """Return the squared length of an edge."""
    x, y, z = points[a, 0] - points[b, 0], points[a, 1] - points[b, 1], points[a, 2] - points[b, 2]
    return float(x * x + y * y + z * z)


@compiled
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


@compiled
def _folded(points: Floats, one: Integers, two: Integers) -> bool:
    """Say whether two triangles with a common edge meet at a sharp angle."""
    p = q = -1
    shared = 0
    for i in range(3):
        if one[i] == two[0] or one[i] == two[1] or one[i] == two[2]:
            shared += 1
        else:
            p = i
    if shared != 2:
        return False
    for j in range(3):
        if two[j] != one[0] and two[j] != one[1] and two[j] != one[2]:
            q = two[j]
    return _fold(points, one[(p + 1) % 3], one[(p + 2) % 3], one[p], q)


@compiled
def _folds(state: Surface, u: int, v: int, one: Star, two: Star, made: Integers, count: int) -> bool:
    """Say whether a new triangle meets one that shares an edge with it at a sharp angle."""
    for i in range(count):
        for j in range(i):
            if _folded(state.points, made[i], made[j]):
                return True
        for j in range(two.size[0]):
            if not has_vertex(state.triangles, two.triangles[j], u) and _folded(
                state.points, made[i], state.triangles[two.triangles[j]]
            ):
                return True
        x = made[i, 0] if made[i, 0] != v else made[i, 1]
        y = made[i, 0] + made[i, 1] + made[i, 2] - v - x
        corner = state.head[x]
        while corner >= 0:
            t = corner // 3
            if (
                state.alive[t] == 1
                and has_vertex(state.triangles, t, y)
                and not has_vertex(state.triangles, t, u)
                and not has_vertex(state.triangles, t, v)
            ):
                if _fold(state.points, x, y, v, third_vertex(state.triangles, t, x, y)):
                    return True
            corner = state.following[corner]
    return False


@compiled
def _gather(grid: Grid, low: Integers, high: Integers, mark: Integers, found: Integers, count: int) -> int:
    """Append the triangles of some cubes that are not marked yet; return how many there are, marking them."""
    for x in range(low[0], high[0] + 1):
        for y in range(low[1], high[1] + 1):
            for z in range(low[2], high[2] + 1):
                entry = grid.head[(x * grid.shape[1] + y) * grid.shape[2] + z]
                while entry >= 0:
                    t = grid.triangle[entry]
                    entry = grid.following[entry]
                    if mark[t] != mark[-1] and count < len(found):
                        mark[t] = mark[-1]
                        found[count] = t
                        count += 1
    return count


@compiled
def _any_cross(state: Surface, u: int, made: Integers, count: int, found: Integers) -> bool:
    """Say whether a new triangle crosses another new one or one of those found near, apart from those at u."""
    points, triangles, alive = state.points, state.triangles, state.alive
    for i in range(count):
        for j in range(i):
            if cross(points, made[i], made[j]):
                return True
    for t in found:
        if alive[t] == 0 or has_vertex(triangles, t, u):
            continue
        for i in range(count):
            if not apart(points, made[i], triangles[t]) and cross(points, made[i], triangles[t]):
                return True
    return False


@compiled
def _meets(state: Surface, grid: Grid, u: int, made: Integers, count: int, mark: Integers) -> bool:
    """Say whether a new triangle crosses one that is there, or another new one."""
    low, high = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64)
    found = np.empty(MOST_NEAR, dtype=np.int64)
    mark[-1] += 1
    near = 0
    for i in range(count):
        for k in range(3):
            a, b, c = state.points[made[i, 0], k], state.points[made[i, 1], k], state.points[made[i, 2], k]
            low[k] = int((min(a, b, c) - grid.origin[k]) / grid.width)
            high[k] = int((max(a, b, c) - grid.origin[k]) / grid.width)
        near = _gather(grid, low, high, mark, found, near)
    return near == MOST_NEAR or _any_cross(state, u, made, count, found[:near])


@compiled
def _move(state: Surface, grid: Grid, u: int, v: int) -> bool:
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
                a, b, c = state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2]
                state.tried[a], state.tried[b], state.tried[c] = 0.0, 0.0, 0.0
                room = insert(grid, t, state.points[a], state.points[b], state.points[c]) and room
        corner = following
    for i in range(22):
        state.planes[v, i] += state.planes[u, i]
    state.tolerance[v] = min(state.tolerance[v], state.tolerance[u])
    return room


@compiled
def _near(state: Surface, u: int, v: int, kind: int, star: Star) -> bool:
    """Say whether v is close enough to the planes and lines of u, and in all planes that must stay flat."""
    limit = state.tolerance[u] ** 2
    n, way = np.empty(3), state.points[v] - state.points[u]
    for i in range(star.size[0]):
        t = star.triangles[i]
        if state.flat[t] == 1:
            write_normal(state.points, state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2], n)
            off = n[0] * way[0] + n[1] * way[1] + n[2] * way[2]
            if off * off > FLATNESS**2 * (way[0] ** 2 + way[1] ** 2 + way[2] ** 2):
                return False
    if off_planes(state.planes[u, :11], state.points[v]) > limit:
        return False
    return kind == 0 or off_planes(state.planes[u, 11:], state.points[v]) <= limit


@compiled
def _partner(
    state: Surface, grid: Grid, u: int, reach: float, one: Star, two: Star, made: Integers, mark: Integers
) -> int:
    """Return the nearest neighbor to which a vertex may collapse, -1 when there is none."""
    kind = vertex_kind(state, u, one)
    if kind == 2:
        return -1
    lengths = np.empty(one.size[1])
    for i in range(one.size[1]):
        lengths[i] = _length2(state.points, u, one.neighbors[i])
    for i in np.argsort(lengths):
        v = one.neighbors[i]
        limit = reach * min(state.target[u], state.target[v])
        if lengths[i] > limit * limit:
            break
        if lengths[i] * reach * reach <= (limit * state.tried[u]) ** 2:
            continue
        if (kind == 1 and one.junction[i] == 0) or not _near(state, u, v, kind, one) or not look(state, v, two):
            continue
        if not keeps_topology(state, u, v, kind, one, two):
            continue
        count = _new_triangles(state, u, v, one, made)
        if count >= 0 and not _folds(state, u, v, one, two, made, count):
            if not _meets(state, grid, u, made, count, mark):
                return int(v)
    state.tried[u] = reach
    return -1


@compiled
def _sweep(state: Surface, grid: Grid, order: Integers, reach: float) -> int:
    """Try each vertex once, shortest edge first; return the number of collapses, stop when the grid is full."""
    one, two = new_star(), new_star()
    made = np.empty((STAR, 3), dtype=np.int64)
    mark = np.zeros(len(state.triangles) + 1, dtype=np.int64)
    done = 0
    for u in order:
        if state.head[u] < 0 or not look(state, u, one):
            continue
        v = _partner(state, grid, u, reach, one, two, made, mark)
        if v >= 0:
            done += 1
            if not _move(state, grid, u, v):
                return done
    return done


@compiled
def _place(state: Surface, u: int, star: Star, spare: int) -> None:
    """Put the spare point at the mean of the neighbors of u, in the plane of its triangles."""
    points = state.points
    normal, mean, n = np.zeros(3), np.zeros(3), np.empty(3)
    for i in range(star.size[0]):
        t = star.triangles[i]
        area = write_normal(points, state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2], n)
        normal += area * n
    for i in range(star.size[1]):
        mean += points[star.neighbors[i]]
    shift = mean / star.size[1] - points[u]
    normal /= np.sqrt((normal * normal).sum()) + 1e-300
    points[spare] = points[u] + shift - normal * (shift * normal).sum()
    points[spare] += normal * lift(state.planes[u], points[spare], normal)
    state.target[spare], state.tolerance[spare] = state.target[u], state.tolerance[u]


@compiled
def _worst(state: Surface, star: Star) -> float:
    """Return the cosine of the smallest angle in a star."""
    worst = -1.0
    for i in range(star.size[0]):
        t = star.triangles[i]
        a, b, c = state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2]
        worst = max(worst, _largest_cosine(state.points, a, b, c))
    return worst


@compiled
def _improves(state: Surface, grid: Grid, u: int, one: Star, two: Star, made: Integers, mark: Integers) -> bool:
    """Say whether the triangles of a vertex are better, and cross nothing, with it at the spare point."""
    spare, worst, better = len(state.points) - 1, _worst(state, one), -1.0
    _place(state, u, one, spare)
    if not _near(state, u, spare, 0, one):
        return False
    count = _new_triangles(state, u, spare, one, made)
    for i in range(count):
        better = max(better, _largest_cosine(state.points, made[i, 0], made[i, 1], made[i, 2]))
    if count < 0 or better >= worst or _folds(state, u, spare, one, two, made, count):
        return False
    return not _meets(state, grid, u, made, count, mark)


@compiled
def _relax(state: Surface, grid: Grid, order: Integers) -> int:
    """Move vertices inside patches along the surface where that makes better triangles; return how many moved."""
    one, two = new_star(), new_star()
    two.size[:] = 0
    made = np.empty((STAR, 3), dtype=np.int64)
    mark = np.zeros(len(state.triangles) + 1, dtype=np.int64)
    moved = 0
    for u in order:
        if state.head[u] < 0 or not look(state, u, one) or _worst(state, one) < COS_GOOD:
            continue
        if vertex_kind(state, u, one) != 0 or not _improves(state, grid, u, one, two, made, mark):
            continue
        state.points[u] = state.points[-1]
        moved += 1
        for i in range(one.size[0]):
            a, b, c = state.triangles[one.triangles[i]]
            state.tried[a], state.tried[b], state.tried[c] = 0.0, 0.0, 0.0
            if not insert(grid, one.triangles[i], state.points[a], state.points[b], state.points[c]):
                return moved
    return moved
