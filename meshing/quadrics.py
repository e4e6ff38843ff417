"""Sums of squared distances to planes and lines: how far a vertex has come from the surface that it stands for.

Source: Garland and Heckbert (1997).
"""

from __future__ import annotations

import numpy as np

from turgor.meshing.compiled import lean
from turgor.meshing.stars import Star, Surface, look
from turgor.meshing.tetrahedra import Floats


@lean
def add_plane(row: Floats, nx: float, ny: float, nz: float, d: float, weight: float) -> None:
    """Add weight x (n . x + d)² to a quadric."""
    row[0] += weight * nx * nx
    row[1] += weight * nx * ny
    row[2] += weight * nx * nz
    row[3] += weight * nx * d
    row[4] += weight * ny * ny
    row[5] += weight * ny * nz
    row[6] += weight * ny * d
    row[7] += weight * nz * nz
    row[8] += weight * nz * d
    row[9] += weight * d * d
    row[10] += weight


@lean
def off_planes(row: Floats, p: Floats) -> float:
    """Return the mean squared distance of a point to the planes of a quadric."""
    if row[10] <= 0:
        return 0.0
    x, y, z = p[0], p[1], p[2]
    total = row[0] * x * x + row[4] * y * y + row[7] * z * z + row[9]
    total += 2 * (row[1] * x * y + row[2] * x * z + row[5] * y * z + row[3] * x + row[6] * y + row[8] * z)
    return float(total / row[10])


@lean
def write_normal(points: Floats, a: int, b: int, c: int, out: Floats) -> float:
    """Write the unit normal of a triangle; return its area."""
    ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    wx, wy, wz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    out[0], out[1], out[2] = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
    length = np.sqrt(out[0] ** 2 + out[1] ** 2 + out[2] ** 2)
    if length > 0:
        out[0] /= length
        out[1] /= length
        out[2] /= length
    return float(0.5 * length)


@lean
def add_line(row: Floats, p: Floats, q: Floats) -> None:
    """Add length x (squared distance to the line pq): two planes that meet in it, counted as one."""
    dx, dy, dz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
    length = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-300
    dx, dy, dz = dx / length, dy / length, dz / length
    if abs(dx) <= abs(dy) and abs(dx) <= abs(dz):
        ax, ay, az = 0.0, dz, -dy
    elif abs(dy) <= abs(dz):
        ax, ay, az = -dz, 0.0, dx
    else:
        ax, ay, az = dy, -dx, 0.0
    scale = np.sqrt(ax * ax + ay * ay + az * az)
    ax, ay, az = ax / scale, ay / scale, az / scale
    bx, by, bz = dy * az - dz * ay, dz * ax - dx * az, dx * ay - dy * ax
    add_plane(row, ax, ay, az, -(ax * p[0] + ay * p[1] + az * p[2]), length)
    add_plane(row, bx, by, bz, -(bx * p[0] + by * p[1] + bz * p[2]), length)
    row[10] -= length


@lean
def gather_planes(state: Surface, star: Star, normal: Floats) -> None:
    """Give each vertex the planes of its triangles and the lines of its junction edges; the rest is room."""
    for u in range(len(state.points)):
        if not look(state, u, star):
            continue
        for i in range(star.size[0]):
            t = star.triangles[i]
            area = write_normal(
                state.points, state.triangles[t, 0], state.triangles[t, 1], state.triangles[t, 2], normal
            )
            d = -(normal[0] * state.points[u, 0] + normal[1] * state.points[u, 1] + normal[2] * state.points[u, 2])
            add_plane(state.planes[u, :11], normal[0], normal[1], normal[2], d, area)
        for i in range(star.size[1]):
            if star.junction[i] == 1:
                add_line(state.planes[u, 11:], state.points[u], state.points[star.neighbors[i]])


@lean
def lift(row: Floats, p: Floats, n: Floats) -> float:
    """Return how far to go from p along n to be nearest to the planes of a quadric."""
    gx = row[0] * p[0] + row[1] * p[1] + row[2] * p[2] + row[3]
    gy = row[1] * p[0] + row[4] * p[1] + row[5] * p[2] + row[6]
    gz = row[2] * p[0] + row[5] * p[1] + row[7] * p[2] + row[8]
    steep = n[0] * (row[0] * n[0] + 2 * (row[1] * n[1] + row[2] * n[2]))
    steep += row[4] * n[1] * n[1] + row[7] * n[2] * n[2] + 2 * row[5] * n[1] * n[2]
    if steep <= 1e-3 * row[10]:
        return 0.0
    return float(-(gx * n[0] + gy * n[1] + gz * n[2]) / steep)
