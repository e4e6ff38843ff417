"""Exodus II files: blocks are regions, side sets are surfaces, both with names.

Written here as netCDF in its classic form, which needs no library but SciPy: meshio's writer needs another one, knows
no side sets, and drops the names of blocks.

Source: Sjaardema, Schoof and Yarberry, EXODUS II: a finite element data model (2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from scipy.io import netcdf_file

from turgor.materials.errors import SegmentationError
from turgor.meshing.parts import Parts
from turgor.meshing.tetrahedra import Integers, Tetrahedra

_SIDES = np.array([[0, 1, 3], [1, 2, 3], [0, 3, 2], [0, 2, 1]])
"""Vertices of the sides 1 to 4 of a tetrahedron."""

_LONGEST = 32
_TETRAHEDRA, _TRIANGLES = {"TET", "TETRA", "TET4", "TETRA4"}, {"TRI", "TRI3", "TRIANGLE", "TRISHELL", "TRISHELL3"}
_IGNORED = {"SPHERE", "BEAM", "BEAM2", "BAR", "BAR2", "TRUSS", "TRUSS2", "CIRCLE"}


def write(path: Path, mesh: Tetrahedra) -> None:
    """Write blocks and side sets; the number map holds the order of the cells."""
    order = np.argsort(mesh.region, kind="stable")
    names = max([_LONGEST, *(len(name.encode()) for name in (*mesh.regions, *(s.name for s in mesh.surfaces)))]) + 1
    sizes = {"len_string": 33, "len_name": names, "num_dim": 3, "num_nodes": len(mesh.points)}
    sizes |= {"num_elem": len(mesh.cells), "num_el_blk": len(mesh.regions), "num_side_sets": len(mesh.surfaces)}
    cell, side = _sides_of(mesh)
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    with netcdf_file(path, "w", version=2) as file:
        file.title, file.api_version, file.version = "turgor", np.float32(8.03), np.float32(8.03)
        file.floating_point_word_size, file.file_size, file.maximum_name_length = 8, 1, names - 1
        file.createDimension("time_step", None)
        for name, size in sizes.items():
            if size:
                file.createDimension(name, size)
        file.createVariable("time_whole", "d", ("time_step",))
        for axis, name in enumerate(("coordx", "coordy", "coordz")):
            _put(file, name, mesh.points[:, axis], "d", ("num_nodes",))
        _put(file, "elem_num_map", order + 1, "i", ("num_elem",))
        for kind, dimension, words in (
            ("eb", "num_el_blk", mesh.regions),
            ("ss", "num_side_sets", tuple(s.name for s in mesh.surfaces)),
        ):
            if words:
                _put(file, f"{kind}_status", np.ones(len(words)), "i", (dimension,))
                _put(file, f"{kind}_prop1", np.arange(1, len(words) + 1), "i", (dimension,)).name = "ID"
                _put(file, f"{kind}_names", _letters(words, names), "c", (dimension, "len_name"))
        for i in range(len(mesh.regions)):
            rows = mesh.cells[mesh.region == i] + 1
            file.createDimension(f"num_el_in_blk{i + 1}", len(rows))
            file.createDimension(f"num_nod_per_el{i + 1}", 4)
            where = (f"num_el_in_blk{i + 1}", f"num_nod_per_el{i + 1}")
            _put(file, f"connect{i + 1}", rows, "i", where).elem_type = "TETRA"
        for i in range(len(mesh.surfaces)):
            chosen = mesh.facet_surface == i
            file.createDimension(f"num_side_ss{i + 1}", int(chosen.sum()))
            _put(file, f"elem_ss{i + 1}", back[cell[chosen]] + 1, "i", (f"num_side_ss{i + 1}",))
            _put(file, f"side_ss{i + 1}", side[chosen] + 1, "i", (f"num_side_ss{i + 1}",))


def _put(file: netcdf_file, name: str, values: np.ndarray, kind: str, where: tuple[str, ...]) -> netcdf_file:
    """Add a variable to the file, and return it."""
    made = file.createVariable(name, kind, where)
    made[:] = values
    return made


def _letters(words: tuple[str, ...], width: int) -> np.ndarray:
    """Return names as rows of single bytes."""
    table = np.array([word.encode() for word in words], dtype=f"S{width}")
    return table.view("S1").reshape(len(words), width)


def _sides_of(mesh: Tetrahedra) -> tuple[Integers, Integers]:
    """Return a cell at each facet, and which of its sides the facet is."""
    rows = np.sort(mesh.cells[:, _SIDES].reshape(-1, 3), axis=1).astype(np.int64)
    dtype = np.dtype([("a", "i8"), ("b", "i8"), ("c", "i8")])
    wanted = np.unique(mesh.facets)
    near = np.flatnonzero(np.isin(rows, wanted).all(axis=1))
    table = np.ascontiguousarray(rows[near]).view(dtype).ravel()
    order = np.argsort(table, order=("a", "b", "c"), kind="stable")
    at = np.searchsorted(table[order], np.ascontiguousarray(mesh.facets.astype(np.int64)).view(dtype).ravel())
    return near[order[at]] // 4, near[order[at]] % 4


def read(path: Path) -> Parts:
    """Read blocks of tetrahedra, and surfaces from side sets, blocks of triangles and node sets.

    Raises:
        SegmentationError: Cut off, garbled, or with other cells than linear tetrahedra.
    """
    found, kinds = _contents(path)
    try:
        return _parts(path, found, kinds)
    except (KeyError, ValueError, IndexError, OverflowError, TypeError):
        raise SegmentationError(f"{path}: is cut off, or no Exodus file") from None


def _contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return all arrays of a netCDF file, classic or HDF5, and the kind of element of each block."""
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                data = {name: np.asarray(item[()]) for name, item in file.items() if item.size}
                raw = {name: item.attrs.get("elem_type", b"") for name, item in file.items()}
        else:
            with netcdf_file(path, "r", mmap=False) as file:
                data = {name: np.array(item.data) for name, item in file.variables.items()}
                raw = {name: getattr(item, "elem_type", b"") for name, item in file.variables.items()}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, MemoryError) as error:
        raise SegmentationError(f"{path}: cannot be read as an Exodus file ({error or 'it is cut off'})") from None
    return data, {name: word.decode() if isinstance(word, bytes) else str(word) for name, word in raw.items()}


