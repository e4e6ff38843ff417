"""Files of triangulated surfaces: STL, OBJ, PLY, OFF through meshio, VTP by a small reader."""

from __future__ import annotations

import base64
import zlib
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from turgor.materials.errors import SegmentationError
from turgor.meshing.formats import read_meshio
from turgor.meshing.tetrahedra import Floats, Integers

FORMATS = (".stl", ".obj", ".ply", ".vtp", ".off")


def read_triangles(path: Path) -> tuple[Floats, Integers]:
    """Read a surface; polygons are cut into triangles.

    Returns:
        Points in the unit and frame of the file, shape (n, 3), and triangles, shape (t, 3).

    Raises:
        SegmentationError: The file is missing, unreadable, of another format, or holds no triangles.
    """
    if not path.is_file():
        raise SegmentationError(f"there is no file {path}")
    if path.suffix.lower() not in FORMATS:
        raise SegmentationError(f"{path}: is none of {', '.join(FORMATS)}")
    if path.suffix.lower() == ".vtp":
        points, triangles = _read_vtp(path)
    else:
        mesh = read_meshio(path)
        points = np.asarray(mesh.points, dtype=np.float64)
        fans = [_fan(np.asarray(block.data, dtype=np.int64)) for block in mesh.cells if block.data.shape[1] >= 3]
        triangles = np.concatenate([np.zeros((0, 3), dtype=np.int64), *fans])
    if points.ndim != 2 or points.shape[1] != 3 or not len(triangles):
        raise SegmentationError(f"{path}: holds no triangles")
    if not np.isfinite(points).all():
        raise SegmentationError(f"{path}: holds coordinates that are not a number")
    if triangles.min() < 0 or triangles.max() >= len(points):
        raise SegmentationError(f"{path}: names vertices that it does not hold; is it complete?")
    return points, triangles


def _fan(polygons: Integers) -> Integers:
    """Cut polygons with equal numbers of corners into triangles."""
    return np.concatenate([polygons[:, [0, i, i + 1]] for i in range(1, polygons.shape[1] - 1)])


def _read_vtp(path: Path) -> tuple[Floats, Integers]:
    """Read VTK's XML PolyData: text, base64 or appended, with zlib or without."""
    raw = path.read_bytes()
    head, mark, tail = raw.partition(b"<AppendedData")
    text = head + (b"</VTKFile>" if mark else b"")
    try:
        root = ElementTree.fromstring(text)
        appended = tail.partition(b"_")[2] if mark else b""
        encoded = b'encoding="base64"' in tail.partition(b">")[0] if mark else False
        piece = root.find("./PolyData/Piece")
        if piece is None:
            raise ValueError("it holds no PolyData")
        points = _array(piece.find("./Points/DataArray"), root, appended, encoded).reshape(-1, 3)
        polys = {
            entry.get("Name"): _array(entry, root, appended, encoded) for entry in piece.findall("./Polys/DataArray")
        }
        connectivity, offsets = polys["connectivity"].astype(np.int64), polys["offsets"].astype(np.int64)
    except (ElementTree.ParseError, ValueError, KeyError, TypeError, zlib.error, IndexError) as error:
        raise SegmentationError(f"{path}: cannot be read as VTP ({error}); is it complete?") from None
    start = np.concatenate([[0], offsets[:-1]])
    triangles = [np.zeros((0, 3), dtype=np.int64)]
    for corners in np.unique(offsets - start).tolist():
        chosen = start[offsets - start == corners]
        if corners >= 3:
            triangles.append(_fan(connectivity[chosen[:, None] + np.arange(corners)]))
    return points.astype(np.float64), np.concatenate(triangles)


def _array(
    entry: ElementTree.Element | None, root: ElementTree.Element, appended: bytes, encoded: bool
) -> NDArray[np.generic]:
    """Return the numbers of a DataArray."""
    if entry is None:
        raise ValueError("an array is missing")
    kind = np.dtype(
        {"Float": "f", "Int": "i", "UInt": "u"}[str(entry.get("type")).rstrip("0123456789")]
        + str(int("".join(c for c in str(entry.get("type")) if c.isdigit())) // 8)
    )
    big = root.get("byte_order") == "BigEndian"
    kind = kind.newbyteorder(">" if big else "<")
    if entry.get("format") == "ascii":
        return np.array((entry.text or "").split(), dtype=np.float64).astype(kind.newbyteorder("="))
    size = np.dtype((">" if big else "<") + ("u8" if root.get("header_type") == "UInt64" else "u4"))
    inline = entry.get("format") == "binary"
    data = (entry.text or "").strip().encode() if inline else appended[int(str(entry.get("offset"))) :]
    return np.frombuffer(_unpacked(data, size, inline or encoded, root.get("compressor") is not None), dtype=kind)


def _unpacked(data: bytes, size: np.dtype[np.unsignedinteger], encoded: bool, compressed: bool) -> bytes:
    """Return the bytes of one block: a header of sizes, then the content, either of them perhaps base64."""

    def take(start: int, count: int) -> bytes:
        if not encoded:
            return data[start : start + count]
        return base64.b64decode(data[start : start + 4 * ((count + 2) // 3)])[:count]

    def stored(count: int) -> int:
        return 4 * ((count + 2) // 3) if encoded else count

    if not compressed:
        count = int(np.frombuffer(take(0, size.itemsize), dtype=size)[0])
        return take(0, size.itemsize + count)[size.itemsize :]
    blocks = int(np.frombuffer(take(0, size.itemsize), dtype=size)[0])
    header = (3 + blocks) * size.itemsize
    lengths = np.frombuffer(take(0, header), dtype=size)[3:].astype(int)
    content = take(stored(header), int(lengths.sum()))
    cuts = np.cumsum([0, *lengths.tolist()])
    return b"".join(zlib.decompress(content[a:b]) for a, b in pairwise(cuts.tolist()))
