"""Integrals of an image over tetrahedra, exact: each tetrahedron is cut along the planes between the voxels' centers.

Between the centers of eight neighboring voxels an image is trilinear. A tetrahedron is cut by every such box that it
touches, and what is left of it, a few smaller tetrahedra, is integrated by a rule of eight points that is exact for
cubic functions (corners 1/40, middles of faces 9/40 of the volume). Boxes that lie inside count at once.

A voxel without a value (NaN) covers nothing. In the eighth of a box that belongs to a voxel with a value, neighbors
without one count as that voxel. At the border the image goes on for half a voxel with the values of its outermost ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import compiled

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

ROOM = 16
"""Tetrahedra that wait to be cut are fewer: each of six planes leaves at most two more."""


@compiled
def integrate(points: Array, values: Array, sums: Array, covered: Array, inside: Array) -> None:
    """Integrate an image over tetrahedra, in units of voxels.

    Args:
        points: Vertices as voxel indices, shape (n, 4, 3).
        values: Shape (nx, ny, nz, n_channels); a voxel whose first channel is NaN has no value.
        sums: The integrals, shape (n, n_channels); zero before.
        covered: Volumes of the parts in voxels with a value, shape (n,); zero before.
        inside: Volumes of the parts in the image, shape (n,); zero before.
    """
    first, count, start = np.zeros(3, np.int64), np.zeros(3, np.int64), np.zeros(3, np.int64)
    faces, box, room = np.zeros((4, 4)), np.zeros((2, 3)), np.zeros((ROOM, 4, 3))
    level, voxels = np.zeros(ROOM, np.int64), np.zeros((8, 3), np.int64)
    for cell in range(len(points)):
        _planes(points[cell], faces)
        _span(points[cell], values, first, count)
        for number in range(count[0] * count[1] * count[2]):
            start[0] = first[0] + number // (count[1] * count[2])
            start[1] = first[1] + number // count[2] % count[1]
            start[2] = first[2] + number % count[2]
            for axis in range(3):
                box[0, axis] = max(start[axis], -0.5)
                box[1, axis] = min(start[axis] + 1.0, values.shape[axis] - 0.5)
            where = _place(faces, box)
            if where >= 0:
                volume, own = _touch(points[cell], values, sums[cell], start, box, where, voxels, room, level)
                inside[cell] += volume
                covered[cell] += own


@compiled
def _span(corners: Array, values: Array, first: Ints, count: Ints) -> None:
    """Find the boxes that a tetrahedron may touch: the first one and how many on each axis."""
    for axis in range(3):
        least = most = corners[0, axis]
        for corner in range(1, 4):
            least, most = min(least, corners[corner, axis]), max(most, corners[corner, axis])
        first[axis] = max(int(np.floor(least)), -1)
        count[axis] = max(min(int(np.floor(most)), values.shape[axis] - 1) - first[axis] + 1, 0)


@compiled
def _touch(
    corners: Array,
    values: Array,
    sums: Array,
    start: Ints,
    box: Array,
    where: int,
    voxels: Ints,
    room: Array,
    level: Ints,
) -> tuple[float, float]:
    """Add the integral over the part of a tetrahedron in a box; return its volume, and what is covered of that."""
    moments = np.zeros(8)
    present = _neighbors(values, start, voxels)
    if present in (0, 8):
        _fill(corners, start, box, where, moments, room, level)
        volume = moments[0]
        if present == 8:
            _hats(moments)
            _add(values, voxels, moments, sums)
        return volume, volume if present == 8 else 0.0
    volume, own = 0.0, 0.0
    for eighth in range(8):
        if _eighth(values, start, box, eighth):
            _fill(corners, start, box, 0, moments, room, level)
            volume += moments[0]
            if not np.isnan(values[voxels[eighth, 0], voxels[eighth, 1], voxels[eighth, 2], 0]):
                own += moments[0]
                _hats(moments)
                _lend(values, voxels, eighth, moments)
                _add(values, voxels, moments, sums)
    return volume, own


@compiled
def _planes(corners: Array, faces: Array) -> None:
    """Find the planes of a tetrahedron's faces, rows (n, d) with n·x <= d inside."""
    for face in range(4):
        a, b, c = corners[(face + 1) % 4], corners[(face + 2) % 4], corners[(face + 3) % 4]
        offset, beyond = 0.0, 0.0
        for axis in range(3):
            y, z = (axis + 1) % 3, (axis + 2) % 3
            normal = (b[y] - a[y]) * (c[z] - a[z]) - (b[z] - a[z]) * (c[y] - a[y])
            faces[face, axis] = normal
            offset += normal * a[axis]
            beyond += normal * corners[face, axis]
        faces[face, 3] = offset
        if beyond > offset:
            for entry in range(4):
                faces[face, entry] *= -1.0


