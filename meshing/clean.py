"""What one surface needs before it is closed and faces outward: welded, cleaned, oriented, small holes closed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from turgor.materials.errors import SegmentationError
from turgor.meshing.compiled import compiled
from turgor.meshing.tetrahedra import Floats, Integers, areas

WELD = 1e-6
"""Vertices closer than this, in units of the diagonal, are one."""

ROUNDING = 4e-7
"""Vertices apart by less than this, in units of the largest coordinate, differ by the rounding of the file only."""

HOLE = 0.02
"""Holes of a smaller share of the area of their piece are closed."""

STRAY = 0.001
"""Open pieces of a smaller share of the area of the surface are dropped."""


@dataclass
class Ledger:
    """What was repaired, one sentence each; when strict, the first repair is refused.

    Attributes:
        strict: Whether repairs are refused.
        entries: The sentences so far.
    """

    strict: bool
    entries: list[str] = field(default_factory=list)

    def add(self, where: str, repair: str) -> None:
        """Note a repair.

        Raises:
            SegmentationError: The case is strict.
        """
        if self.strict:
            raise SegmentationError(f"{where}: mesh.strict refuses the first repair that is needed: {repair}")
        self.entries.append(f"{where}: {repair}")


@dataclass(frozen=True)
class Skin:
    """One surface of the case.

    Attributes:
        points: Shape (n, 3) [mm].
        triangles: Shape (t, 3); neighbors agree on the outer side.
        open_edges: Edges with one triangle.
        crowded_edges: Edges with more than two triangles.
    """

    points: Floats
    triangles: Integers
    open_edges: int = 0
    crowded_edges: int = 0

    @property
    def closed(self) -> bool:
        """Whether each edge has two triangles."""
        return self.open_edges == 0 and self.crowded_edges == 0

    @property
    def corners(self) -> Floats:
        """Return the corners of the triangles [mm], shape (t, 3, 3)."""
        return np.asarray(self.points[self.triangles])

    @property
    def volume(self) -> float:
        """Return the signed volume [mm^3]; what it means for an open surface depends on its holes."""
        return float(signed_volumes(self.points, self.triangles).sum())


def signed_volumes(points: Floats, triangles: Integers) -> Floats:
    """Return the volume between each triangle and the center of the points [mm^3], shape (t,)."""
    corner = points[triangles] - points.mean(axis=0)
    return np.asarray(np.einsum("ij,ij->i", np.cross(corner[:, 0], corner[:, 1]), corner[:, 2]) / 6.0)


def cleaned(points: Floats, triangles: Integers, where: str, ledger: Ledger) -> Skin:
    """Go up the ladder of repairs for one surface, each noted with its size.

    Args:
        points: Shape (n, 3) [mm].
        triangles: Shape (t, 3).
        where: The surface, for sentences.
        ledger: Takes the repairs.

    Raises:
        SegmentationError: Nothing is left, or the case is strict and something has to be repaired.
    """
    points, triangles = _welded(points, triangles, where, ledger)
    triangles = _single(points, triangles, where, ledger)
    points, triangles = _compact(points, triangles)
    triangles = _oriented(points, triangles, where, ledger)
    skin = _counted(points, triangles)
    if skin.open_edges:
        skin = _counted(*_without_strays(skin, where, ledger))
    if skin.open_edges and not skin.crowded_edges:
        skin = _holes_closed(skin, where, ledger)
    return skin


def _welded(points: Floats, triangles: Integers, where: str, ledger: Ledger) -> tuple[Floats, Integers]:
    """Join vertices at one place; those that differ by rounding only do not count as repaired."""
    low, diagonal = points.min(axis=0), float(np.linalg.norm(np.ptp(points, axis=0)))
    within = WELD * diagonal
    cell = np.floor((points - low) / (0.5 * within)).astype(np.int64)
    _, first, inverse = np.unique(
        (cell[:, 0] << 42) + (cell[:, 1] << 21) + cell[:, 2], return_index=True, return_inverse=True
    )
    some = points[first]
    pairs = cKDTree(some).query_pairs(within, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(some), len(some)))
    _, group = connected_components(links, directed=False)
    group = group[inverse.reshape(-1)]
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[inverse.reshape(-1)]
    joined = points[np.sort(first)]
    moved = np.abs(points - joined[rank]).max(axis=1)
    count = int((moved > ROUNDING * np.abs(points).max()).sum())
    if count:
        ledger.add(where, f"{count:,} vertices joined with others, moved by at most {moved.max():.2g} mm")
    return joined, np.asarray(rank[triangles])


def _single(points: Floats, triangles: Integers, where: str, ledger: Ledger) -> Integers:
    """Drop triangles that are flat or there twice, and inner walls, which are there twice and face both ways."""
    rows = np.sort(triangles, axis=1)
    kept = np.flatnonzero((rows[:, 0] != rows[:, 1]) & (rows[:, 1] != rows[:, 2]))
    if len(kept) < len(triangles):
        ledger.add(where, f"{len(triangles) - len(kept):,} flat triangles dropped")
    key, inverse = np.unique(_row_keys(rows[kept], len(points)), return_inverse=True)
    even = _parity(triangles[kept])
    there = np.zeros((len(key), 2), dtype=bool)
    there[inverse.reshape(-1), even] = True
    first = np.full(len(key), len(triangles))
    np.minimum.at(first, inverse.reshape(-1), kept)
    wall = _walls(triangles, first, there.all(axis=1), len(points))
    walls = int(wall[inverse.reshape(-1)].sum())
    double = len(kept) - walls - int((~wall).sum())
    if double:
        ledger.add(where, f"{double:,} double triangles dropped")
    if walls:
        ledger.add(where, f"{walls:,} triangles of inner walls dropped")
    if wall.all():
        raise SegmentationError(f"{where}: encloses no volume; every triangle is there twice, facing both ways")
    return np.asarray(triangles[np.sort(first[~wall])])


def _walls(triangles: Integers, first: Integers, both: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Say which triangles face both ways and can go without opening a hole."""
    wall = both.copy()
    if not both.any():
        return wall
    number, owner, _ = edges_of(triangles[first], count)
    others = np.bincount(number[~both[owner]], minlength=number.max() + 1)
    wall[owner[both[owner] & (others[number] % 2 == 1)]] = False
    return wall


