"""How the volumes of parts change with the points of their surfaces: loops over triangles or quadrilaterals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import lean
from turgor.meshing.tetrahedra import Floats, Integers

Indices = NDArray[np.int32]


class Levers(NamedTuple):
    """The (point, part) pairs of a complex: each point is a lever on the volume of each part that it touches.

    Attributes:
        faces: Triangles or quadrilaterals, shape (f, 3) or (f, 4); the normal points to the second side.
        sides: Part on either side, shape (f, 2).
        pair: Number of the pair of each corner and side, shape (f, 3 or 4, 2).
        point: Point of each pair, shape (e,).
        part: Part of each pair, shape (e,).
        head: First pair of each point, -1 for none, shape (n,).
        following: Next pair of the same point, -1 at the end, shape (e,).
    """

    faces: Integers
    sides: Integers
    pair: Indices
    point: Indices
    part: Indices
    head: Indices
    following: Indices


def levers_of(faces: Integers, sides: Integers, n_points: int) -> Levers:
    """Find the (point, part) pairs of faces.

    Args:
        faces: Shape (f, 3) or (f, 4).
        sides: Shape (f, 2).
        n_points: Number of points.
    """
    pair = np.empty((*faces.shape, 2), dtype=np.int32)
    head = np.full(n_points, -1, dtype=np.int32)
    point, part, following = (np.empty(pair.size, dtype=np.int32) for _ in range(3))
    count = _find_pairs(faces, sides, pair, head, point, part, following)
    return Levers(faces, sides, pair, point[:count].copy(), part[:count].copy(), head, following[:count].copy())


@lean
def _find_pairs(
    faces: Integers, sides: Integers, pair: Indices, head: Indices, point: Indices, part: Indices, following: Indices
) -> int:
    """Number the pairs; return how many there are."""
    count = 0
    for f in range(len(faces)):
        for i in range(faces.shape[1]):
            v = faces[f, i]
            for s in range(2):
                entry = head[v]
                while entry >= 0 and part[entry] != sides[f, s]:
                    entry = following[entry]
                if entry < 0:
                    entry = count
                    point[entry], part[entry], following[entry], head[v] = v, sides[f, s], head[v], entry
                    count += 1
                pair[f, i, s] = entry
    return count


@lean
def volume_gradients(points: Floats, levers: Levers, volume: Floats, gradient: Floats) -> None:
    """Write the volume of each part, and how fast it grows with each of its points.

    A quadrilateral counts as the mean of the two ways of cutting it, so that both rest on V = Σ det(a, b, c) / 6.

    Args:
        points: Shape (n, 3).
        levers: The complex.
        volume: Out, shape (parts,); of meaning for parts that are closed.
        gradient: Out, by (point, part) pair, shape (e, 3).
    """
    volume[:] = 0.0
    gradient[:] = 0.0
    corners = levers.faces.shape[1]
    share = 1.0 / 6.0 if corners == 3 else 1.0 / 12.0
    for f in range(len(levers.faces)):
        spanned = 0.0
        for i in range(corners):
            p = points[levers.faces[f, i]]
            n, o = points[levers.faces[f, (i + 1) % corners]], points[levers.faces[f, (i + 2) % corners]]
            gx, gy, gz = n[1] * o[2] - n[2] * o[1], n[2] * o[0] - n[0] * o[2], n[0] * o[1] - n[1] * o[0]
            if corners == 4:
                q = points[levers.faces[f, (i + 3) % 4]]
                x, y, z = o[0] + n[0], o[1] + n[1], o[2] + n[2]
                gx, gy, gz = gx - q[1] * z + q[2] * y, gy - q[2] * x + q[0] * z, gz - q[0] * y + q[1] * x
            gx, gy, gz = share * gx, share * gy, share * gz
            spanned += (gx * p[0] + gy * p[1] + gz * p[2]) / 3.0
            one, two = levers.pair[f, i, 0], levers.pair[f, i, 1]
            gradient[one, 0], gradient[one, 1], gradient[one, 2] = (
                gradient[one, 0] + gx,
                gradient[one, 1] + gy,
                gradient[one, 2] + gz,
            )
            gradient[two, 0], gradient[two, 1], gradient[two, 2] = (
                gradient[two, 0] - gx,
                gradient[two, 1] - gy,
                gradient[two, 2] - gz,
            )
        volume[levers.sides[f, 0]] += spanned
        volume[levers.sides[f, 1]] -= spanned


@lean
def _products(levers: Levers, gradient: Floats, freedom: Floats, n_parts: int, keys: Integers, values: Floats) -> int:
    """Add up Σ_points g_a · W g_b by pair of parts in a hash table; return how many pairs, -1 when it is too small."""
    keys[:] = -1
    values[:] = 0.0
    mask, count = len(keys) - 1, 0
    for v in range(len(levers.head)):
        wx, wy, wz = freedom[v, 0], freedom[v, 1], freedom[v, 2]
        if wx == 0.0 and wy == 0.0 and wz == 0.0:
            continue
        one = levers.head[v]
        while one >= 0:
            gx, gy, gz = gradient[one, 0] * wx, gradient[one, 1] * wy, gradient[one, 2] * wz
            two = levers.head[v]
            while two >= 0:
                key = np.int64(levers.part[one]) * n_parts + levers.part[two]
                at = (key * 2654435761 >> 7) & mask
                while keys[at] >= 0 and keys[at] != key:
                    at = (at + 1) & mask
                if keys[at] < 0:
                    if 2 * count > mask:
                        return -1
                    keys[at] = key
                    count += 1
                values[at] += gx * gradient[two, 0] + gy * gradient[two, 1] + gz * gradient[two, 2]
                two = levers.following[two]
            one = levers.following[one]
    return count


def products(levers: Levers, gradient: Floats, freedom: Floats, n_parts: int) -> tuple[Integers, Integers, Floats]:
    """Return the entries of Σ_points g_a · W g_b: row, column and value, each pair of parts once.

    Args:
        levers: The complex.
        gradient: Shape (e, 3).
        freedom: W, how freely each point moves along each axis, shape (n, 3).
        n_parts: Number of parts.
    """
    room = 1 << (64 * n_parts + 1024).bit_length()
    while True:
        keys, values = np.empty(room, dtype=np.int64), np.empty(room)
        if _products(levers, gradient, freedom, n_parts, keys, values) >= 0:
            break
        room *= 4
    found = np.flatnonzero(keys >= 0)
    found = found[np.argsort(keys[found])]
    return keys[found] // n_parts, keys[found] % n_parts, values[found]


@lean
def _displace(levers: Levers, gradient: Floats, freedom: Floats, potential: Floats, shift: Floats) -> None:
    """Add W Σ_parts λ_part g by point."""
    for v in range(len(levers.head)):
        entry = levers.head[v]
        while entry >= 0:
            for k in range(3):
                shift[v, k] += freedom[v, k] * potential[levers.part[entry]] * gradient[entry, k]
            entry = levers.following[entry]


def displacements(levers: Levers, gradient: Floats, freedom: Floats, potential: Floats) -> Floats:
    """Return W Σ_parts λ_part g by point, shape (n, 3)."""
    shift = np.zeros((len(levers.head), 3))
    _displace(levers, gradient, freedom, potential, shift)
    return shift
