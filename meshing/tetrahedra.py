"""A tetrahedral mesh with names, as plain arrays: regions, surfaces, pieces, quality."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_FACES = np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]])
_OPPOSITE = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


@dataclass(frozen=True, slots=True)
class Surface:
    """A named set of facets.

    Attributes:
        name: "a|b", "a|outside", "a|cut", "a|cavity" or a name of the user's.
        kind: "interface", "outside", "cut", "cavity" or "named".
    """

    name: str
    kind: str


@dataclass(frozen=True)
class Tetrahedra:
    """Conforming tetrahedra in RAS millimeters.

    Attributes:
        points: Coordinates [mm], shape (n, 3).
        cells: Vertices of each tetrahedron, positively oriented, shape (m, 4).
        region: Index into `regions` by cell, shape (m,).
        regions: Region names in the order of the case.
        facets: Vertices of the named facets, ascending in each row, shape (k, 3).
        facet_surface: Index into `surfaces` by facet, shape (k,).
        surfaces: The named surfaces.
        piece: Number of the face-connected piece of the whole mesh by cell, shape (m,).
        distance: Region -> signed distance of each point to its surface [mm], negative inside, shape (n,).
    """

    points: Floats
    cells: Integers
    region: Integers
    regions: tuple[str, ...]
    facets: Integers
    facet_surface: Integers
    surfaces: tuple[Surface, ...]
    piece: Integers
    distance: Mapping[str, Floats] = field(default_factory=dict)

    def hash(self) -> str:
        """Return the SHA-256 of everything the mesh says, distances apart."""
        digest = hashlib.sha256()
        for array, kind in (
            (self.points, "<f8"),
            (self.cells, "<i4"),
            (self.region, "<i2"),
            (self.facets, "<i4"),
            (self.facet_surface, "<i2"),
        ):
            digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
        digest.update(json.dumps([list(self.regions), [[s.name, s.kind] for s in self.surfaces]]).encode())
        return digest.hexdigest()


def row_keys(rows: Integers, n_points: int) -> Integers:
    """Return one number per row of ascending vertex triples, equal for equal rows.

    Args:
        rows: Shape (k, 3), ascending in each row.
        n_points: Number of points.
    """
    if n_points < 2_000_000:
        keys = (rows[:, 0].astype(np.int64) * n_points + rows[:, 1]) * n_points + rows[:, 2]
        return np.asarray(keys, dtype=np.int64)
    first, ranks = np.unique(rows[:, 0].astype(np.int64) * n_points + rows[:, 1], return_inverse=True)
    if len(first) > 2**62 // n_points:
        raise OverflowError("too many facets")
    return np.asarray(ranks.reshape(-1).astype(np.int64) * n_points + rows[:, 2], dtype=np.int64)


@dataclass(frozen=True)
class Faces:
    """All triangles of a mesh, each once.

    Attributes:
        vertices: Ascending in each row, shape (f, 3).
        first: A cell at each face, shape (f,).
        second: The other cell, -1 on the outside, shape (f,).
        most: The largest number of cells at one face.
    """

    vertices: Integers
    first: Integers
    second: Integers
    most: int


def faces_of(cells: Integers, n_points: int) -> Faces:
    """Find the faces of tetrahedra and the one or two cells at each."""
    rows = np.sort(cells[:, _FACES].reshape(-1, 3), axis=1)
    keys = row_keys(rows, n_points)
    order = np.argsort(keys, kind="stable")
    start = np.flatnonzero(np.concatenate([[True], np.diff(keys[order]) != 0]))
    count = np.diff(np.append(start, len(order)))
    first = order[start] // 4
    second = np.full(len(start), -1)
    second[count > 1] = order[start[count > 1] + 1] // 4
    return Faces(rows[order[start]], first, second, int(count.max(initial=0)))


def pieces_of(faces: Faces, n_cells: int) -> Integers:
    """Number the face-connected pieces by their lowest cell, shape (n_cells,)."""
    inner = faces.second >= 0
    links = (np.ones(int(inner.sum()), dtype=np.int8), (faces.first[inner], faces.second[inner]))
    _, labels = connected_components(coo_array(links, shape=(n_cells, n_cells)), directed=False)
    _, lowest, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(lowest), dtype=np.int64)
    rank[np.argsort(lowest)] = np.arange(len(lowest))
    return np.asarray(rank[inverse], dtype=np.int64)


def assemble(
    points: Floats,
    cells: Integers,
    region: Integers,
    regions: tuple[str, ...],
    outer: tuple[Integers, list[Surface]],
    named: tuple[Integers, list[str]] | None = None,
) -> Tetrahedra:
    """Name the facets of a mesh: exterior, interfaces and those of the user.

    Args:
        points: Coordinates [mm], shape (n, 3).
        cells: Positively oriented, shape (m, 4).
        region: Index by cell, shape (m,).
        regions: Names in the order of the case.
        outer: Ascending vertex triples with a fourth column, the index into the list of what lies beyond ("outside",
            "cut" or a cavity as kind and name); exterior facets that are not there are "outside".
        named: Ascending vertex triples with the index of their name as fourth column, and the names.
    """
    faces = faces_of(cells, len(points))
    exterior = faces.second < 0
    beyond = _match(faces.vertices[exterior], outer[0], len(points))
    one, two = region[faces.first], np.where(exterior, -1, region[np.maximum(faces.second, 0)])
    inner = ~exterior & (one != two)
    low, high = np.minimum(one, two)[inner], np.maximum(one, two)[inner]
    kinds: dict[Surface, int] = {}
    parts: list[tuple[Integers, Integers]] = []
    for pair in sorted(set(zip(low.tolist(), high.tolist(), strict=True))):
        chosen = faces.vertices[inner][(low == pair[0]) & (high == pair[1])]
        _take(Surface(f"{regions[pair[0]]}|{regions[pair[1]]}", "interface"), chosen, kinds, parts)
    own = one[exterior]
    for index in np.unique(own).tolist():
        for other in np.unique(beyond[own == index]).tolist():
            what = Surface("outside", "outside") if other < 0 else outer[1][other]
            chosen = faces.vertices[exterior][(own == index) & (beyond == other)]
            _take(Surface(f"{regions[index]}|{what.name}", what.kind), chosen, kinds, parts)
    for index, name in enumerate(named[1] if named else ()):
        if name not in {surface.name for surface in kinds}:
            _take(
                Surface(name, "named"), named[0][named[0][:, 3] == index, :3] if named else cells[:0, :3], kinds, parts
            )
    return Tetrahedra(
        points=points,
        cells=cells,
        region=region,
        regions=regions,
        facets=np.concatenate([part[0] for part in parts]),
        facet_surface=np.concatenate([part[1] for part in parts]),
        surfaces=tuple(kinds),
        piece=pieces_of(faces, len(cells)),
    )


def _take(
    surface: Surface, facets: Integers, kinds: dict[Surface, int], parts: list[tuple[Integers, Integers]]
) -> None:
    """Add facets to a surface, which is new or known."""
    index = kinds.setdefault(surface, len(kinds))
    parts.append((facets, np.full(len(facets), index, dtype=np.int64)))


def _match(rows: Integers, table: Integers, n_points: int) -> Integers:
    """Return the fourth column of `table` where its triple equals a row, -1 where there is none."""
    if not len(table):
        return np.full(len(rows), -1, dtype=np.int64)
    both = row_keys(np.concatenate([table[:, :3], rows]), n_points)
    keys, wanted = both[: len(table)], both[len(table) :]
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    found = keys[order][at] == wanted
    return np.where(found, table[order[at], 3], -1)


def volumes(points: Floats, cells: Integers) -> Floats:
    """Return the signed volume of each tetrahedron [mm^3], shape (m,)."""
    corner = points[cells]
    edges = corner[:, 1:] - corner[:, :1]
    return np.asarray(np.einsum("ij,ij->i", np.cross(edges[:, 0], edges[:, 1]), edges[:, 2]) / 6.0)


def areas(points: Floats, triangles: Integers) -> Floats:
    """Return the area of each triangle [mm^2]."""
    corner = points[triangles]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    return np.asarray(0.5 * np.linalg.norm(normal, axis=1))


def positive(points: Floats, cells: Integers) -> Integers:
    """Return the cells with two vertices exchanged where the volume is negative."""
    turned = cells.copy()
    negative = volumes(points, cells) < 0
    turned[negative, 2], turned[negative, 3] = cells[negative, 3], cells[negative, 2]
    return turned


def dihedral_angles(points: Floats, cells: Integers) -> Floats:
    """Return the six dihedral angles of each tetrahedron [degrees], shape (m, 6)."""
    corner = points[cells]
    normals = []
    for a, b, c in _FACES:
        normal = np.cross(corner[:, b] - corner[:, a], corner[:, c] - corner[:, a])
        normals.append(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300))
    cosines = [np.einsum("ij,ij->i", normals[i], normals[j]) for i, j in _OPPOSITE]
    return np.asarray(180.0 - np.degrees(np.arccos(np.clip(np.stack(cosines, axis=1), -1.0, 1.0))))


def radius_ratio(points: Floats, cells: Integers) -> Floats:
    """Return the quality 3 r/R of each tetrahedron, 1 for a regular one and 0 for a flat one.

    Source: Liu and Joe (1994).
    """
    corner = points[cells]
    u, v, w = (corner[:, i] - corner[:, 0] for i in (1, 2, 3))
    volume = np.abs(np.einsum("ij,ij->i", np.cross(u, v), w)) / 6.0
    area = sum(areas(points, cells[:, face]) for face in _FACES)
    circum = (
        np.cross(u, v) * np.sum(w * w, axis=1)[:, None]
        + np.cross(w, u) * np.sum(v * v, axis=1)[:, None]
        + np.cross(v, w) * np.sum(u * u, axis=1)[:, None]
    )
    outer = np.linalg.norm(circum, axis=1) / np.maximum(12.0 * volume, 1e-300)
    return np.asarray(3.0 * (3.0 * volume / area) / np.maximum(outer, 1e-300))


def edge_lengths(points: Floats, cells: Integers) -> Floats:
    """Return the six edge lengths of each tetrahedron [mm], shape (m, 6)."""
    corner = points[cells]
    return np.stack([np.linalg.norm(corner[:, i] - corner[:, j], axis=1) for i, j in _OPPOSITE], axis=1)