@compiled
def _place(faces: Array, box: Array) -> int:
    """Return -1 where a box lies outside a tetrahedron, 1 where it lies inside, else 0."""
    within = 1
    for face in range(4):
        center, reach = -faces[face, 3], 0.0
        for axis in range(3):
            center += 0.5 * faces[face, axis] * (box[0, axis] + box[1, axis])
            reach += 0.5 * abs(faces[face, axis]) * (box[1, axis] - box[0, axis])
        if center >= reach:
            return -1
        if center > -reach:
            within = 0
    return within


@compiled
def _neighbors(values: Array, start: Ints, voxels: Ints) -> int:
    """Find the eight voxels round a box and return how many have a value."""
    present = 0
    for corner in range(8):
        for axis in range(3):
            wanted = start[axis] + ((corner >> axis) & 1)
            voxels[corner, axis] = min(max(wanted, 0), values.shape[axis] - 1)
        if not np.isnan(values[voxels[corner, 0], voxels[corner, 1], voxels[corner, 2], 0]):
            present += 1
    return present


@compiled
def _eighth(values: Array, start: Ints, box: Array, eighth: int) -> bool:
    """Turn a box into one of its eighths and tell whether there is any of it; at the border it may be missing."""
    for axis in range(3):
        middle = start[axis] + 0.5
        upper = (eighth >> axis) & 1
        box[0, axis] = middle if upper else middle - 0.5
        box[1, axis] = middle + 0.5 if upper else middle
    for axis in range(3):
        if box[0, axis] < -0.5 or box[1, axis] > values.shape[axis] - 0.5:
            return False
    return True


@compiled
def _hats(moments: Array) -> None:
    """Turn the integrals of 1, x, y, xy, z, xz, yz, xyz into those of the eight trilinear functions of a box."""
    for axis in range(3):
        step = 1 << axis
        for number in range(8):
            if not number & step:
                moments[number] -= moments[number + step]


@compiled
def _lend(values: Array, voxels: Ints, eighth: int, weights: Array) -> None:
    """Give the weights of neighbors without a value to the voxel that an eighth of a box belongs to."""
    for corner in range(8):
        if np.isnan(values[voxels[corner, 0], voxels[corner, 1], voxels[corner, 2], 0]):
            weights[eighth] += weights[corner]
            weights[corner] = 0.0


@compiled
def _add(values: Array, voxels: Ints, weights: Array, sums: Array) -> None:
    """Add eight voxels by their weights; one without weight counts nothing, whatever it holds."""
    for corner in range(8):
        if weights[corner] != 0.0:
            for channel in range(len(sums)):
                value = values[voxels[corner, 0], voxels[corner, 1], voxels[corner, 2], channel]
                sums[channel] += weights[corner] * value


@compiled
def _fill(corners: Array, start: Ints, box: Array, where: int, moments: Array, stack: Array, level: Ints) -> None:
    """Integrate 1, x, y, xy, z, xz, yz, xyz, counted from `start`, over the part of a tetrahedron in a box.

    Args:
        corners: Of the tetrahedron, shape (4, 3).
        start: The voxel at the low corner of the box, before it was cut at the border.
        box: Its low and its high corner, shape (2, 3).
        where: 1 when the box lies inside the tetrahedron.
        moments: The integrals, shape (8,).
        stack: Room for tetrahedra.
        level: Room for the plane that each is cut by next.
    """
    if where == 1:
        for number in range(8):
            moments[number] = 1.0
            for axis in range(3):
                low, high = box[0, axis] - start[axis], box[1, axis] - start[axis]
                moments[number] *= 0.5 * (high * high - low * low) if (number >> axis) & 1 else high - low
        return
    for number in range(8):
        moments[number] = 0.0
    for corner in range(4):
        for axis in range(3):
            stack[0, corner, axis] = corners[corner, axis] - start[axis]
    level[0] = 0
    waiting = 1
    while waiting > 0:
        waiting -= 1
        if level[waiting] == 6:
            _weigh(stack[waiting], moments)
        else:
            axis, upper = level[waiting] // 2, level[waiting] % 2
            waiting = _divide(stack, level, waiting, axis, 1.0 - 2.0 * upper, box[upper, axis] - start[axis])


