"""Slivers mended in place: free vertices move, inner edges are split; surfaces stay as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import compiled
from turgor.meshing.tetrahedra import Floats, Integers, dihedral_angles, positive

WANTED = 12.0
"""Smallest dihedral angle aimed at [degrees]."""

ROUNDS = 6
LEVELS = 5

_EDGES = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
_FACES = np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]])


def repaired(points: Floats, cells: Integers, part: Integers, triangles: Integers) -> tuple[Floats, Integers, Integers]:
    """Lift the smallest dihedral angles.

    Args:
        points: Shape (n, 3); those of the triangles stay.
        cells: Shape (m, 4).
        part: By cell, shape (m,).
        triangles: The surfaces, shape (t, 3); their edges are not split.

    Returns:
        Points (new ones last), positively oriented cells and their parts.
    """
    cells = positive(points, cells)
    points = points.copy()
    fixed = np.zeros(len(points), dtype=bool)
    fixed[triangles] = True
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    kept = set(map(tuple, edges.tolist()))
    offsets = _offsets()
    for _ in range(ROUNDS):
        worst = dihedral_angles(points, cells).min(axis=1)
        bad = np.flatnonzero(worst < WANTED)
        if not len(bad):
            break
        bad = bad[np.argsort(worst[bad], kind="stable")]
        moved = _relocate(points, cells, bad, fixed, offsets)
        points, cells, part, made = _split(points, cells, part, kept, offsets)
        fixed = np.append(fixed, np.zeros(made, dtype=bool))
        if not moved and not made:
            break
    return points, cells, part


def _offsets() -> Floats:
    """Return trial displacements in the unit ball, always the same."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(directions * random.uniform(0.2, 1.0, (40, 1)))


def _incident(cells: Integers, wanted: Integers) -> dict[int, Integers]:
    """Return the cells at each wanted vertex."""
    if not len(wanted):
        return {}
    row, column = np.nonzero(np.isin(cells, wanted))
    vertex = cells[row, column]
    order = np.argsort(vertex, kind="stable")
    names, start = np.unique(vertex[order], return_index=True)
    return dict(zip(names.tolist(), np.split(row[order], start[1:]), strict=True))


def _relocate(points: Floats, cells: Integers, bad: Integers, fixed: NDArray[np.bool_], offsets: Floats) -> int:
    """Move the free vertices of bad cells to better places; return how many moved."""
    free = np.unique(cells[bad])
    free = free[~fixed[free]]
    moved = 0
    for vertex, star in _incident(cells, free).items():
        faces = _opposite(cells[star], vertex)
        before = _worst(points, faces, points[vertex])
        if before < np.cos(np.radians(WANTED)):
            continue
        reach = 0.5 * float(np.linalg.norm(points[faces].reshape(-1, 3) - points[vertex], axis=1).min())
        place, after = _best(points, faces, points[vertex], reach, offsets)
        if after < before - 1e-6:
            points[vertex] = place
            moved += 1
    return moved


def _opposite(star: Integers, vertex: int) -> Integers:
    """Return the faces opposite to a vertex, seen from it so that cells are positive."""
    at = (star == vertex).argmax(axis=1)
    return np.ascontiguousarray(np.take_along_axis(star, _FACES[at], axis=1))


def _split(
    points: Floats, cells: Integers, part: Integers, kept: set[tuple[int, int]], offsets: Floats
) -> tuple[Floats, Integers, Integers, int]:
    """Put a vertex into an inner edge of each cell that is still bad; return the mesh and how many were put in."""
    worst = dihedral_angles(points, cells).min(axis=1)
    bad = np.flatnonzero(worst < WANTED)
    incident = _incident(cells, np.unique(cells[bad]))
    touched = np.zeros(len(cells), dtype=bool)
    new_points: list[Floats] = []
    new_cells: list[Integers] = []
    new_parts: list[Integers] = []
    gone: list[Integers] = []
    for cell in bad[np.argsort(worst[bad], kind="stable")].tolist():
        if touched[cell]:
            continue
        found = _best_split(points, cells, cell, incident, kept, offsets)
        if found is None or touched[found[0]].any():
            continue
        ring, faces, place = found
        around = np.unique(np.concatenate([incident[int(v)] for v in cells[cell]]))
        touched[around] = True
        touched[ring] = True
        gone.append(ring)
        number = len(points) + len(new_points)
        new_points.append(place)
        new_cells.append(np.column_stack([np.full(len(faces), number), faces]))
        new_parts.append(np.full(len(faces), part[ring[0]]))
    if not new_points:
        return points, cells, part, 0
    stays = np.ones(len(cells), dtype=bool)
    stays[np.concatenate(gone)] = False
    return (
        np.concatenate([points, np.array(new_points)]),
        np.concatenate([cells[stays], *new_cells]),
        np.concatenate([part[stays], *new_parts]),
        len(new_points),
    )


