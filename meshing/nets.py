"""Surface nets: one vertex a mixed cell, moved inside its cell, so that surfaces never cross.

A cell is the cube between eight voxel centers. Each pair of unlike face neighbors gives a quadrilateral of the four
cells around their common edge; it lies in the envelope of that edge (the four tetrahedra of the edge and two
successive vertices), and envelopes do not overlap while each vertex is strictly inside its cell.

Source: Gibson (1998) for the nets; Ju and Udeshi (2006) for envelopes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array

from turgor.meshing.boundary import Boundary
from turgor.meshing.compiled import compiled
from turgor.meshing.labels import CUT, PartGrid
from turgor.meshing.offset import Volumes
from turgor.meshing.tetrahedra import Floats, Integers

MARGIN = 0.15
SMOOTHING_ROUNDS = 15
VOLUME_ROUNDS = 12
PULLING_ROUNDS = 40
PULL = 0.3
"""Share of the way to the middle of its cell that a point of a part with a wrong volume goes in a round."""

LONGEST_STEP = 0.25
"""Of a point in a round, in voxels."""

ENOUGH = 1e-6
"""Relative error of volumes at which the rounds end."""

SMALLEST_ANGLE = 12.0

_RING = ((-1, -1), (0, -1), (0, 0), (-1, 0))


@dataclass(frozen=True)
class Net:
    """Cells and quadrilaterals of a label grid, in voxel coordinates.

    Attributes:
        cells: Lowest corner of each mixed cell, shape (n, 3).
        quads: Its four cells around each edge between unlike voxels, shape (q, 4).
        sides: Part on the near and far side, shape (q, 2); the normal points to the second.
        base: The near voxel, shape (q, 3).
        axis: Direction from the near to the far voxel, shape (q,).
        links: Weights with which neighbors are averaged, shape (n, n).
        freedom: How far each vertex follows its neighbors in a round along each axis, shape (n, 3); 0 keeps cuts flat.
    """

    cells: Integers
    quads: Integers
    sides: Integers
    base: Integers
    axis: Integers
    links: csr_array
    freedom: Floats


def surface_nets(grid: PartGrid) -> Boundary:
    """Triangulate all surfaces between the parts of a grid, in millimeters.

    Args:
        grid: Padded by one voxel.

    Returns:
        Surfaces that do not cross, smooth, with the volumes of the voxels as far as cells allow.
    """
    net = _net(grid.parts)
    points = _smoothed(net)
    points = _with_volumes(net, points, grid)
    points, triangles, sides = _triangulated(net, points)
    world = points @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    if np.linalg.det(grid.affine[:3, :3]) < 0:
        triangles = triangles[:, ::-1]
    turned = sides[:, 0] > sides[:, 1]
    triangles = np.where(turned[:, None], triangles[:, ::-1], triangles)
    return Boundary(world, triangles, np.sort(sides, axis=1), grid.list).cleaned()


def _net(parts: NDArray[np.int32]) -> Net:
    """Find mixed cells, quadrilaterals and the graph along which vertices are smoothed."""
    shape = np.array(parts.shape) - 1
    corner = parts[:-1, :-1, :-1]
    mixed = np.zeros(tuple(shape), dtype=bool)
    for i in range(1, 8):
        mixed |= (
            corner
            != parts[i >> 2 : shape[0] + (i >> 2), i >> 1 & 1 : shape[1] + (i >> 1 & 1), i & 1 : shape[2] + (i & 1)]
        )
    number = np.full(tuple(shape), -1, dtype=np.int64)
    cells = np.argwhere(mixed)
    number[mixed] = np.arange(len(cells))
    quads, sides, base, axes = [], [], [], []
    for axis in range(3):
        q, s, b = _quads(parts, number, axis)
        quads.append(q)
        sides.append(s)
        base.append(b)
        axes.append(np.full(len(q), axis))
    links, pull = _links(parts, number, len(cells))
    corners, beside, direction = np.concatenate(quads), np.concatenate(sides), np.concatenate(axes)
    freedom = np.repeat(pull[:, None], 3, axis=1)
    cut = (beside == CUT).any(axis=1)
    freedom[corners[cut], direction[cut][:, None]] = 0.0
    return Net(cells, corners, beside, np.concatenate(base), direction, links, freedom)


def _quads(parts: NDArray[np.int32], number: Integers, axis: int) -> tuple[Integers, Integers, Integers]:
    """Return vertices, sides and near voxels of the quadrilaterals across one axis."""
    near = [slice(1, -1)] * 3
    far = [slice(1, -1)] * 3
    near[axis], far[axis] = slice(0, -1), slice(1, None)
    one, two = parts[tuple(near)], parts[tuple(far)]
    where = np.argwhere(one != two)
    sides = np.stack([one[tuple(where.T)], two[tuple(where.T)]], axis=1).astype(np.int64)
    where += 1
    where[:, axis] -= 1
    e, f = (axis + 1) % 3, (axis + 2) % 3
    quads = np.empty((len(where), 4), dtype=np.int64)
    for i, (step_e, step_f) in enumerate(_RING):
        cell = where.copy()
        cell[:, e] += step_e
        cell[:, f] += step_f
        quads[:, i] = number[tuple(cell.T)]
    return quads, sides, where


def _links(parts: NDArray[np.int32], number: Integers, n_cells: int) -> tuple[csr_array, Floats]:
    """Link cells whose common face is mixed; junction vertices follow junctions only."""
    rows: list[Integers] = []
    degrees: list[Integers] = []
    for axis in range(3):
        e, f = (axis + 1) % 3, (axis + 2) % 3
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(0, -1), slice(1, None)
        one, two = number[tuple(low)], number[tuple(high)]
        both = (one >= 0) & (two >= 0)
        face = []
        for step_e, step_f in ((0, 0), (1, 0), (1, 1), (0, 1)):
            part = [slice(None)] * 3
            part[axis] = slice(1, -1)
            part[e] = slice(step_e, parts.shape[e] - 1 + step_e)
            part[f] = slice(step_f, parts.shape[f] - 1 + step_f)
            face.append(parts[tuple(part)][both])
        degree = sum((face[i] != face[i - 1]).astype(np.int64) for i in range(4))
        kept = degree > 0
        rows.append(np.stack([one[both][kept], two[both][kept]], axis=1))
        degrees.append(degree[kept])
    edges, junction = np.concatenate(rows), np.concatenate(degrees) > 2
    edges, junction = np.concatenate([edges, edges[:, ::-1]]), np.concatenate([junction, junction])
    count = np.bincount(edges[junction, 0], minlength=n_cells)
    used = junction | (count[edges[:, 0]] == 0)
    links = coo_array((np.ones(int(used.sum())), (edges[used, 0], edges[used, 1])), shape=(n_cells, n_cells)).tocsr()
    total = np.maximum(links.sum(axis=1), 1.0)
    freedom = np.where((count == 0) | (count == 2), 0.8, 0.3) * (links.sum(axis=1) > 0)
    return csr_array(diags_array(1.0 / total) @ links), np.asarray(freedom)


def _inside(net: Net, points: Floats) -> Floats:
    """Return the points moved back into their cells."""
    return np.clip(points, net.cells + MARGIN, net.cells + 1.0 - MARGIN)


def _smoothed(net: Net) -> Floats:
    """Relax each vertex towards the mean of its neighbors, inside its cell."""
    points = net.cells + 0.5
    for _ in range(SMOOTHING_ROUNDS):
        points = _inside(net, points + net.freedom * (net.links @ points - points))
    return np.asarray(points)


def _with_volumes(net: Net, points: Floats, grid: PartGrid) -> Floats:
    """Move points inside their cells until every part has its volume.

    With all points in the middle of their cells every part has the volume of its voxels. Parts that stay off are
    therefore pulled towards the middle, a bit each round, until they fit.
    """
    wanted = grid.volumes / abs(float(np.linalg.det(grid.affine[:3, :3])))
    nowhere = (np.zeros(0, dtype=np.int64), np.zeros((0, 3, 3)))
    volumes = Volumes(net.quads, net.sides, wanted, len(points), nowhere)
    middle, reach = net.cells + 0.5, 0.5 - MARGIN
    free = (net.freedom > 0).astype(np.float64)
    for count in range(VOLUME_ROUNDS + PULLING_ROUNDS):
        if volumes.measure(points) < ENOUGH:
            break
        if count >= VOLUME_ROUNDS:
            off = np.unique(volumes.levers.point[(volumes.error > ENOUGH)[volumes.levers.part]])
            points[off] += PULL * (middle - points)[off]
            volumes.measure(points)
        shift = volumes.step(free)
        outward = (np.abs(points - middle) > reach - 1e-9) & (shift * (points - middle) > 0)
        if outward.any():
            shift = volumes.step(free * ~outward)
        points = _inside(net, points + np.clip(shift, -LONGEST_STEP, LONGEST_STEP))
    return points


def _triangulated(net: Net, points: Floats) -> tuple[Floats, Integers, Integers]:
    """Cut quadrilaterals into triangles inside their envelopes, and round off sharp ones."""
    for _ in range(6):
        all_points, triangles, quad = _cut(net, points)
        corner = all_points[triangles]
        sharp = smallest_angles(corner) < SMALLEST_ANGLE
        vertices = np.unique(triangles[sharp])
        vertices = vertices[vertices < len(points)]
        if not len(vertices):
            break
        points = points.copy()
        points[vertices] += 0.35 * (net.cells[vertices] + 0.5 - points[vertices])
    all_points, triangles, quad = _cut(net, points)
    return all_points, triangles, net.sides[quad]


@compiled
def smallest_angles(corner: Floats) -> Floats:
    """Return the smallest angle of each triangle [degrees], from its corners of shape (t, 3, 3)."""
    angles = np.empty(len(corner))
    square = np.empty(3)
    for i in range(len(corner)):
        for j in range(3):
            p, q = corner[i, (j + 1) % 3], corner[i, (j + 2) % 3]
            square[j] = (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 + (p[2] - q[2]) ** 2
        worst = -1.0
        for j in range(3):
            x, y, z = square[j], square[(j + 1) % 3], square[(j + 2) % 3]
            worst = max(worst, (y + z - x) / (2.0 * np.sqrt(y * z) + 1e-300))
        angles[i] = np.degrees(np.arccos(min(worst, 1.0)))
    return angles


def _cut(net: Net, points: Floats) -> tuple[Floats, Integers, Integers]:
    """Return points (fan centers appended), triangles and the quadrilateral of each."""
    e, f = (net.axis + 1) % 3, (net.axis + 2) % 3
    row = np.arange(len(net.quads))
    local = points[net.quads] - net.base[:, None, :]
    ring = np.stack([local[row, :, e], local[row, :, f], local[row, :, net.axis]], axis=2)
    even, odd = _diagonal_fits(ring, 0), _diagonal_fits(ring, 1)
    a, b, c, d = (points[net.quads[:, i]] for i in range(4))
    angle_even = np.minimum(smallest_angles(np.stack([a, b, c], 1)), smallest_angles(np.stack([a, c, d], 1)))
    angle_odd = np.minimum(smallest_angles(np.stack([b, c, d], 1)), smallest_angles(np.stack([b, d, a], 1)))
    use_even = even & (~odd | (angle_even >= angle_odd))
    use_odd = odd & ~use_even
    fan = ~(even | odd)
    center = net.base[fan].astype(np.float64)
    center[np.arange(len(center)), net.axis[fan]] += np.clip(ring[fan][:, :, 2].mean(axis=1), 0.2, 0.8)
    hub = len(points) + np.arange(len(center))
    quads = net.quads
    triangles = [quads[use_even][:, [0, 1, 2]], quads[use_even][:, [0, 2, 3]]]
    triangles += [quads[use_odd][:, [1, 2, 3]], quads[use_odd][:, [1, 3, 0]]]
    source = [row[use_even]] * 2 + [row[use_odd]] * 2
    for i in range(4):
        triangles.append(np.stack([quads[fan][:, i], quads[fan][:, (i + 1) % 4], hub], axis=1))
        source.append(row[fan])
    return np.concatenate([points, center]), np.concatenate(triangles), np.concatenate(source)


def _cross(a: Floats, b: Floats) -> Floats:
    """Return the planar cross product of the first two components."""
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def _diagonal_fits(ring: Floats, start: int) -> NDArray[np.bool_]:
    """Say whether two triangles along a diagonal stay in the envelope of the edge.

    Args:
        ring: The four vertices seen from the near voxel, edge along the last component from 0 to 1, shape (q, 4, 3).
        start: First vertex of the diagonal, 0 or 1.
    """
    one, left, two, right = (ring[:, (start + i) % 4] for i in range(4))
    across = _cross(two - one, -one) > 0
    near = np.where(across[:, None], left, right)
    far = np.where(across[:, None], right, left)
    slope = _cross(two - one, near)
    t = -_cross(one, near) / np.where(np.abs(slope) < 1e-12, 1e-12, slope)
    crossing = one + t[:, None] * (two - one)
    r = (crossing[:, :2] * near[:, :2]).sum(axis=1) / (near[:, :2] ** 2).sum(axis=1)
    low, high = r * near[:, 2], 1.0 - r + r * near[:, 2]
    weights = np.stack([_cross(two, far), _cross(far, one), _cross(one, two)], axis=1)
    total = weights.sum(axis=1)
    heights = np.stack([one[:, 2], two[:, 2], far[:, 2]], axis=1)
    pierce = (weights * heights).sum(axis=1) / np.where(np.abs(total) < 1e-12, 1e-12, total)
    slack = 0.02
    inside = (
        (r >= -1e-9)
        & (r < 1.0 - slack)
        & (crossing[:, 2] > low + slack * (1 - r))
        & (crossing[:, 2] < high - slack * (1 - r))
    )
    return np.asarray(inside & (pierce > slack) & (pierce < 1.0 - slack))