def _words(data: Mapping[str, np.ndarray], kind: str, count: int) -> list[str]:
    """Return the names of blocks or sets; a number where there is none."""
    rows = data.get(f"{kind}_names", np.zeros((0, 1), dtype="S1"))
    numbers = data.get(f"{kind}_prop1", np.arange(1, count + 1)).tolist()
    given = [row.tobytes().split(b"\0")[0].decode(errors="replace").strip() for row in rows]
    given += [""] * (count - len(given))
    word = {"eb": "volume", "ss": "surface", "ns": "points"}[kind]
    return [name or f"{word}_{number}" for name, number in zip(given, numbers, strict=False)]


def _numbered(data: Mapping[str, np.ndarray], stem: str) -> list[str]:
    """Return stem1, stem2 ... that are there, in order."""
    found = [name for name in data if name.startswith(stem) and name[len(stem) :].isdigit()]
    return sorted(found, key=lambda name: int(name[len(stem) :]))


def _parts(path: Path, data: Mapping[str, np.ndarray], kinds: Mapping[str, str]) -> Parts:
    """Sort what was read by block and set."""
    points = data["coord"].T if "coord" in data else np.column_stack([data[f"coord{axis}"] for axis in "xyz"])
    blocks = _numbered(data, "connect")
    names = _words(data, "eb", len(blocks))
    strange = {kinds[b]: len(data[b]) for b in blocks if kinds[b].upper() not in _TETRAHEDRA | _TRIANGLES | _IGNORED}
    strange |= {kinds[b]: len(data[b]) for b in blocks if kinds[b].upper() in _TETRAHEDRA and data[b].shape[1] != 4}
    if strange:
        told = " and ".join(f"{count} elements of type {kind}" for kind, count in strange.items())
        raise SegmentationError(f"{path}: has {told}; turgor takes linear tetrahedra only")
    sizes = np.array([len(data[block]) for block in blocks], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    solid = [i for i, block in enumerate(blocks) if kinds[block].upper() in _TETRAHEDRA]
    cells = np.full((int(sizes.sum()), 4), -1)
    volumes, surfaces = {}, {}
    for i, block in enumerate(blocks):
        if i in solid:
            cells[starts[i] : starts[i] + sizes[i]] = data[block].astype(np.int64) - 1
            volumes[names[i]] = np.arange(starts[i], starts[i] + sizes[i])
        elif kinds[block].upper() in _TRIANGLES:
            surfaces[names[i]] = data[block].astype(np.int64) - 1
    sides = _numbered(data, "elem_ss")
    for name, word in zip(sides, _words(data, "ss", len(sides)), strict=False):
        elements, local = data[name].astype(np.int64) - 1, data[name.replace("elem", "side")].astype(np.int64) - 1
        solid_ones = cells[elements, 0] >= 0
        surfaces[word] = cells[elements[solid_ones, None], _SIDES[local[solid_ones]]]
    sets = _numbered(data, "node_ns")
    point_sets = {w: data[n].astype(np.int64) - 1 for n, w in zip(sets, _words(data, "ns", len(sets)), strict=False)}
    rows, volumes = _in_order(cells, volumes, data.get("elem_num_map"))
    invented = tuple(name for name in volumes if "eb_names" not in data)
    return Parts(np.asarray(points, dtype=np.float64), rows, volumes, surfaces, point_sets, invented)


def _in_order(
    cells: Integers, volumes: dict[str, Integers], numbers: np.ndarray | None
) -> tuple[Integers, dict[str, Integers]]:
    """Return the tetrahedra in the order of their numbers, and the blocks in the new order."""
    key = np.arange(len(cells)) if numbers is None or len(numbers) != len(cells) else numbers
    order = np.argsort(key, kind="stable")
    order = order[cells[order, 0] >= 0]
    place = np.full(len(cells), -1)
    place[order] = np.arange(len(order))
    return cells[order], {name: np.sort(place[rows]) for name, rows in volumes.items()}
