"""Polygon files of Stanford (.ply), as text or binary, with any properties beside coordinates and corners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from turgor.meshing.tetrahedra import Floats, Integers

_KINDS = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8", "int64": "i8", "uint64": "u8",
}  # fmt: skip

_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class _Property:
    """One value of an element, or a list of values.

    Attributes:
        name: What it is.
        kind: Type of a value.
        counted: Type of the length of a list; "" for one value.
    """

    name: str
    kind: str
    counted: str = ""


@dataclass(frozen=True)
class _Element:
    """Vertices, faces or whatever else."""

    name: str
    count: int
    properties: tuple[_Property, ...]


def read_ply(raw: bytes) -> tuple[Floats, Integers, Integers]:
    """Read points and polygons.

    Returns:
        Points, shape (n, 3); the corners of all polygons in a row; and the number of corners of each.

    Raises:
        ValueError: The header is not one of PLY, or less follows than it says.
    """
    head, mark, body = raw.partition(b"end_header")
    if not raw.startswith(b"ply") or not mark:
        raise ValueError("it has no header of PLY")
    body = body[body.index(b"\n") + 1 :] if b"\n" in body[:2] else body[1:]
    words = [line.split() for line in head.decode("latin-1").splitlines()]
    kind = next((line[1] for line in words if line[:1] == ["format"] and len(line) > 1), "")
    elements = _elements(words)
    if kind == "ascii":
        tables = _read_text(body, elements)
    elif kind in _ORDERS:
        tables = _read_binary(body, elements, _ORDERS[kind])
    else:
        raise ValueError(f"format {kind!r} is not known")
    vertex, face = tables.get("vertex", {}), tables.get("face", {})
    corners = face.get("vertex_indices", face.get("vertex_index"))
    if corners is None:
        raise ValueError("it holds no faces")
    points = np.stack([np.asarray(vertex[axis][0], dtype=np.float64) for axis in "xyz"], axis=1)
    return points, corners[0].astype(np.int64), corners[1].astype(np.int64)


def _elements(words: list[list[str]]) -> list[_Element]:
    """Read the header."""
    found: list[_Element] = []
    for line in words:
        if line[:1] == ["element"]:
            found.append(_Element(line[1], int(line[2]), ()))
        elif line[:1] == ["property"]:
            last = found.pop()
            if line[1] == "list":
                new = _Property(line[4], _KINDS[line[3]], _KINDS[line[2]])
            else:
                new = _Property(line[2], _KINDS[line[1]])
            found.append(_Element(last.name, last.count, (*last.properties, new)))
    return found


_Table = dict[str, tuple[np.ndarray[tuple[int], np.dtype[np.generic]], Integers]]


def _read_text(body: bytes, elements: list[_Element]) -> dict[str, _Table]:
    """Read all elements from lines."""
    lines = [line for line in body.split(b"\n") if line.strip()]
    tables, start = {}, 0
    for element in elements:
        own = lines[start : start + element.count]
        start += element.count
        if len(own) < element.count:
            raise ValueError(f"it holds {len(own)} of {element.count} entries of {element.name!r}")
        tables[element.name] = _columns([line.split() for line in own], element)
    return tables


def _columns(rows: list[list[bytes]], element: _Element) -> _Table:
    """Return the values of each property, and for lists their lengths."""
    table: _Table = {}
    place = [0] * len(rows)
    for one in element.properties:
        if not one.counted:
            values = np.array([row[at] for row, at in zip(rows, place, strict=True)], dtype=np.float64)
            table[one.name] = (values, np.ones(len(rows), dtype=np.int64))
            place = [at + 1 for at in place]
            continue
        counts = [int(row[at]) for row, at in zip(rows, place, strict=True)]
        flat = [v for row, at, n in zip(rows, place, counts, strict=True) for v in row[at + 1 : at + 1 + n]]
        if len(flat) != sum(counts):
            raise ValueError(f"a list of {element.name!r} is shorter than it says")
        table[one.name] = (np.array(flat, dtype=np.float64), np.array(counts, dtype=np.int64))
        place = [at + 1 + n for at, n in zip(place, counts, strict=True)]
    return table


def _read_binary(body: bytes, elements: list[_Element], order: str) -> dict[str, _Table]:
    """Read all elements from bytes."""
    tables: dict[str, _Table] = {}
    start = 0
    for element in elements:
        tables[element.name], start = _binary_element(body, element, order, start)
    return tables


def _binary_element(body: bytes, element: _Element, order: str, start: int) -> tuple[_Table, int]:
    """Read one element: at once when all lists are as long as those of the first entry, else one by one."""
    lengths = _lengths(body, element, order, start) if element.count else []
    kind = np.dtype(
        [
            field
            for i, (one, n) in enumerate(zip(element.properties, lengths, strict=False))
            for field in ([(f"n{i}", order + one.counted)] if one.counted else []) + [(f"v{i}", order + one.kind, (n,))]
        ]
    )
    rows = np.frombuffer(body, dtype=kind, count=element.count, offset=start) if element.count else np.zeros(0, kind)
    even = all((rows[f"n{i}"] == n).all() for i, n in enumerate(lengths) if element.properties[i].counted)
    if not even:
        return _one_by_one(body, element, order, start)
    table: _Table = {}
    for i, (one, n) in enumerate(zip(element.properties, lengths, strict=False)):
        table[one.name] = (rows[f"v{i}"].reshape(-1), np.full(element.count, n, dtype=np.int64))
    return table, start + rows.nbytes


def _lengths(body: bytes, element: _Element, order: str, start: int) -> list[int]:
    """Return the lengths of the properties of one entry, 1 for those that are no lists."""
    lengths = []
    for one in element.properties:
        length = 1
        if one.counted:
            length = int(np.frombuffer(body, order + one.counted, count=1, offset=start)[0])
            start += np.dtype(one.counted).itemsize
        start += length * np.dtype(one.kind).itemsize
        lengths.append(length)
    return lengths


def _one_by_one(body: bytes, element: _Element, order: str, start: int) -> tuple[_Table, int]:
    """Read entries whose lists differ in length."""
    values: list[list[np.ndarray[tuple[int], np.dtype[np.generic]]]] = [[] for _ in element.properties]
    for _ in range(element.count):
        for own, one, length in zip(values, element.properties, _lengths(body, element, order, start), strict=True):
            start += np.dtype(one.counted).itemsize if one.counted else 0
            own.append(np.frombuffer(body, order + one.kind, count=length, offset=start))
            start += own[-1].nbytes
    table: _Table = {}
    for own, one in zip(values, element.properties, strict=True):
        table[one.name] = (np.concatenate(own), np.array([len(v) for v in own], dtype=np.int64))
    return table, start