def _best_split(
    points: Floats,
    cells: Integers,
    cell: int,
    incident: dict[int, Integers],
    kept: set[tuple[int, int]],
    offsets: Floats,
) -> tuple[Integers, Integers, Floats] | None:
    """Return ring, faces and place of the best new vertex on an inner edge of a cell, None when none is better."""
    best: tuple[Integers, Integers, Floats] | None = None
    least = np.inf
    for i, j in _EDGES.tolist():
        a, b = int(cells[cell, i]), int(cells[cell, j])
        if (min(a, b), max(a, b)) in kept:
            continue
        ring = np.intersect1d(incident[a], incident[b])
        faces = np.concatenate([_opposite(cells[ring], a), _opposite(cells[ring], b)])
        middle = 0.5 * (points[a] + points[b])
        reach = 0.5 * float(np.linalg.norm(points[faces].reshape(-1, 3) - middle, axis=1).min())
        place, after = _best(points, faces, middle, reach, offsets)
        before = -1.0
        for vertex in (a, b):
            before = max(before, _worst(points, _opposite(cells[ring], vertex), points[vertex]))
        if after < min(least, before - 1e-6):
            least, best = after, (ring, faces, place)
    return best


@compiled
def _largest_cosine(points: Floats, a: int, b: int, c: int, p: Floats) -> float:
    """Return the cosine of the smallest dihedral angle of the tetrahedron (p, a, b, c); 2 when it is not positive."""
    x = np.empty((4, 3))
    n = np.empty((4, 3))
    x[0], x[1], x[2], x[3] = p, points[a], points[b], points[c]
    for i in range(4):
        q, r, s = (i + 1) % 4, (i + 2) % 4, (i + 3) % 4
        ux, uy, uz = x[r, 0] - x[q, 0], x[r, 1] - x[q, 1], x[r, 2] - x[q, 2]
        wx, wy, wz = x[s, 0] - x[q, 0], x[s, 1] - x[q, 1], x[s, 2] - x[q, 2]
        nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        side = nx * (x[i, 0] - x[q, 0]) + ny * (x[i, 1] - x[q, 1]) + nz * (x[i, 2] - x[q, 2])
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if (i == 0 and side >= 0) or length <= 0:
            return 2.0
        turn = -1.0 / length if side > 0 else 1.0 / length
        n[i, 0], n[i, 1], n[i, 2] = nx * turn, ny * turn, nz * turn
    worst = -1.0
    for i in range(4):
        for j in range(i):
            worst = max(worst, -(n[i, 0] * n[j, 0] + n[i, 1] * n[j, 1] + n[i, 2] * n[j, 2]))
    return worst


@compiled
def _worst(points: Floats, faces: Integers, p: Floats) -> float:
    """Return the cosine of the smallest dihedral angle of the cells between faces and a point."""
    worst = -1.0
    for i in range(len(faces)):
        worst = max(worst, _largest_cosine(points, faces[i, 0], faces[i, 1], faces[i, 2], p))
        if worst >= 2.0:
            return 2.0
    return worst


@compiled
def _best(points: Floats, faces: Integers, start: Floats, reach: float, offsets: Floats) -> tuple[Floats, float]:
    """Search for the place with the largest smallest angle, around the start and then closer and closer."""
    place, least = start.copy(), _worst(points, faces, start)
    for _ in range(LEVELS):
        center = place.copy()
        for k in range(len(offsets)):
            trial = center + reach * offsets[k]
            value = _worst(points, faces, trial)
            if value < least:
                least = value
                place = trial
        reach *= 0.55
    return place, least
