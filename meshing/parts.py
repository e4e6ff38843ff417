"""From what any mesh file says, points, cells and sets of cells and triangles by name, to a mesh with names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from turgor.materials.errors import MeshQualityError, SegmentationError
from turgor.meshing.tetrahedra import (
    Faces,
    Floats,
    Integers,
    Surface,
    Tetrahedra,
    assemble,
    faces_of,
    positive,
    row_keys,
    volumes,
)

Nameless = Literal["refuse", "number"]
"""What becomes of tetrahedra in no set with a name: an error, or a region named by a number."""


@dataclass(frozen=True)
class Parts:
    """What a mesh file says, in its own unit.

    Attributes:
        points: Coordinates, shape (n, 3).
        cells: Vertices of the tetrahedra, shape (m, 4).
        volumes: Name -> indices of its tetrahedra, each once; sets may overlap.
        surfaces: Name -> vertices of its triangles, shape (k, 3); sets may overlap.
        point_sets: Name -> points; the outer faces and interfaces whose vertices are all in it are a surface.
        invented: Names of volumes that the file has by number only.
        notes: What was left out in reading, one sentence each.
    """

    points: Floats
    cells: Integers
    volumes: Mapping[str, Integers]
    surfaces: Mapping[str, Integers]
    point_sets: Mapping[str, Integers] = field(default_factory=dict)
    invented: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def merged(sets: Iterable[tuple[str, Integers]]) -> dict[str, Integers]:
    """Return sets by name, those of one name together."""
    found: dict[str, Integers] = {}
    for name, rows in sets:
        found[name] = np.concatenate([found[name], rows]) if name in found else rows
    return found


def joined(path: Path, parts: Parts, scale: float, nameless: Nameless) -> tuple[Tetrahedra, list[str]]:
    """Make a mesh with names: each tetrahedron in one region, each surface of faces of the mesh.

    Args:
        path: The file, for messages.
        parts: What it says.
        scale: Millimeters in its unit.
        nameless: What becomes of volumes without a name.

    Returns:
        The mesh, and what was left out or understood in a way that should be told, one sentence each.

    Raises:
        SegmentationError: No tetrahedra, vertices that are not there, volumes without a name, sets that overlap.
        MeshQualityError: Flat or doubled tetrahedra, faces with three cells.
    """
    _refuse_lies(path, parts)
    region, names, notes = _regions(path, parts, nameless)
    kept = _used(parts)
    place = np.full(len(parts.points), -1)
    place[kept] = np.arange(len(kept))
    points = parts.points[kept] * scale
    cells = positive(points, place[parts.cells])
    faces = _faces(path, points, cells)
    tables, more = _on_faces(parts.surfaces, place, faces, len(points))
    for name, at in _of_points(parts.point_sets, kept, region, faces).items():
        if name not in tables:
            tables[name] = at
            more.append(
                f"the set of points {name!r} is taken for the {len(at)} outer faces and interfaces that it spans"
            )
    outer = _beyond(tables, names, region, faces)
    taken = {f"{name}|{what.name}" for name in names for what in outer[1]}
    others = {name: at for name, at in tables.items() if name not in taken and not _found_anyway(name, names)}
    rows = [np.column_stack([faces.vertices[at], np.full(len(at), i)]) for i, at in enumerate(others.values())]
    table = np.concatenate([np.zeros((0, 4), dtype=np.int64), *rows])
    mesh = assemble(points, cells, region, names, outer, (table, list(others)))
    return mesh, [*parts.notes, *notes, *more]


def _refuse_lies(path: Path, parts: Parts) -> None:
    """Raise when the file has no tetrahedra, or names points that it does not hold."""
    if not len(parts.cells):
        raise SegmentationError(f"{path}: has no tetrahedra; a volume mesh is needed (in gmsh: Mesh 3D)")
    for what, rows in (("a tetrahedron", parts.cells), *(("a triangle", rows) for rows in parts.surfaces.values())):
        if len(rows) and (rows.min() < 0 or rows.max() >= len(parts.points)):
            raise SegmentationError(f"{path}: {what} has a point that the file does not hold; is it complete?")
    if not np.isfinite(parts.points[_used(parts)]).all():
        raise SegmentationError(f"{path}: holds coordinates that are not a number")


def _used(parts: Parts) -> Integers:
    """Return the points that tetrahedra name, ascending."""
    used = np.zeros(len(parts.points), dtype=bool)
    used[parts.cells] = True
    return np.flatnonzero(used)


def _regions(path: Path, parts: Parts, nameless: Nameless) -> tuple[Integers, tuple[str, ...], list[str]]:
    """Put each tetrahedron into one region; of sets within sets the smaller one wins."""
    sets = {name: rows for name, rows in parts.volumes.items() if len(rows)}
    order = list(sets)
    index = np.full(len(parts.cells), -1)
    notes = []
    for name in sorted(sets, key=lambda name: len(sets[name])):
        rows = sets[name]
        inner = index[rows] >= 0
        for other in np.unique(index[rows[inner]]).tolist():
            shared = int((index[rows] == other).sum())
            if shared < int((index == other).sum()):
                raise SegmentationError(
                    f"{path}: {shared} tetrahedra are in {order[other]!r} and in {name!r}, which is no region; "
                    "let each tetrahedron be in one"
                )
        if inner.all():
            notes.append(f"the set {name!r} holds only what smaller sets hold, and is left out")
        elif inner.any():
            notes.append(f"{name!r} is what smaller sets leave of it: {int((~inner).sum())} tetrahedra")
        index[rows[~inner]] = order.index(name)
    rest = int((index < 0).sum()) + sum(int((index == order.index(name)).sum()) for name in parts.invented)
    if rest and nameless == "refuse":
        lost = "" if parts.volumes else " (where there are names, Mesh.SaveAll = 1 drops them)"
        raise SegmentationError(
            f"{path}: {rest} tetrahedra are in no physical volume with a name; "
            f'name every volume in gmsh, for example Physical Volume("tumor") = {{1}};{lost}'
        )
    if (index < 0).any():
        free = next(f"volume_{i}" for i in range(len(order) + 1) if f"volume_{i}" not in order)
        notes.append(f"{int((index < 0).sum())} tetrahedra are in no set; they are named {free!r}")
        index[index < 0] = len(order)
        order.append(free)
    used = np.flatnonzero(np.bincount(index, minlength=len(order)))
    return np.searchsorted(used, index), tuple(order[i] for i in used), notes


def _faces(path: Path, points: Floats, cells: Integers) -> Faces:
    """Return the faces; raise when cells are flat, or a face has more than two."""
    flat = int((volumes(points, cells) <= 0).sum())
    if flat:
        raise MeshQualityError(f"{path}: {flat} tetrahedra have no volume; mesh again in gmsh, with Mesh.Optimize = 1")
    faces = faces_of(cells, len(points))
    if faces.most > 2 or _folded(points, cells, faces):
        raise MeshQualityError(
            f"{path}: tetrahedra overlap (a face has more than one on a side); let each be in one physical volume only"
        )
    return faces


def _folded(points: Floats, cells: Integers, faces: Faces) -> bool:
    """Whether both cells of a face lie on one side of it."""
    inner = faces.second >= 0
    corners = points[faces.vertices[inner]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    centers = (points[cells[:, 0]] + points[cells[:, 1]] + points[cells[:, 2]] + points[cells[:, 3]]) / 4
    sides = [
        np.einsum("ij,ij->i", normal, centers[cell[inner]] - corners[:, 0]) > 0 for cell in (faces.first, faces.second)
    ]
    return bool((sides[0] == sides[1]).any())


def _on_faces(
    surfaces: Mapping[str, Integers], place: Integers, faces: Faces, n_points: int
) -> tuple[dict[str, Integers], list[str]]:
    """Return the faces of each named surface, ascending, and what is said of triangles that are no faces."""
    keys = row_keys(faces.vertices, n_points) if n_points < 2_000_000 else None
    found, notes = {}, []
    for name, triangles in surfaces.items():
        inside = (place[triangles] >= 0).all(axis=1)
        rows = np.unique(np.sort(place[triangles[inside]], axis=1), axis=0)
        at = _places(rows, faces.vertices, keys, n_points)
        strange = int((~inside).sum()) + int((at < 0).sum())
        if strange:
            notes.append(f"{strange} triangles of {name!r} are no faces of the tetrahedra, and are left out")
        if (at >= 0).any():
            found[name] = np.sort(at[at >= 0])
    return found, notes


def _of_points(sets: Mapping[str, Integers], kept: Integers, region: Integers, faces: Faces) -> dict[str, Integers]:
    """Return the outer faces and interfaces that each set of points spans; none for a set of all points."""
    border = np.flatnonzero((faces.second < 0) | (region[faces.first] != region[faces.second]))
    found = {}
    for name, numbers in sets.items():
        inside = np.isin(kept, numbers)
        at = border[inside[faces.vertices[border]].all(axis=1)]
        if len(at) and not inside.all():
            found[name] = at
    return found


def _places(rows: Integers, every: Integers, keys: Integers | None, n_points: int) -> Integers:
    """Return where each row stands among all faces, which ascend; -1 where it does not."""
    if keys is None:
        both = row_keys(np.concatenate([every, rows]), n_points)
        keys, wanted = both[: len(every)], both[len(every) :]
    else:
        wanted = row_keys(rows, n_points)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _beyond(
    tables: Mapping[str, Integers], names: tuple[str, ...], region: Integers, faces: Faces
) -> tuple[Integers, list[Surface]]:
    """Return what lies beyond exterior faces, where surfaces named as turgor does say it: "a|cut" or "a|cavity"."""
    outer: list[Surface] = []
    rows = [np.zeros((0, 4), dtype=np.int64)]
    seen = np.zeros(len(faces.first), dtype=bool)
    for name, at in sorted(tables.items(), key=lambda entry: not entry[0].endswith("|cut")):
        side, bar, what = name.partition("|")
        fits = bool(bar) and side in names and what not in names and what != "outside"
        if not fits or (faces.second[at] >= 0).any() or (region[faces.first[at]] != names.index(side)).any():
            continue
        if seen[at].any():
            continue
        seen[at] = True
        surface = Surface(what, "cut" if what == "cut" else "cavity")
        if surface not in outer:
            outer.append(surface)
        rows.append(np.column_stack([faces.vertices[at], np.full(len(at), outer.index(surface))]))
    return np.concatenate(rows), outer


def _found_anyway(name: str, regions: tuple[str, ...]) -> bool:
    """Whether a surface is an interface or an outside, which are found from the regions."""
    first, _, second = name.partition("|")
    return first in regions and (second in regions or second == "outside")
