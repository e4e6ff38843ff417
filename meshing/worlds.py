"""Between turgor's meshes and meshio's: how each format says which cells a region has, and which facets a surface."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from turgor.materials.errors import SegmentationError
from turgor.meshing.parts import Parts, merged
from turgor.meshing.tetrahedra import Floats, Integers, Tetrahedra

if TYPE_CHECKING:
    import meshio

Names = Mapping[tuple[int, int], str]
"""(dimension, number) -> name."""

_IGNORED = {"vertex", "line", "line3"}
_TETRAHEDRA = {"tetra", "tetra4"}
_KNOWN = ("gmsh:physical", "medit:ref", "nastran:ref", "CellEntityIds", "MaterialIds", "material", "Material")
"""Cell data that other programs keep the number of a region in."""


def numbers_of(mesh: Tetrahedra) -> dict[tuple[int, int], str]:
    """Return the number of each region, from 1 on, and of each surface, after them, with its name."""
    names = {(3, i + 1): name for i, name in enumerate(mesh.regions)}
    return names | {(2, len(names) + i + 1): surface.name for i, surface in enumerate(mesh.surfaces)}


def with_numbers(mesh: Tetrahedra, key: str) -> meshio.Mesh:
    """Return a mesh of meshio with numbers of regions and surfaces; a facet of two surfaces is there twice.

    Args:
        mesh: The mesh.
        key: Name of the cell data that hold them.
    """
    import meshio

    blocks = [("tetra", mesh.cells.astype(np.int32)), ("triangle", mesh.facets.astype(np.int32))]
    numbers = [mesh.region + 1, mesh.facet_surface + 1 + len(mesh.regions)]
    kept = [i for i, (_, rows) in enumerate(blocks) if len(rows)]
    return meshio.Mesh(
        mesh.points, [blocks[i] for i in kept], cell_data={key: [numbers[i].astype(np.int64) for i in kept]}
    )


def with_regions(mesh: Tetrahedra) -> meshio.Mesh:
    """Return a mesh of meshio with the cell data "region" and "surface", 0 where there is none."""
    made = with_numbers(mesh, "region")
    both = made.cell_data.pop("region")
    zero = [np.zeros_like(rows) for rows in both]
    made.cell_data["region"] = [both[0], *zero[1:]]
    made.cell_data["surface"] = [zero[0], *both[1:]]
    return made


def with_sets(mesh: Tetrahedra, name: Callable[[str], str]) -> meshio.Mesh:
    """Return a mesh of meshio with sets of cells; each facet is there once.

    Args:
        mesh: The mesh.
        name: How a name is written.
    """
    import meshio

    facets, row = np.unique(mesh.facets, axis=0, return_inverse=True)
    none = np.zeros(0, dtype=np.int64)
    sets = {name(region): [np.flatnonzero(mesh.region == i), none] for i, region in enumerate(mesh.regions)}
    sets |= {name(s.name): [none, row.ravel()[mesh.facet_surface == i]] for i, s in enumerate(mesh.surfaces)}
    return meshio.Mesh(mesh.points, [("tetra", mesh.cells), ("triangle", facets)], cell_sets=sets)


def with_families(mesh: Tetrahedra) -> meshio.Mesh:
    """Return a mesh of meshio with the families of MED: numbers below zero, each with the groups that it is in."""
    made = with_sets(mesh, str)
    tags: dict[int, list[str]] = {}
    data = []
    for block, cells in enumerate(made.cells):
        names = [name for name, sets in made.cell_sets.items() if len(sets[block])]
        members = np.zeros((len(cells.data), len(names)), dtype=bool)
        for column, name in enumerate(names):
            members[made.cell_sets[name][block], column] = True
        alone = np.eye(len(names), dtype=bool)  # first a family for each group, so that their order is kept
        kinds, first, kind = np.unique(np.concatenate([alone, members]), axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        number = np.empty(len(kinds), dtype=np.int64)
        number[order] = -(len(tags) + 1 + np.arange(len(kinds)))
        tags |= {int(number[i]): [name for name, inside in zip(names, kinds[i], strict=True) if inside] for i in order}
        data.append(number[kind.ravel()[len(names) :]])
    made.cell_sets.clear()
    made.cell_data["cell_tags"] = data
    made.cell_tags = tags
    return made


def rounded(points: Floats, digits: int) -> Floats:
    """Return numbers with so many significant digits."""
    size = np.where(points == 0, 1.0, np.abs(points))
    scale = 10.0 ** (digits - 1 - np.floor(np.log10(size)))
    return np.asarray(np.round(points * scale) / scale)


def field_data_of_vtu(names: Names) -> tuple[bytes, bytes]:
    """Return what names the numbers in a VTU file, and the bytes it goes after."""
    arrays = "".join(
        f'<DataArray type="Int64" Name={quoteattr(name)} NumberOfComponents="2" NumberOfTuples="1" format="ascii">\n'
        f"{number} {dimension}\n</DataArray>\n"
        for (dimension, number), name in names.items()
    )
    return f"<FieldData>\n{arrays}</FieldData>\n".encode(), b"<UnstructuredGrid>"


def information_of_xdmf(names: Names) -> tuple[bytes, bytes]:
    """Return what names the numbers in an XDMF file, and the bytes it goes after."""
    entries = "".join(
        f"<map key={quoteattr(name)} dim={quoteattr(str(dimension))}>{number}</map>"
        for (dimension, number), name in names.items()
    )
    text = escape(f"<main>{entries}</main>")
    return f'<Information Name="names" Value="{len(names)}">{text}</Information>'.encode(), b'<Grid Name="Grid">'


def read_numbers(path: Path, raw: meshio.Mesh, names: Names) -> Parts:
    """Take regions and surfaces from cell data of whole numbers.

    Args:
        path: The file, for messages.
        raw: What meshio read.
        names: Names of numbers from beside the file; those in the file come first.
    """
    cells, triangles = _blocks(path, raw)
    inside = {
        (int(value[1]), int(value[0])): str(name)
        for name, value in raw.field_data.items()
        if np.size(value) == 2 and np.asarray(value).dtype.kind in "iu"
        for value in [np.asarray(value).ravel()]
    }
    known = {**names, **inside}
    solid_key, surface_key, notes = _keys(raw)
    solid = _column(raw, solid_key, _TETRAHEDRA, len(cells))
    flat = _column(raw, surface_key, {"triangle"}, len(triangles))
    values = np.unique(solid).tolist() if solid_key else []
    order = [n for dim, n in known if dim == 3 and n in values]
    order += [n for n in values if n not in order]
    called = {n: known.get((3, n), f"volume_{n}") for n in order}
    flat_values = [n for n in np.unique(flat).tolist() if n != 0]
    flat_order = [n for dim, n in known if dim == 2 and n in flat_values]
    flat_order += [n for n in flat_values if n not in flat_order]
    return Parts(
        points=_points(raw),
        cells=cells,
        volumes=merged((called[n], np.flatnonzero(solid == n)) for n in order),
        surfaces=merged((known.get((2, n), f"surface_{n}"), triangles[flat == n]) for n in flat_order),
        invented=tuple(called[n] for n in order if (3, n) not in known),
        notes=notes,
    )


def _keys(raw: meshio.Mesh) -> tuple[str, str, tuple[str, ...]]:
    """Return which cell data hold the numbers of regions and surfaces, and what is said about the choice."""
    whole = [
        key
        for key, blocks in raw.cell_data.items()
        if all(np.ndim(b) == 1 and np.array_equal(np.asarray(b), np.rint(np.asarray(b))) for b in blocks)
    ]
    if "region" in whole:
        return "region", "surface" if "surface" in whole else "region", ()
    for key in (*(key for key in _KNOWN if key in whole), *whole[:1]):
        return key, key, () if key in _KNOWN else (f"regions are taken from the cell data {key!r}",)
    return "", "", ()


def _column(raw: meshio.Mesh, key: str, types: set[str], count: int) -> Integers:
    """Return the cell data of all cells of some types; zeros without it."""
    if not key:
        return np.zeros(count, dtype=np.int64)
    parts = [np.asarray(v) for block, v in zip(raw.cells, raw.cell_data[key], strict=True) if block.type in types]
    return np.concatenate([np.zeros(0, dtype=np.int64), *(np.rint(part).astype(np.int64) for part in parts)])


def _points(raw: meshio.Mesh) -> Floats:
    """Return the coordinates, with zeros where a file has two dimensions."""
    given = np.asarray(raw.points, dtype=np.float64)
    return np.column_stack([given, np.zeros((len(given), 3 - given.shape[1]))])


def _blocks(path: Path, raw: meshio.Mesh) -> tuple[Integers, Integers]:
    """Return tetrahedra and triangles.

    Raises:
        SegmentationError: There are other cells; says how many of which type.
    """
    counts: dict[str, int] = {}
    for block in raw.cells:
        if block.type not in _TETRAHEDRA | _IGNORED | {"triangle"}:
            counts[block.type] = counts.get(block.type, 0) + len(block.data)
    if counts:
        told = " and ".join(f"{count} cells of type {kind}" for kind, count in counts.items())
        raise SegmentationError(f"{path}: has {told}; turgor takes linear tetrahedra only")
    found = []
    for types, corners in ((_TETRAHEDRA, 4), ({"triangle"}, 3)):
        rows = [np.asarray(b.data).astype(np.int64).reshape(-1, corners) for b in raw.cells if b.type in types]
        found.append(np.concatenate([np.zeros((0, corners), dtype=np.int64), *rows]))
    return found[0], found[1]


def read_families(path: Path, raw: meshio.Mesh) -> Parts:
    """Take regions and surfaces from the groups of MED's families."""
    cells, triangles = _blocks(path, raw)
    key = "cell_tags" if "cell_tags" in raw.cell_data else ""
    solid = _column(raw, key, _TETRAHEDRA, len(cells))
    flat = _column(raw, key, {"triangle"}, len(triangles))
    groups: dict[str, list[int]] = {}
    for number, names in sorted(getattr(raw, "cell_tags", {}).items(), key=lambda family: abs(int(family[0]))):
        for name in names:
            groups.setdefault(re.sub("\x00.*", "", name), []).append(int(number))
    volumes = {name: np.flatnonzero(np.isin(solid, numbers)) for name, numbers in groups.items()}
    surfaces = {name: triangles[np.isin(flat, numbers)] for name, numbers in groups.items()}
    return Parts(
        points=_points(raw),
        cells=cells,
        volumes={name: rows for name, rows in volumes.items() if len(rows)},
        surfaces={name: rows for name, rows in surfaces.items() if len(rows)},
    )
