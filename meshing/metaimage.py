"""MHA and MHD (MetaImage), whose frame is LPS."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turgor.materials.errors import SegmentationError
from turgor.meshing.voxels import LPS_TO_RAS, Floats, Image, refuse_absurd

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def read_meta(path: Path) -> Image:
    """Read MHA or MHD.

    Raises:
        SegmentationError: The data is not beside the header, or is not what the header claims.
        ValueError: The file is none.
    """
    header, end = _header(path)
    shape = tuple(int(n) for n in header["DimSize"].split())
    channels = int(header.get("ElementNumberOfChannels", "1"))
    shape = shape if channels == 1 else (channels, *shape)
    big = "true" in (header.get("BinaryDataByteOrderMSB", "") + header.get("ElementByteOrderMSB", "")).lower()
    kind = np.dtype((">" if big else "<") + _TYPES[header["ElementType"]])
    source, start = _place(path, header, end)
    compressed = header.get("CompressedData", "False").lower() == "true"
    refuse_absurd(path, shape, kind.itemsize, source.stat().st_size, compressed)
    flat = _numbers(source, start, kind, int(np.prod(shape)), compressed)
    values = flat.reshape(shape, order="F").astype(kind.newbyteorder("="), copy=False)
    axes = len(shape) - (channels > 1)
    affine = LPS_TO_RAS @ _affine(header, axes)
    return Image(np.moveaxis(values, 0, -1) if channels > 1 else values, affine, (), "vector" if channels > 1 else "")


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Return the header and the byte at which it ends."""
    header: dict[str, str] = {}
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(4096), b""):
            key, found, value = line.decode("utf-8", "replace").partition("=")
            if not found:
                break
            header[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return header, file.tell()
    raise ValueError("the header has no ElementDataFile")


def _place(path: Path, header: Mapping[str, str], end: int) -> tuple[Path, int]:
    """Return the file that holds the voxels, and at which byte they start; -1 counts from the end."""
    name = header["ElementDataFile"]
    if name.upper() == "LOCAL":
        return path, end
    if name.upper().startswith("LIST") or "%" in name:
        raise SegmentationError(f"{path}: keeps each slice in a file of its own; write it as one .mha")
    source = path.parent / name
    if not source.is_file():
        raise SegmentationError(f"{path}: names the data file {name}, which is not beside it")
    return source, int(header.get("HeaderSize", "0"))


def _numbers(source: Path, start: int, kind: np.dtype[np.number], count: int, compressed: bool) -> NDArray[np.number]:
    """Return the voxels in the order of the file."""
    if not compressed:
        start = start if start >= 0 else source.stat().st_size - count * kind.itemsize
        found: NDArray[np.number] = np.fromfile(source, dtype=kind, count=count, offset=max(start, 0))
        if len(found) < count:
            raise ValueError(f"{len(found)} voxels of {count}")
        return found
    with source.open("rb") as file:
        file.seek(max(start, 0))
        raw = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(file.read(), count * kind.itemsize)
    return np.frombuffer(raw, dtype=kind, count=count)


def _affine(header: Mapping[str, str], axes: int) -> Floats:
    """Return voxel index to world; each row of the header's matrix is the direction of one axis."""

    def numbers(keys: tuple[str, ...], otherwise: Floats) -> Floats:
        text = next((header[key] for key in keys if key in header), None)
        return otherwise if text is None else np.array([float(word) for word in text.split()])

    spacing = numbers(("ElementSpacing", "ElementSize"), np.ones(axes))
    origin = numbers(("Offset", "Position", "Origin"), np.zeros(axes))
    matrix = numbers(("TransformMatrix", "Rotation", "Orientation"), np.eye(axes).ravel()).reshape(axes, axes)
    affine = np.eye(4)
    affine[:3, :3] = matrix[:3, :3].T * spacing[:3]
    affine[:3, 3] = origin[:3]
    return affine