def _row_keys(rows: Integers, count: int) -> Integers:
    """Return one number for each row of three ascending indices; equal rows have equal numbers."""
    pair, number = np.unique(rows[:, 0] * count + rows[:, 1], return_inverse=True)
    del pair
    return np.asarray(number.reshape(-1) * count + rows[:, 2])


def _parity(triangles: Integers) -> Integers:
    """Return 1 for triangles whose corners ascend up to rotation, 0 for the others."""
    turn = triangles[:, [1, 2, 0]] > triangles
    return np.asarray((turn.sum(axis=1) == 2).astype(np.int64))


def _compact(points: Floats, triangles: Integers) -> tuple[Floats, Integers]:
    """Drop vertices that nothing uses."""
    used, own = np.unique(triangles, return_inverse=True)
    return points[used], own.reshape(-1, 3)


def edges_of(triangles: Integers, count: int) -> tuple[Integers, Integers, Integers]:
    """Return for each of the 3 t edges its number, its triangle and its direction (1 when ascending).

    Args:
        triangles: Shape (t, 3).
        count: Number of vertices.
    """
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    owner = np.tile(np.arange(len(triangles)), 3)
    _, number = np.unique(ends.min(axis=1) * count + ends.max(axis=1), return_inverse=True)
    return number.reshape(-1), owner, (ends[:, 0] < ends[:, 1]).astype(np.int64)


def _counted(points: Floats, triangles: Integers) -> Skin:
    """Count the edges that have one triangle or more than two."""
    number, _, _ = edges_of(triangles, len(points))
    count = np.bincount(number)
    return Skin(points, triangles, int((count == 1).sum()), int((count > 2).sum()))


def _oriented(points: Floats, triangles: Integers, where: str, ledger: Ledger) -> Integers:
    """Turn triangles until neighbors agree, by area as few as possible."""
    number, owner, ascending = edges_of(triangles, len(points))
    order = np.argsort(number, kind="stable")
    count = np.bincount(number)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])[count == 2]
    one, two = order[first], order[first + 1]
    root, flip = _agreed(len(triangles), owner[one], owner[two], ascending[one] == ascending[two])
    area = areas(points, triangles)
    turned, stay = np.bincount(root, area * flip, len(root)), np.bincount(root, area * (1 - flip), len(root))
    flip = flip ^ (turned > stay)[root]
    if flip.any():
        ledger.add(where, f"{int(flip.sum()):,} triangles turned")
    result = triangles.copy()
    result[flip == 1] = triangles[flip == 1][:, ::-1]
    return result


