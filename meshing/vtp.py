"""VTK's XML PolyData (.vtp): text, base64 or appended, compressed or not."""

from __future__ import annotations

import base64
import lzma
import zlib
from collections.abc import Callable
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.tetrahedra import Floats, Integers

_KINDS = {"Float": "f", "Int": "i", "UInt": "u"}

_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "vtkZLibDataCompressor": zlib.decompress,
    "vtkLZMADataCompressor": lzma.decompress,
}


def read_vtp(raw: bytes) -> tuple[Floats, Integers, Integers]:
    """Read points and polygons.

    Returns:
        Points, shape (n, 3); the corners of all polygons in a row; and the number of corners of each.

    Raises:
        ValueError: The content is not PolyData, or packed in a way that is not known.
    """
    head, mark, tail = raw.partition(b"<AppendedData")
    opening, _, appended = tail.partition(b"_")
    try:
        root = ElementTree.fromstring(head + (b"</VTKFile>" if mark else b""))
    except ElementTree.ParseError as error:
        raise ValueError(f"its XML is broken: {error}") from None
    arrays = _Arrays(root, appended, b'encoding="base64"' in opening)
    points, corners, counts = [np.zeros((0, 3))], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    start = 0
    for piece in root.findall("./PolyData/Piece"):
        if int(piece.get("NumberOfStrips", "0")):
            raise ValueError("it holds triangle strips; write it as triangles")
        points.append(arrays.read(piece.find("./Points/DataArray")).reshape(-1, 3).astype(np.float64))
        polygons = {entry.get("Name"): entry for entry in piece.findall("./Polys/DataArray")}
        if int(piece.get("NumberOfPolys", "1")):
            corners.append(arrays.read(polygons.get("connectivity")).astype(np.int64) + start)
            ends = np.concatenate([[0], arrays.read(polygons.get("offsets")).astype(np.int64)])
            counts.append(ends[1:] - ends[:-1])
        start += len(points[-1])
    if len(points) == 1:
        raise ValueError("it holds no PolyData")
    return np.concatenate(points), np.concatenate(corners), np.concatenate(counts)


class _Arrays:
    """The arrays of one file and where their bytes are."""

    def __init__(self, root: ElementTree.Element, appended: bytes, encoded: bool) -> None:
        """Take the root, the bytes after the underscore of AppendedData, and whether these are base64."""
        self.order = ">" if root.get("byte_order") == "BigEndian" else "<"
        self.size = np.dtype(self.order + ("u8" if root.get("header_type") == "UInt64" else "u4"))
        self.compressor = root.get("compressor")
        self.appended, self.encoded = appended, encoded

    def read(self, entry: ElementTree.Element | None) -> NDArray[np.generic]:
        """Return the numbers of a DataArray."""
        if entry is None:
            raise ValueError("an array is missing")
        name = str(entry.get("type"))
        letters = name.rstrip("0123456789")
        kind = np.dtype(self.order + _KINDS[letters] + str(int(name.removeprefix(letters)) // 8))
        if entry.get("format") == "ascii":
            return np.array((entry.text or "").split(), dtype=np.float64).astype(kind.newbyteorder("="))
        inline = entry.get("format") == "binary"
        data = (entry.text or "").strip().encode() if inline else self.appended[int(str(entry.get("offset"))) :]
        return np.frombuffer(self._unpacked(data, inline or self.encoded), dtype=kind)

    def _unpacked(self, data: bytes, encoded: bool) -> bytes:
        """Return the bytes of one block: a header of sizes, then the content, either of them perhaps base64."""

        def take(start: int, count: int) -> bytes:
            if not encoded:
                return data[start : start + count]
            return base64.b64decode(data[start : start + 4 * ((count + 2) // 3)])[:count]

        def stored(count: int) -> int:
            return 4 * ((count + 2) // 3) if encoded else count

        width = self.size.itemsize
        first = int(np.frombuffer(take(0, width), dtype=self.size)[0])
        if self.compressor is None:
            return take(0, width + first)[width:]
        if self.compressor not in _UNPACK:
            raise ValueError(f"it is compressed by {self.compressor}; write it with zlib or uncompressed")
        header = (3 + first) * width
        lengths = np.frombuffer(take(0, header), dtype=self.size)[3:].astype(int)
        content = take(stored(header), int(lengths.sum()))
        cuts = np.cumsum([0, *lengths.tolist()]).tolist()
        return b"".join(_UNPACK[self.compressor](content[a:b]) for a, b in pairwise(cuts))
