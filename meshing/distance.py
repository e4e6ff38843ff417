"""Exact distances from points to triangulated surfaces, through a tree of boxes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.spatial import cKDTree

from turgor.meshing.compiled import compiled, lean
from turgor.meshing.tetrahedra import Floats, Integers, Tetrahedra

LEAF = 8
DEPTH = 128
THREADS = 2


def to_triangles(points: Floats, corners: Floats) -> Floats:
    """Return the distance of each point to the nearest of some triangles [mm].

    Args:
        points: Shape (n, 3).
        corners: Corners of the triangles, shape (t, 3, 3), t > 0.
    """
    order, bounds, children = tree_of(corners)
    nearest, _ = cKDTree(corners.reshape(-1, 3)).query(points)
    found = np.asarray(nearest * (1 + 1e-9), dtype=np.float64)
    _distances(points, corners[order], bounds, children, found, np.empty(DEPTH, dtype=np.int64))
    return found


def signed_distances(mesh: Tetrahedra) -> dict[str, Floats]:
    """Return the distance of each point to the surface of each region [mm], negative inside, zero on it."""

    def of_region(index: int) -> Floats:
        triangles = surface_of_region(mesh, index)
        distance = to_triangles(mesh.points, mesh.points[triangles])
        inside = np.zeros(len(mesh.points), dtype=bool)
        inside[mesh.cells[mesh.region == index]] = True
        distance[inside] *= -1.0
        distance[triangles] = 0.0
        return distance

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(mesh.regions, pool.map(of_region, range(len(mesh.regions))), strict=True))


def surface_of_region(mesh: Tetrahedra, index: int) -> Integers:
    """Return the triangles between a region and everything else, shape (t, 3)."""
    name = mesh.regions[index]
    chosen = [i for i, s in enumerate(mesh.surfaces) if s.kind != "named" and name in s.name.split("|")]
    return mesh.facets[np.isin(mesh.facet_surface, chosen)]


def tree_of(corners: Floats) -> tuple[Integers, Floats, Integers]:
    """Sort triangles into a balanced tree of boxes.

    Args:
        corners: Shape (t, 3, 3), t > 0.

    Returns:
        Order of the triangles; lowest and highest corner of each box, shape (b, 6); and by box the first and last
        triangle and the two children (-1 for a leaf), shape (b, 4).
    """
    room = len(corners) // 2 + 8
    order = np.arange(len(corners))
    bounds, children = np.empty((room, 6)), np.full((room, 4), -1, dtype=np.int64)
    low, high = corners.min(axis=1), corners.max(axis=1)
    count = _grow_tree(corners.mean(axis=1), low, high, order, bounds, children)
    return order, bounds[:count], children[:count]


@compiled
def _grow_tree(centers: Floats, low: Floats, high: Floats, order: Integers, bounds: Floats, children: Integers) -> int:
    """Split boxes at the median of their widest axis, parents before children; return how many boxes there are."""
    children[0, 0], children[0, 1] = 0, len(order)
    count, box = 1, 0
    lowest, highest = np.empty(3), np.empty(3)
    while box < count:
        start, stop = children[box, 0], children[box, 1]
        bounds[box, :3], bounds[box, 3:] = np.inf, -np.inf
        lowest[:], highest[:] = np.inf, -np.inf
        for i in range(start, stop):
            t = order[i]
            for k in range(3):
                bounds[box, k] = min(bounds[box, k], low[t, k])
                bounds[box, 3 + k] = max(bounds[box, 3 + k], high[t, k])
                lowest[k], highest[k] = min(lowest[k], centers[t, k]), max(highest[k], centers[t, k])
        if stop - start > LEAF:
            middle = (start + stop) // 2
            _split_at(centers[:, np.argmax(highest - lowest)], order, start, stop, middle)
            children[box, 2], children[box, 3] = count, count + 1
            children[count, 0], children[count, 1] = start, middle
            children[count + 1, 0], children[count + 1, 1] = middle, stop
            count += 2
        box += 1
    return count


@lean
def _split_at(values: Floats, order: Integers, start: int, stop: int, middle: int) -> None:
    """Sort a stretch of `order` so far that all values before its middle are no larger than those after.

    Source: Hoare, Find, Communications of the ACM 4 (1961).
    """
    left, right = start, stop - 1
    while left < right:
        pivot = values[order[(left + right) // 2]]
        i, j = left, right
        while i <= j:
            while values[order[i]] < pivot:
                i += 1
            while values[order[j]] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            right = j
        elif middle >= i:
            left = i
        else:
            return


@lean
def _box_distance(point: Floats, box: Floats) -> float:
    """Return the squared distance of a point to a box."""
    total = 0.0
    for i in range(3):
        if point[i] < box[i]:
            total += (box[i] - point[i]) ** 2
        elif point[i] > box[3 + i]:
            total += (point[i] - box[3 + i]) ** 2
    return total


@lean
def _dot(ax: float, ay: float, az: float, bx: float, by: float, bz: float) -> float:
    """Return the scalar product."""
    return ax * bx + ay * by + az * bz


@lean
def _triangle_distance(p: Floats, t: Floats) -> float:
    """Return the squared distance of a point to a triangle.

    Source: Ericson, Real-Time Collision Detection (2005), section 5.1.5.
    """
    ux, uy, uz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    wx, wy, wz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    ax, ay, az = p[0] - t[0, 0], p[1] - t[0, 1], p[2] - t[0, 2]
    bx, by, bz = p[0] - t[1, 0], p[1] - t[1, 1], p[2] - t[1, 2]
    cx, cy, cz = p[0] - t[2, 0], p[1] - t[2, 1], p[2] - t[2, 2]
    d1, d2 = _dot(ux, uy, uz, ax, ay, az), _dot(wx, wy, wz, ax, ay, az)
    d3, d4 = _dot(ux, uy, uz, bx, by, bz), _dot(wx, wy, wz, bx, by, bz)
    d5, d6 = _dot(ux, uy, uz, cx, cy, cz), _dot(wx, wy, wz, cx, cy, cz)
    if d1 <= 0 and d2 <= 0:
        return float(ax * ax + ay * ay + az * az)
    if d3 >= 0 and d4 <= d3:
        return float(bx * bx + by * by + bz * bz)
    if d6 >= 0 and d5 <= d6:
        return float(cx * cx + cy * cy + cz * cz)
    vc, vb, va = d1 * d4 - d3 * d2, d5 * d2 - d1 * d6, d3 * d6 - d5 * d4
    total = va + vb + vc
    if vc <= 0 and d1 >= 0 and d3 <= 0:
        v, w = d1 / (d1 - d3), 0.0
    elif vb <= 0 and d2 >= 0 and d6 <= 0:
        v, w = 0.0, d2 / (d2 - d6)
    elif va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        v = 1.0 - w
    elif total > 0:
        v, w = vb / total, vc / total
    else:
        return float(min(ax * ax + ay * ay + az * az, bx * bx + by * by + bz * bz, cx * cx + cy * cy + cz * cz))
    rx, ry, rz = ax - v * ux - w * wx, ay - v * uy - w * wy, az - v * uz - w * wz
    return float(rx * rx + ry * ry + rz * rz)


@lean
def _distances(
    points: Floats, corners: Floats, bounds: Floats, children: Integers, found: Floats, stack: Integers
) -> None:
    """Descend the tree for each point, nearer child first, from a bound that is there to the distance."""
    for i in range(len(points)):
        best = found[i] ** 2
        stack[0] = 0
        depth = 1
        while depth > 0:
            depth -= 1
            box = stack[depth]
            if _box_distance(points[i], bounds[box]) >= best:
                continue
            if children[box, 2] < 0:
                for t in range(children[box, 0], children[box, 1]):
                    best = min(best, _triangle_distance(points[i], corners[t]))
                continue
            one, two = children[box, 2], children[box, 3]
            if _box_distance(points[i], bounds[one]) < _box_distance(points[i], bounds[two]):
                one, two = two, one
            stack[depth], stack[depth + 1] = one, two
            depth += 2
        found[i] = np.sqrt(best)