def _agreed(count: int, one: Integers, two: Integers, unlike: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Return by triangle its patch and whether it has to be turned for all of the patch to agree.

    On a surface with one side only no choice serves all edges; the first ones seen decide.
    """
    parent, parity = np.arange(count), np.zeros(count, dtype=np.int64)
    _unite(parent, parity, one, two, unlike.astype(np.int64))
    return parent, parity


@compiled
def _root(parent: Integers, parity: Integers, t: int) -> int:
    """Return the root of a triangle, and let it and all on the way point there."""
    root, turn = t, 0
    while parent[root] != root:
        turn ^= parity[root]
        root = parent[root]
    while parent[t] != t:
        following, own = parent[t], parity[t]
        parent[t], parity[t] = root, turn
        turn ^= own
        t = following
    return root


@compiled
def _unite(parent: Integers, parity: Integers, one: Integers, two: Integers, unlike: Integers) -> None:
    """Unite neighbors, with the parity of turning along each link."""
    for i in range(len(one)):
        a, b = _root(parent, parity, one[i]), _root(parent, parity, two[i])
        if a != b:
            turn = parity[one[i]] ^ parity[two[i]] ^ unlike[i]
            high, low = max(a, b), min(a, b)
            parent[high], parity[high] = low, turn
    for t in range(len(parent)):
        _root(parent, parity, t)


def pieces_of(triangles: Integers, count: int) -> Integers:
    """Return by triangle the piece it belongs to; pieces share no vertex. Shape (t,)."""
    links = coo_array(
        (np.ones(2 * len(triangles)), (triangles[:, [0, 1]].ravel(), triangles[:, [1, 2]].ravel())),
        shape=(count, count),
    )
    _, group = connected_components(links, directed=False)
    return np.asarray(np.unique(group[triangles[:, 0]], return_inverse=True)[1].reshape(-1))


def _without_strays(skin: Skin, where: str, ledger: Ledger) -> tuple[Floats, Integers]:
    """Drop open pieces that are tiny beside the surface."""
    piece = pieces_of(skin.triangles, len(skin.points))
    area = np.bincount(piece, areas(skin.points, skin.triangles))
    number, owner, _ = edges_of(skin.triangles, len(skin.points))
    is_open = np.zeros(len(area), dtype=bool)
    is_open[piece[owner[np.bincount(number)[number] == 1]]] = True
    stray = is_open & (area < STRAY * area.sum())
    if not stray.any():
        return skin.points, skin.triangles
    lost = stray[piece]
    ledger.add(where, f"{int(lost.sum()):,} stray triangles of together {area[stray].sum():.3g} mm^2 dropped")
    return _compact(skin.points, skin.triangles[~lost])


def _holes_closed(skin: Skin, where: str, ledger: Ledger) -> Skin:
    """Close the holes when all of them are small."""
    number, _, _ = edges_of(skin.triangles, len(skin.points))
    ends = np.concatenate([skin.triangles[:, [0, 1]], skin.triangles[:, [1, 2]], skin.triangles[:, [2, 0]]])
    rim = np.flatnonzero(np.bincount(number)[number] == 1)
    loops = _loops(ends[rim][:, ::-1])
    if loops is None:
        return skin
    caps = [_cap(skin.points, loop, len(skin.points) + i) for i, loop in enumerate(loops)]
    points = np.concatenate([skin.points, np.array([skin.points[loop].mean(axis=0) for loop in loops])])
    area = np.array([float(areas(points, cap).sum()) for cap in caps])
    piece = pieces_of(skin.triangles, len(skin.points))
    whole = np.bincount(piece, areas(skin.points, skin.triangles))
    at_point = np.zeros(len(skin.points), dtype=np.int64)
    at_point[skin.triangles] = piece[:, None]
    own = at_point[[loop[0] for loop in loops]]
    if (np.bincount(own, area, len(whole)) > HOLE * whole).any():
        return skin
    ledger.add(
        where,
        f"{len(loops):,} holes of together {area.sum():.3g} mm^2 closed (the largest {area.max():.3g} mm^2, "
        f"{len(rim):,} open edges)",
    )
    return _counted(*_compact(points, np.concatenate([skin.triangles, *caps])))


def _cap(points: Floats, loop: list[int], center: int) -> Integers:
    """Return the triangles that close a hole, around its center when it has more than three sides."""
    if len(loop) == 3:
        return np.array([loop])
    return np.array([[a, b, center] for a, b in zip(loop, [*loop[1:], loop[0]], strict=True)])


def _loops(edges: Integers) -> list[list[int]] | None:
    """Return closed chains of directed edges that meet themselves nowhere; None when some do not close."""
    following: dict[int, list[int]] = {}
    for a, b in edges.tolist():
        following.setdefault(a, []).append(b)
    loops = []
    for start in list(following):
        chain, place = [start], {start: 0}
        while following[chain[-1]]:
            after = following[chain[-1]].pop()
            if after in place:
                loop = chain[place[after] :]
                for vertex in loop[1:]:
                    del place[vertex]
                del chain[place[after] + 1 :]
                loops.append(loop)
            elif after in following:
                place[after] = len(chain)
                chain.append(after)
            else:
                return None
        if len(chain) > 1:
            return None
    return loops if all(len(loop) > 2 for loop in loops) else None