@compiled
def _divide(stack: Array, level: Ints, waiting: int, axis: int, sign: float, bound: float) -> int:
    """Replace a tetrahedron by the parts of it on the good side of a plane; return how many wait then.

    Args:
        stack: Tetrahedra that wait, this one behind the last of them.
        level: The plane that each is cut by next.
        waiting: How many wait.
        axis: What the plane is normal to.
        sign: 1 when the good side is above the plane, -1 when it is below.
        bound: Where the plane is.
    """
    piece = stack[waiting]
    kept = 0
    for corner in range(4):
        if sign * (piece[corner, axis] - bound) >= 0.0:
            for other in range(3):
                piece[kept, other], piece[corner, other] = piece[corner, other], piece[kept, other]
            kept += 1
    level[waiting] += 1
    if kept == 0:
        return waiting
    if kept == 1:
        for corner in range(1, 4):
            _move(piece, 0, corner, piece, corner, axis, bound)
    if kept in (1, 4):
        return waiting + 1
    level[waiting + 1] = level[waiting + 2] = level[waiting]
    _prism(piece, stack[waiting + 1], stack[waiting + 2], kept, axis, bound)
    return waiting + 3


@compiled
def _prism(first: Array, second: Array, third: Array, kept: int, axis: int, bound: float) -> None:
    """Divide what is left of a tetrahedron with two or three corners on the good side: a prism, into three.

    With the triangles a0 a1 a2 and b0 b1 b2 and edges between equal numbers they are a0 a1 a2 b0, a1 a2 b0 b1 and
    a2 b0 b1 b2.
    """
    if kept == 3:
        for row in range(3):
            _move(first, row, 3, third, 1 + row, axis, bound)
        for other in range(3):
            third[0, other] = first[2, other]
            second[0, other], second[1, other] = first[1, other], first[2, other]
            second[2, other], second[3, other] = third[1, other], third[2, other]
            first[3, other] = third[1, other]
        return
    for row in range(2):
        _move(first, 1, 2 + row, third, 2 + row, axis, bound)
        _move(first, 0, 2 + row, second, row, axis, bound)
    for other in range(3):
        third[0, other], third[1, other] = second[1, other], first[1, other]
        second[2, other], second[3, other] = third[1, other], third[2, other]
        first[1, other], first[2, other], first[3, other] = second[0, other], second[1, other], third[1, other]


@compiled
def _move(piece: Array, good: int, bad: int, into: Array, row: int, axis: int, bound: float) -> None:
    """Write the point where an edge meets a plane."""
    share = (bound - piece[good, axis]) / (piece[bad, axis] - piece[good, axis])
    for other in range(3):
        into[row, other] = piece[good, other] + share * (piece[bad, other] - piece[good, other])


@compiled
def _weigh(piece: Array, moments: Array) -> None:
    """Add the integrals of 1, x, y, xy, z, xz, yz, xyz over a tetrahedron."""
    a, b, c, d = piece[0], piece[1], piece[2], piece[3]
    u, v, w = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    volume = u * ((c[1] - a[1]) * (d[2] - a[2]) - (c[2] - a[2]) * (d[1] - a[1]))
    volume += v * ((c[2] - a[2]) * (d[0] - a[0]) - (c[0] - a[0]) * (d[2] - a[2]))
    volume += w * ((c[0] - a[0]) * (d[1] - a[1]) - (c[1] - a[1]) * (d[0] - a[0]))
    volume = abs(volume) / 6
    u, v, w = a[0] + b[0] + c[0] + d[0], a[1] + b[1] + c[1] + d[1], a[2] + b[2] + c[2] + d[2]
    moments[0] += volume
    for point in range(8):
        x, y, z = piece[point % 4, 0], piece[point % 4, 1], piece[point % 4, 2]
        share = volume / 40
        if point > 3:
            x, y, z, share = (u - x) / 3, (v - y) / 3, (w - z) / 3, 9 * share
        moments[1] += share * x
        moments[2] += share * y
        moments[3] += share * x * y
        moments[4] += share * z
        moments[5] += share * x * z
        moments[6] += share * y * z
        moments[7] += share * x * y * z
