"""gmsh's .msh files, 2.2 and 4.1, text and binary: read with every named group, and written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from turgor.materials.errors import SegmentationError
from turgor.meshing.parts import Parts, merged
from turgor.meshing.tetrahedra import Floats, Integers, Tetrahedra

_NODES = {1: 2, 2: 3, 3: 4, 4: 4, 5: 8, 6: 6, 7: 5, 8: 3, 9: 6, 10: 9, 11: 10, 12: 27, 13: 18, 14: 14, 15: 1, 16: 8}
_NODES |= {17: 20, 18: 15, 19: 13, 20: 9, 21: 10, 22: 12, 23: 15, 26: 4, 27: 5, 28: 6, 29: 20, 30: 35, 31: 56}
_WORDS = {3: "quadrilaterals", 5: "hexahedra", 6: "prisms", 7: "pyramids", 9: "second-order triangles"}
_WORDS |= {11: "second-order tetrahedra", 12: "second-order hexahedra", 17: "second-order hexahedra"}
_DIMENSION = {15: 0, 1: 1, 2: 2, 4: 3}
_IGNORED = {1, 8, 15, 26, 27, 28}
"""Points and lines."""

_NAME = re.compile(rb'^\s*(\d+)\s+(-?\d+)\s+"(.*)"\s*$')


@dataclass
class _Stream:
    """Numbers of a section, taken one after the other, from text or from bytes.

    Attributes:
        path: The file, for messages.
        data: Of a text file the numbers of the section; else the whole file.
        at: Where the next one stands.
        size: Bytes of a size in a binary file.
        order: Byte order of a binary file, "<" or ">".
    """

    path: Path
    data: bytes | Floats
    at: int
    size: int
    order: str

    def whole(self, kind: str, count: int) -> Integers:
        """Return `count` whole numbers: kind "i" for int, "n" for size."""
        return np.asarray(self.take(kind, count)).astype(np.int64)

    def take(self, kind: str, count: int) -> Floats:
        """Return `count` numbers: kind "i" for int, "n" for size, "d" for float."""
        if isinstance(self.data, np.ndarray):
            found = self.data[self.at : self.at + count]
            step, there = count, len(found) == count
        else:
            dtype = np.dtype(self.order + {"i": "i4", "n": f"u{self.size}", "d": "f8"}[kind])
            step, there = count * dtype.itemsize, 0 <= count <= (len(self.data) - self.at) // dtype.itemsize
            found = np.frombuffer(self.data, dtype, count, self.at) if there else np.zeros(0)
        if count < 0 or not there:
            raise SegmentationError(f"{self.path}: ends too early, or is garbled")
        self.at += step
        return found

    def one(self, kind: str) -> int:
        """Return the next whole number."""
        return int(self.whole(kind, 1)[0])


@dataclass
class _Found:
    """What has been read so far.

    Attributes:
        names: (dimension, number) -> name of a physical group.
        groups: (dimension, entity) -> its physical groups; 4.1 only.
        numbers: Number of each point in the file, shape (n,).
        points: Shape (n, 3).
        blocks: Kind of element, physical groups of all its rows or of each, vertices by number in the file.
    """

    names: dict[tuple[int, int], str] = field(default_factory=dict)
    groups: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    numbers: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    points: Floats = field(default_factory=lambda: np.zeros((0, 3)))
    blocks: list[tuple[int, Integers | list[int], Integers]] = field(default_factory=list)


def parse(path: Path) -> Parts:
    """Read a file of gmsh: its tetrahedra, and the physical groups of volumes and surfaces.

    Raises:
        SegmentationError: Not there, of another version, cut off, garbled, or with other cells than linear tetrahedra.
    """
    if not path.is_file():
        raise SegmentationError(f"there is no file {path}")
    data = path.read_bytes()
    version, text, size, order, at = _header(path, data)
    found = _Found()
    for name, start in _sections(data, at):
        if name == b"PhysicalNames":
            _names(found, data[start : data.find(b"$End", start)])
        elif name in _READERS[version]:
            end = data.find(b"$End" + name, start)
            if text and end < 0:
                raise SegmentationError(f"{path}: ends too early, or is garbled")
            numbers = _numbers(path, data[start:end]) if text else data
            try:
                with np.errstate(invalid="ignore"):
                    _READERS[version][name](_Stream(path, numbers, 0 if text else start, size, order), found)
            except (ValueError, OverflowError):
                raise SegmentationError(f"{path}: ends too early, or is garbled") from None
    return _parts(path, found)


def _header(path: Path, data: bytes) -> tuple[str, bool, int, str, int]:
    """Return version, whether it is text, size of sizes, byte order, and where the sections begin."""
    head = re.match(rb"\s*\$MeshFormat\s+([\d.]+)\s+(\d+)\s+(\d+)[ \r]*\n", data)
    if head is None:
        raise SegmentationError(f"{path}: is no mesh of gmsh; its first line is not $MeshFormat")
    version, text, size = head[1].decode(), head[2] == b"0", int(head[3])
    if version not in {"2.2", "4.1"} or size not in {4, 8}:
        raise SegmentationError(
            f"{path}: is of version {version} of gmsh's format; "
            "save it as 4.1 or 2.2 (in gmsh: Mesh.MshFileVersion = 4.1)"
        )
    order = ">" if not text and data[head.end() : head.end() + 4] == b"\0\0\0\1" else "<"
    return version, text, size, order, head.end()


def _sections(data: bytes, at: int) -> Iterator[tuple[bytes, int]]:
    """Give name and start of each section."""
    opening = re.compile(rb"\$(?!End)(\w+)[ \r]*\n")
    at = data.find(b"$EndMeshFormat", at)
    while at >= 0 and (found := opening.search(data, at)):
        yield found[1], found.end()
        at = data.find(b"$End" + found[1], found.end())


def _numbers(path: Path, text: bytes) -> Floats:
    """Return all numbers of a text."""
    try:
        return np.array(text.split(), dtype="S").astype(np.float64)
    except ValueError:
        raise SegmentationError(f"{path}: has words where numbers are due") from None


def _names(found: _Found, text: bytes) -> None:
    """Read the names of physical groups."""
    for line in text.splitlines():
        if words := _NAME.match(line):
            found.names[int(words[1]), abs(int(words[2]))] = words[3].decode(errors="replace")


def _entities(stream: _Stream, found: _Found) -> None:
    """Read which physical groups each geometric entity is in (4.1)."""
    for dimension, count in enumerate(stream.whole("n", 4).tolist()):
        for _ in range(count):
            entity = stream.one("i")
            stream.take("d", 3 if dimension == 0 else 6)
            found.groups[dimension, entity] = np.abs(stream.whole("i", stream.one("n"))).tolist()
            if dimension > 0:
                stream.take("i", stream.one("n"))


def _nodes(stream: _Stream, found: _Found) -> None:
    """Read the points (4.1)."""
    blocks = int(stream.whole("n", 4)[0])
    numbers, points = [], []
    for _ in range(blocks):
        dimension, _, parametric = stream.whole("i", 3).tolist()
        count = stream.one("n")
        width = 3 + (dimension if parametric else 0)
        numbers.append(stream.whole("n", count))
        points.append(stream.take("d", width * count).reshape(-1, width)[:, :3])
    if numbers:
        found.numbers, found.points = np.concatenate(numbers), np.concatenate(points)


def _elements(stream: _Stream, found: _Found) -> None:
    """Read the elements (4.1)."""
    blocks = int(stream.whole("n", 4)[0])
    for _ in range(blocks):
        dimension, entity, kind = stream.whole("i", 3).tolist()
        width = 1 + _width(stream.path, kind)
        rows = stream.whole("n", width * stream.one("n")).reshape(-1, width)
        found.blocks.append((kind, found.groups.get((dimension, entity), []), rows[:, 1:]))


def _old_nodes(stream: _Stream, found: _Found) -> None:
    """Read the points (2.2)."""
    if isinstance(stream.data, np.ndarray):
        rows = stream.take("d", 4 * stream.one("i")).reshape(-1, 4)
        found.numbers, found.points = rows[:, 0].astype(np.int64), rows[:, 1:].astype(np.float64)
        return
    end = stream.data.index(b"\n", stream.at)
    count = int(stream.data[stream.at : end])
    stream.at = end + 1
    dtype = np.dtype([("number", stream.order + "i4"), ("x", stream.order + "f8", 3)])
    if not 0 <= count <= (len(stream.data) - stream.at) // dtype.itemsize:
        raise SegmentationError(f"{stream.path}: ends too early, or is garbled")
    table = np.frombuffer(stream.data, dtype, count, stream.at)
    found.numbers, found.points = table["number"].astype(np.int64), table["x"].astype(np.float64)


def _old_elements(stream: _Stream, found: _Found) -> None:
    """Read the elements (2.2)."""
    if isinstance(stream.data, np.ndarray):
        count, numbers = stream.one("i"), stream.data[1:].astype(np.int64)
        _runs(stream.path, numbers, count, found, heads=1)
        return
    end = stream.data.index(b"\n", stream.at)
    count = int(stream.data[stream.at : end])
    body = stream.data[end + 1 :]
    _runs(stream.path, np.frombuffer(body[: len(body) // 4 * 4], stream.order + "i4"), count, found, heads=3)


def _runs(path: Path, numbers: Integers, count: int, found: _Found, *, heads: int) -> None:
    """Cut a row of numbers into elements, in runs of equal kind and equal number of tags.

    In a text (one number before the kind) a row is: number, kind, number of tags, tags, vertices. In a binary file
    (three numbers before) it is: kind, how many follow, number of tags; then for each: number, tags, vertices.
    """
    at = 0
    while count > 0:
        if at + 3 > len(numbers):
            raise SegmentationError(f"{path}: ends too early, or is garbled")
        kind, follow, tags = (numbers[at : at + 3] if heads == 3 else numbers[[at + 1, at, at + 2]]).tolist()
        width = (4 if heads == 3 else 3) + tags + _width(path, kind)
        one_by_one = heads == 1 or follow == 1
        if one_by_one:
            rows = numbers[at : at + (len(numbers) - at) // width * width].reshape(-1, width)[:count]
            columns, wanted = ([1, 2], [kind, tags]) if heads == 1 else ([0, 1, 2], [kind, 1, tags])
            equal = _first_false(rows, columns, wanted)
            rows, at = rows[:equal], at + equal * width
        else:
            width, start = width - 3, at + 3
            rows = numbers[start : start + follow * width]
            rows = rows[: len(rows) // max(width, 1) * width].reshape(-1, max(width, 1))
            at = start + follow * width
        if tags < 0 or follow < 0 or not len(rows) or (not one_by_one and len(rows) != follow):
            raise SegmentationError(f"{path}: ends too early, or is garbled")
        count -= len(rows)
        vertices = rows[:, rows.shape[1] - _width(path, kind) :]
        group = np.abs(rows[:, -_width(path, kind) - tags]) if tags else np.zeros(len(rows), dtype=np.int64)
        found.blocks.append((kind, group.astype(np.int64), vertices.astype(np.int64)))


def _first_false(rows: Integers, columns: list[int], wanted: list[int]) -> int:
    """Return how many rows from the first on have the wanted values, looking ahead in growing steps."""
    at, step = 0, 64
    while at < len(rows):
        part = (rows[at : at + step][:, columns] == wanted).all(axis=1)
        if not part.all():
            return at + int(part.argmin())
        at, step = at + step, 4 * step
    return len(rows)


def _width(path: Path, kind: int) -> int:
    """Return the number of points of a kind of element."""
    if kind not in _NODES:
        raise SegmentationError(f"{path}: has elements of gmsh's type {kind}; turgor takes linear tetrahedra only")
    return _NODES[kind]


_READERS = {
    "2.2": {b"Nodes": _old_nodes, b"Elements": _old_elements},
    "4.1": {b"Entities": _entities, b"Nodes": _nodes, b"Elements": _elements},
}


def _parts(path: Path, found: _Found) -> Parts:
    """Sort what was read by physical group."""
    strange: dict[str, int] = {}
    for kind, _, rows in found.blocks:
        if kind not in {2, 4} and kind not in _IGNORED:
            word = _WORDS.get(kind, f"elements of gmsh's type {kind}")
            strange[word] = strange.get(word, 0) + len(rows)
    if strange:
        told = " and ".join(f"{count} {word}" for word, count in strange.items())
        raise SegmentationError(f"{path}: has {told}; turgor takes linear tetrahedra only")
    cells, volumes = _grouped(found, 4)
    triangles, surfaces = _grouped(found, 2)
    place = _Places(found.numbers)
    named = {number: found.names.get((3, number), f"volume_{number}") for number in volumes}
    order = [number for dim, number in found.names if dim == 3 and number in volumes]
    order += [number for number in volumes if number not in order]
    return Parts(
        points=found.points,
        cells=place(cells),
        volumes=merged((named[number], volumes[number]) for number in order),
        surfaces=merged(
            (name, place(triangles[surfaces[number]]))
            for (dim, number), name in found.names.items()
            if dim == 2 and number in surfaces
        ),
        invented=tuple(named[number] for number in order if (3, number) not in found.names),
    )


class _Places:
    """From numbers of points in a file to places in the array of points; -1 for a point that is not there."""

    def __init__(self, numbers: Integers) -> None:
        """Sort the numbers once."""
        self.order = np.argsort(numbers, kind="stable")
        self.sorted = numbers[self.order]

    def __call__(self, wanted: Integers) -> Integers:
        """Return the place of each number."""
        if not len(self.sorted):
            return np.full(wanted.shape, -1)
        at = np.minimum(np.searchsorted(self.sorted, wanted), len(self.sorted) - 1)
        return np.where(self.sorted[at] == wanted, self.order[at], -1)


def _grouped(found: _Found, kind: int) -> tuple[Integers, dict[int, Integers]]:
    """Return the vertices of all elements of a kind, and the rows of each physical group that has some."""
    rows, members = [np.zeros((0, _NODES[kind]), dtype=np.int64)], dict[int, list[Integers]]()
    start = 0
    for one, groups, vertices in found.blocks:
        if one != kind:
            continue
        rows.append(vertices)
        places = np.arange(start, start + len(vertices))
        for number in groups if isinstance(groups, list) else np.unique(groups).tolist():
            here = places if isinstance(groups, list) else places[groups == number]
            members.setdefault(number, []).append(here)
        start += len(vertices)
    members.pop(0, None)
    return np.concatenate(rows), {number: np.concatenate(parts) for number, parts in members.items()}


def encode(mesh: Tetrahedra) -> Iterator[bytes]:
    """Give the bytes of a file of version 2.2, binary, with regions and surfaces as named physical groups."""
    regions, surfaces = len(mesh.regions), len(mesh.surfaces)
    lines = [f'3 {i + 1} "{name}"' for i, name in enumerate(mesh.regions)]
    lines += [f'2 {regions + i + 1} "{surface.name}"' for i, surface in enumerate(mesh.surfaces)]
    yield b"$MeshFormat\n2.2 1 8\n" + np.array([1], dtype="<i4").tobytes() + b"\n$EndMeshFormat\n"
    yield f"$PhysicalNames\n{regions + surfaces}\n".encode() + "\n".join(lines).encode()
    yield f"\n$EndPhysicalNames\n$Nodes\n{len(mesh.points)}\n".encode()
    nodes = np.empty(len(mesh.points), dtype=[("number", "<i4"), ("x", "<f8", 3)])
    nodes["number"], nodes["x"] = np.arange(1, len(mesh.points) + 1), mesh.points
    yield nodes.tobytes() + f"\n$EndNodes\n$Elements\n{len(mesh.facets) + len(mesh.cells)}\n".encode()
    blocks = ((2, mesh.facets, mesh.facet_surface + regions + 1), (4, mesh.cells, mesh.region + 1))
    number = 1
    for kind, vertices, group in blocks:
        if not len(vertices):
            continue
        yield np.array([kind, len(vertices), 2], dtype="<i4").tobytes()
        count = np.arange(number, number + len(vertices))
        yield np.column_stack([count, group, group, vertices + 1]).astype("<i4").tobytes()
        number += len(vertices)
    yield b"\n$EndElements\n"
