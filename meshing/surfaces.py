"""Closed surfaces in: unit and frame, closed, oriented and nested, so that their geometry is kept as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import cKDTree

from turgor.materials.errors import SegmentationError
from turgor.materials.quantity import factor
from turgor.meshing.boundary import Boundary, Part
from turgor.meshing.certificate import Origin
from turgor.meshing.crossing import crossings
from turgor.meshing.distance import to_triangles
from turgor.meshing.offset import with_volumes
from turgor.meshing.polygons import read_triangles
from turgor.meshing.refine import refined
from turgor.meshing.simplify import collapsed
from turgor.meshing.sizes import CELL_VOLUME, GROWTH, Sizes, surface_targets, vertex_sizes
from turgor.meshing.spec import MeshSpec, SurfaceSpec
from turgor.meshing.tetrahedra import Floats, Integers, areas

Log = Callable[[str], None]

WELD = 1e-7
"""Vertices closer than this, in units of the diagonal, are one."""

TOUCH = 1e-5
SMALL, LARGE = 0.5, 3000.0
"""Diagonals of anatomy [mm] outside of which the unit must be wrong."""

TOLERANCE = 0.04
"""How far a finer surface may be simplified, in units of the wanted edge length."""

SHORT = 0.7
"""Edges shorter than this, in units of the wanted length, are collapsed."""

ADVICE = (
    "surfaces must be nested or apart; where they share a wall or overlap, mesh a label image instead "
    "(fill the surfaces into an image, for example in 3D Slicer)"
)


@dataclass(frozen=True)
class Shell:
    """One connected closed surface, normals outward.

    Attributes:
        points: Shape (n, 3) [mm].
        triangles: Shape (t, 3).
        source: Index of the surface of the case that it belongs to.
        volume: What it encloses [mm^3].
    """

    points: Floats
    triangles: Integers
    source: int
    volume: float


@dataclass(frozen=True)
class SurfaceAnatomy:
    """Regions between nested closed surfaces.

    Attributes:
        boundary: The surfaces as given.
        repairs: What was changed, one sentence each.
    """

    boundary: Boundary
    repairs: tuple[str, ...]

    @property
    def extent(self) -> float:
        """Return the diagonal of the bounding box [mm]."""
        return float(np.linalg.norm(np.ptp(self.boundary.points, axis=0)))

    @property
    def origin(self) -> Origin:
        """Return volumes and contacts of the surfaces."""
        total: dict[str, float] = {}
        for part, volume in zip(self.boundary.parts, self.boundary.part_volumes().tolist(), strict=True):
            if part.meshed:
                total[part.name] = total.get(part.name, 0.0) + volume
        names = [part.name for part in self.boundary.parts]
        pairs = self.boundary.patches()[0].tolist()
        touching = frozenset((min(names[a], names[b]), max(names[a], names[b])) for a, b in pairs)
        return Origin(total, {}, touching, False, 0.0, self.repairs)

    def cells(self, sizes: Sizes) -> float:
        """Return the expected number of cells: fine layers at the surfaces, and what lies between them."""
        total = 0.0
        for name, volume in self.origin.volumes.items():
            size = sizes.inside[name]
            total += volume / size**3
            for other, finest in sizes.rim.items():
                if finest >= size:
                    continue
                area = self._between(name, other) if other != name else self._area(name)
                total += area / (2.0 * GROWTH) * (finest**-2.0 - size**-2.0)
        return total / CELL_VOLUME

    def _area(self, name: str) -> float:
        """Return the area of the surface of a region [mm^2]."""
        return float(areas(self.boundary.points, self.boundary.of(name)).sum())

    def _between(self, one: str, two: str) -> float:
        """Return the area where two regions touch [mm^2]."""
        names = np.array([part.name for part in self.boundary.parts])[self.boundary.sides]
        chosen = ((names == one).any(axis=1)) & ((names == two).any(axis=1))
        return float(areas(self.boundary.points, self.boundary.triangles[chosen]).sum())

    def surfaces(self, sizes: Sizes, log: Log) -> Boundary:
        """Split triangles that are longer than wanted, collapse those that are much shorter."""
        boundary = self.boundary
        target = surface_targets(boundary, sizes)
        edge = vertex_sizes(boundary.points, boundary.triangles)
        if (edge < SHORT * target).any():
            volumes = boundary.part_volumes()
            coarse = collapsed(boundary, SHORT * target, TOLERANCE * target, float(np.median(edge)))
            boundary = with_volumes(coarse, volumes)
            log(f"mesh: {len(self.boundary.triangles):,} triangles simplified to {len(boundary.triangles):,}")
        return refined(boundary, lambda surface: surface_targets(surface, sizes))


def from_surfaces(spec: MeshSpec, rim: Mapping[str, float], log: Log) -> SurfaceAnatomy:
    """Read the closed surfaces of a case and find out what lies between them.

    Raises:
        SegmentationError: A surface is unreadable, open, touches itself or another; the sentence says which.
    """
    repairs: list[str] = []
    shells: list[Shell] = []
    for index, surface in enumerate(spec.surfaces):
        found, notes = _shells(surface, index)
        log(f"mesh: {surface.file.name}, {sum(len(s.triangles) for s in found):,} triangles, {surface.region}")
        shells += found
        repairs += notes
    _refuse_contact(shells, spec)
    return SurfaceAnatomy(_nested(shells, spec), tuple(repairs))


def _shells(surface: SurfaceSpec, index: int) -> tuple[list[Shell], list[str]]:
    """Read one file: welded, cleaned, closed, outward, split into shells."""
    where = f"mesh.surfaces.{index} ({surface.file.name})"
    points, triangles = read_triangles(surface.file)
    points = points * factor(surface.unit, "mm")
    if surface.frame == "LPS":
        points = points * np.array([-1.0, -1.0, 1.0])
    diagonal = float(np.linalg.norm(np.ptp(points, axis=0))) if len(points) else 0.0
    if not SMALL <= diagonal <= LARGE:
        raise SegmentationError(
            f"{where}: is {diagonal:.3g} mm across with unit {surface.unit!r}, expected {SMALL:g} mm to {LARGE:g} mm; "
            "say the unit in which the file was written"
        )
    points, triangles, dropped = _welded(points, triangles, WELD * diagonal)
    notes = [f"{surface.file.name}: {dropped} flat or double triangles were dropped"] if dropped else []
    _refuse_open(where, triangles)
    triangles, turned = _oriented(triangles)
    if turned:
        notes.append(f"{surface.file.name}: {turned} triangles were turned")
    return _split(points, triangles, index), notes


def _welded(points: Floats, triangles: Integers, within: float) -> tuple[Floats, Integers, int]:
    """Join vertices at one place; drop triangles that are flat or there twice."""
    pairs = cKDTree(points).query_pairs(within, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points)))
    _, group = connected_components(links, directed=False)
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    joined = points[np.sort(first)]
    corners = order[inverse.reshape(-1)][triangles]
    rows = np.sort(corners, axis=1)
    distinct = (rows[:, 0] != rows[:, 1]) & (rows[:, 1] != rows[:, 2])
    kept = np.flatnonzero(distinct)
    _, unique = np.unique(rows[kept], axis=0, return_index=True)
    kept = np.sort(kept[unique])
    return joined, corners[kept], len(triangles) - len(kept)


def _edges(triangles: Integers) -> tuple[Integers, Integers, Integers]:
    """Return for each of the 3 t edges its number, its triangle and its direction (1 when ascending)."""
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    owner = np.tile(np.arange(len(triangles)), 3)
    _, number = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
    return number.reshape(-1), owner, (ends[:, 0] < ends[:, 1]).astype(np.int64)


def _refuse_open(where: str, triangles: Integers) -> None:
    """Raise when an edge has not exactly two triangles."""
    number, _, _ = _edges(triangles)
    count = np.bincount(number)
    single, many = int((count == 1).sum()), int((count > 2).sum())
    if single:
        raise SegmentationError(
            f"{where}: is open, {single} edges have one triangle only; "
            "close it (in MeshLab: Close Holes), or mesh a label image"
        )
    if many:
        raise SegmentationError(f"{where}: touches itself, {many} edges have more than two triangles; {ADVICE}")


def _oriented(triangles: Integers) -> tuple[Integers, int]:
    """Turn triangles until neighbors agree; return them and how many were turned."""
    number, owner, ascending = _edges(triangles)
    order = np.argsort(number, kind="stable")
    one, two = order[0::2], order[1::2]
    agree = ascending[one] != ascending[two]
    count = len(triangles)
    graph = coo_array((np.where(agree, 1, 2), (owner[one], owner[two])), shape=(count, count)).tocsr()
    graph = graph.maximum(graph.T).tocsr()
    _, shell = connected_components(graph, directed=False)
    flip = np.zeros(count, dtype=bool)
    if not agree.all():
        for start in np.unique(shell, return_index=True)[1].tolist():
            visited, before = breadth_first_order(graph, start, directed=False)
            for t in visited[1:].tolist():
                flip[t] = flip[before[t]] ^ bool(graph[before[t], t] == 2)
    turned = triangles.copy()
    turned[flip] = triangles[flip][:, ::-1]
    return turned, int(min(flip.sum(), (~flip).sum()))


def _split(points: Floats, triangles: Integers, source: int) -> list[Shell]:
    """Return the connected shells, each with normals outward."""
    links = coo_array(
        (np.ones(2 * len(triangles)), (triangles[:, [0, 1]].ravel(), triangles[:, [1, 2]].ravel())),
        shape=(len(points), len(points)),
    )
    _, group = connected_components(links, directed=False)
    shells = []
    for label in np.unique(group[triangles[:, 0]]).tolist():
        used, own = np.unique(triangles[group[triangles[:, 0]] == label], return_inverse=True)
        corners, own = points[used], own.reshape(-1, 3)
        local = corners[own] - corners.mean(axis=0)
        volume = float(np.einsum("ij,ij->i", np.cross(local[:, 0], local[:, 1]), local[:, 2]).sum() / 6.0)
        shells.append(Shell(corners, own[:, ::-1] if volume < 0 else own, source, abs(volume)))
    return shells


def _refuse_contact(shells: list[Shell], spec: MeshSpec) -> None:
    """Raise when shells cross or touch each other or themselves."""
    points = np.concatenate([shell.points for shell in shells])
    start = np.cumsum([0, *(len(shell.points) for shell in shells)])
    triangles = np.concatenate([shell.triangles + s for shell, s in zip(shells, start, strict=False)])
    owner = np.repeat(np.arange(len(shells)), [len(shell.triangles) for shell in shells])

    def called(index: int) -> str:
        surface = spec.surfaces[shells[index].source]
        return f"{surface.region!r} ({surface.file.name})"

    diagonal = float(np.linalg.norm(np.ptp(points, axis=0)))
    for i, shell in enumerate(shells):
        for j, other in enumerate(shells):
            near = (shell.points > other.points.min(axis=0) - TOUCH * diagonal).all(axis=1)
            near &= (shell.points < other.points.max(axis=0) + TOUCH * diagonal).all(axis=1)
            if i == j or not near.any():
                continue
            if to_triangles(shell.points[near], other.points[other.triangles]).min() < TOUCH * diagonal:
                raise SegmentationError(f"mesh.surfaces: {called(i)} and {called(j)} touch; {ADVICE}")
    pairs = crossings(points, triangles)
    if len(pairs):
        one, two = owner[pairs[0]].tolist()
        who = f"{called(one)} crosses itself" if one == two else f"{called(one)} and {called(two)} cross"
        raise SegmentationError(f"mesh.surfaces: {who}; {ADVICE}")


def winding(point: Floats, corners: Floats) -> float:
    """Return how often triangles wind around a point: 1 inside a closed surface, 0 outside.

    Source: Van Oosterom and Strackee (1983).
    """
    a, b, c = (corners[:, i] - point for i in range(3))
    x, y, z = (np.linalg.norm(side, axis=1) for side in (a, b, c))
    triple = np.einsum("ij,ij->i", a, np.cross(b, c))
    rest = x * y * z + (a * b).sum(axis=1) * z + (b * c).sum(axis=1) * x + (c * a).sum(axis=1) * y
    return float(2.0 * np.arctan2(triple, rest).sum() / (4.0 * np.pi))


def _nested(shells: list[Shell], spec: MeshSpec) -> Boundary:
    """Name the spaces between the shells and put the surfaces between unlike ones together."""
    order = sorted(range(len(shells)), key=lambda i: -shells[i].volume)
    around: dict[int, list[int]] = {}
    for i in order:
        larger = order[: order.index(i)]
        around[i] = [j for j in larger if winding(shells[i].points[0], shells[j].points[shells[j].triangles]) > 0.5]
    filled = {i: _region_inside([*around[i], i], shells, spec) for i in order}
    space: dict[int, int] = {}
    parts = [Part("outside", "outside")]
    for i in order:
        parent = around[i][-1] if around[i] else None
        beyond = parts[space[parent]].name if parent is not None else "outside"
        if filled[i] == beyond:
            space[i] = space[parent] if parent is not None else 0
        else:
            space[i] = len(parts)
            kind = "outside" if filled[i] == "outside" else "cavity" if filled[i] in spec.cavities else "region"
            parts.append(Part(filled[i], kind))
    _refuse_covered(parts, spec)
    points, triangles, sides, start = [], [], [], 0
    for i in order:
        outer = space[around[i][-1]] if around[i] else 0
        if outer == space[i]:
            continue
        own = shells[i].triangles + start
        triangles.append(own if space[i] < outer else own[:, ::-1])
        sides.append(np.tile(sorted((space[i], outer)), (len(own), 1)))
        points.append(shells[i].points)
        start += len(shells[i].points)
    return Boundary(np.concatenate(points), np.concatenate(triangles), np.concatenate(sides), tuple(parts)).cleaned()


def _region_inside(enclosing: list[int], shells: list[Shell], spec: MeshSpec) -> str:
    """Return the region of the space inside these shells: the last surface of the case that holds it."""
    region = "outside"
    for index, surface in enumerate(spec.surfaces):
        if sum(shells[i].source == index for i in enclosing) % 2:
            region = surface.region
    return region


def _refuse_covered(parts: list[Part], spec: MeshSpec) -> None:
    """Raise when a region has no space left."""
    for surface in spec.surfaces:
        if surface.region not in {part.name for part in parts}:
            raise SegmentationError(
                f"mesh.surfaces: region {surface.region!r} is covered by later surfaces; "
                "put the inner surface after the outer"
            )
