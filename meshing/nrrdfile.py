"""NRRD, and the segments that 3D Slicer names in the headers of its .seg.nrrd."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turgor.materials.errors import SegmentationError
from turgor.materials.quantity import factor
from turgor.meshing.voxels import LPS_TO_RAS, Color, Floats, Image, Segment, refuse_absurd

_LAS = np.diag([-1.0, 1.0, 1.0, 1.0])

_SPACES = {
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": _LAS,
    "las": _LAS,
    "left-posterior-superior": LPS_TO_RAS,
    "lps": LPS_TO_RAS,
}

_BYTES = {
    "double": 8,
    "float": 4,
    "int64": 8,
    "uint64": 8,
    "int32": 4,
    "uint32": 4,
    "int": 4,
    "short": 2,
    "int16": 2,
}


def read_nrrd(path: Path) -> Image:
    """Read NRRD; its space decides where right and left are.

    Raises:
        SegmentationError: The header does not tell right from left, or has axes that are none of an image.
        ValueError: The file is none.
    """
    import nrrd

    try:
        header = nrrd.read_header(str(path))
        sizes = tuple(int(n) for n in header["sizes"])
        encoding = str(header.get("encoding", "raw")).lower()
        stored = path.stat().st_size
        if "data file" not in header and "datafile" not in header:
            packed = encoding not in ("raw", "txt", "text", "ascii")
            refuse_absurd(path, sizes, 1 if packed else _voxel_bytes(header), stored, packed)
        else:
            refuse_absurd(path, sizes, 0, stored, False)
        values, header = nrrd.read(str(path))
    except nrrd.NRRDError as error:
        raise ValueError(str(error)) from None
    return _image(path, values, header)


def _voxel_bytes(header: Mapping[str, object]) -> int:
    """Return the bytes of one voxel, at least."""
    word = str(header.get("type", "")).removesuffix("_t").split(" ")[-1]
    return _BYTES.get(word, 1)


def _image(path: Path, values: NDArray[np.number], header: Mapping[str, object]) -> Image:
    """Return the voxels with the channels, if any, as the last axis."""
    affine, channel = _affine(path, header, values.ndim)
    segments = _segments(header, values.ndim > 3)
    if channel is None:
        return Image(values, affine, segments)
    kinds = header.get("kinds")
    kind = str(list(kinds)[channel]).lower() if isinstance(kinds, list | tuple) and len(kinds) > channel else ""
    means = "time" if kind == "time" else "color" if "color" in kind else "vector" if kind not in ("", "list") else ""
    return Image(np.moveaxis(values, channel, -1), affine, segments, "list" if segments else means)


def _affine(path: Path, header: Mapping[str, object], axes: int) -> tuple[Floats, int | None]:
    """Return voxel index to RAS millimeters, and which axis has no direction in space."""
    space = str(header.get("space", "")).lower()
    if space not in _SPACES:
        raise SegmentationError(
            f"{path}: its header says space {space or 'nothing'!r}, so right and left are not known; "
            "write it with left-posterior-superior or right-anterior-superior"
        )
    rows = _directions(header["space directions"])
    without = [axis for axis, row in enumerate(rows) if row is None]
    if len(rows) != axes or axes - len(without) != 3 or len(without) > 1:
        raise SegmentationError(
            f"{path}: has {axes} axes of which {axes - len(without)} lie in space, expected three, and at most one "
            "more for masks or layers"
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array([row for row in rows if row is not None]).T
    affine[:3, 3] = np.asarray(header.get("space origin", np.zeros(3)), dtype=np.float64)
    units = header.get("space units")
    scale = factor(str(list(units)[0]), "mm") if isinstance(units, list | tuple) and units else 1.0  # noqa: RUF015
    affine[:3] *= scale
    return np.asarray(_SPACES[space] @ affine), without[0] if without else None


def _directions(raw: object) -> list[Floats | None]:
    """Return the direction of each axis; None where it has none."""
    if not isinstance(raw, Iterable):
        raise ValueError("its space directions cannot be read")
    rows = [None if row is None else np.asarray(row, dtype=np.float64) for row in raw]
    return [None if row is None or np.isnan(row).all() else row for row in rows]


def _segments(header: Mapping[str, object], stacked: bool) -> tuple[Segment, ...]:
    """Return 3D Slicer's segments in their order.

    Old versions write one layer for each segment and neither layer nor value.
    """
    numbers = sorted({int(match[1]) for key in header if (match := re.fullmatch(r"Segment(\d+)_(?:Name|ID)", key))})
    found = []
    for number in numbers:
        said = {key: header.get(f"Segment{number}_{key}") for key in ("Name", "ID", "Layer", "LabelValue", "Color")}
        layer = int(str(said["Layer"] or (number if stacked and said["LabelValue"] is None else 0)))
        name = str(said["Name"] or said["ID"]).strip()
        found.append(Segment(name, layer, int(str(said["LabelValue"] or 1)), _color(said["Color"])))
    return tuple(found)


def _color(raw: object) -> Color | None:
    """Return a color from three numbers between 0 and 1."""
    try:
        red, green, blue = (round(255 * min(max(float(word), 0.0), 1.0)) for word in str(raw).split())
    except ValueError:
        return None
    return red, green, blue
