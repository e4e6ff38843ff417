"""Files of surfaces made of polygons: STL, OBJ, PLY, OFF and VTP."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from turgor.materials.errors import SegmentationError
from turgor.meshing.ply import read_ply
from turgor.meshing.tetrahedra import Floats, Integers
from turgor.meshing.vtp import read_vtp

FRAMES: tuple[Literal["RAS", "LPS"], ...] = ("RAS", "LPS")

FORMATS = (".stl", ".obj", ".ply", ".vtp", ".off")

Polygons = tuple[Floats, Integers, Integers]
"""Points, shape (n, 3); the corners of all polygons in a row; the number of corners of each."""


def read_triangles(path: Path) -> tuple[Floats, Integers]:
    """Read a surface; polygons are cut into triangles around their first corner.

    Returns:
        Points in the unit and frame of the file, shape (n, 3), and triangles, shape (t, 3).

    Raises:
        SegmentationError: The file is missing, unreadable, of another format, or holds no triangles.
    """
    if not path.is_file():
        raise SegmentationError(f"there is no file {path}")
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise SegmentationError(f"{path}: is none of {', '.join(FORMATS)}")
    try:
        points, corners, counts = _READERS[kind](path.read_bytes())
        triangles = _fans(corners, counts)
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        OverflowError,
        zlib.error,
        lzma.LZMAError,
        MemoryError,
    ) as error:
        raise SegmentationError(
            f"{path}: cannot be read as {kind[1:].upper()} ({_why(error)}); is it complete?"
        ) from None
    except OSError as error:
        raise SegmentationError(f"{path}: cannot be read ({error.strerror})") from None
    if points.ndim != 2 or points.shape[1] != 3 or not len(triangles):
        raise SegmentationError(f"{path}: holds no triangles")
    if not np.isfinite(points).all() or np.abs(points).max() > 1e30:
        raise SegmentationError(f"{path}: holds coordinates that are not a number, or far too large for one")
    if triangles.min() < 0 or triangles.max() >= len(points):
        raise SegmentationError(f"{path}: names vertices that it does not hold; is it complete?")
    return points, triangles


def _why(error: Exception) -> str:
    """Return what an error says, on one line."""
    said = str(error).splitlines()[0] if str(error) else "its content is not what its name says"
    return said if len(said) < 120 else said[:120] + " ..."


def written_frame(path: Path) -> Literal["RAS", "LPS"] | None:
    """Return the frame that 3D Slicer notes at the head of STL, OBJ and PLY files, or None."""
    with path.open("rb") as file:
        head = file.read(1024)
    return next((frame for frame in FRAMES if f"SPACE={frame}".encode() in head), None)


def _fans(corners: Integers, counts: Integers) -> Integers:
    """Cut polygons into triangles around their first corners; points and lines are left out."""
    if (counts < 0).any() or counts.sum() != len(corners):
        raise ValueError("its polygons do not add up")
    start = np.cumsum(counts) - counts
    triangles = [np.zeros((0, 3), dtype=np.int64)]
    for n in np.unique(counts[counts >= 3]).tolist():
        own = corners[start[counts == n][:, None] + np.arange(n)]
        triangles += [own[:, [0, i, i + 1]] for i in range(1, n - 1)]
    return np.concatenate(triangles)


def _read_stl(raw: bytes) -> Polygons:
    """Read STL; it is text when its length is not that of its binary form and its first word is solid."""
    count = int(np.frombuffer(raw, "<u4", count=1, offset=80)[0]) if len(raw) >= 84 else 0
    if (len(raw) >= 84 and len(raw) == 84 + 50 * count) or not raw.lstrip().lower().startswith(b"solid"):
        if len(raw) < 84 + 50 * count or len(raw) < 84:
            raise ValueError(f"it holds {max(len(raw) - 84, 0) // 50} of {count} triangles")
        rows = np.frombuffer(raw, np.dtype([("f", "<f4", (12,)), ("a", "<u2")]), count=count, offset=84)
        points = rows["f"][:, 3:].reshape(-1, 3).astype(np.float64)
    else:
        if b"endsolid" not in raw.lower():
            raise ValueError("it does not end with endsolid")
        points = np.array(re.findall(rb"(?i)\bvertex\s+(\S+)\s+(\S+)\s+(\S+)", raw), dtype=np.float64).reshape(-1, 3)
        if len(points) != 3 * len(re.findall(rb"(?i)\bendfacet\b", raw)):
            raise ValueError("a facet has not three vertices")
    return points, np.arange(len(points)), np.full(len(points) // 3, 3)


def _read_obj(raw: bytes) -> Polygons:
    """Read OBJ: v and f lines, with relative numbers and with textures and normals, which are left out."""
    points: list[list[bytes]] = []
    corners: list[int] = []
    counts: list[int] = []
    for line in raw.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").splitlines():
        words = line.partition(b"#")[0].split()
        if not words:
            continue
        if words[0] == b"v":
            points.append(words[1:4])
        elif words[0] == b"f":
            own = [int(word.partition(b"/")[0]) for word in words[1:]]
            if 0 in own:
                raise ValueError("a face names vertex 0; they count from 1")
            corners += [i - 1 if i > 0 else len(points) + i for i in own]
            counts.append(len(own))
    return np.array(points, dtype=np.float64).reshape(-1, 3), np.array(corners, np.int64), np.array(counts, np.int64)


def _read_off(raw: bytes) -> Polygons:
    """Read OFF with comments, normals and colors; the latter two are left out."""
    lines = [words for line in raw.splitlines() if (words := line.partition(b"#")[0].split())]
    if not lines or not lines[0][0].upper().endswith(b"OFF") or b"BINARY" in lines[0]:
        raise ValueError("it has no header of OFF as text")
    if lines[0][0].upper().startswith((b"4", b"N4")):
        raise ValueError("it is four-dimensional")
    head = lines[0][1:] if len(lines[0]) > 1 else lines[1]
    first = 1 if len(lines[0]) > 1 else 2
    vertices, faces = int(head[0]), int(head[1])
    if min(vertices, faces) < 0 or len(lines) < first + vertices + faces:
        raise ValueError(f"it holds less than the {vertices} vertices and {faces} faces that it names")
    points = np.array([words[:3] for words in lines[first : first + vertices]], dtype=np.float64)
    return points.reshape(-1, 3), *_counted(lines[first + vertices : first + vertices + faces])


def _counted(rows: Sequence[Sequence[bytes]]) -> tuple[Integers, Integers]:
    """Read rows that begin with the number of corners."""
    counts = [int(row[0]) for row in rows]
    corners = [int(word) for row, n in zip(rows, counts, strict=True) for word in row[1 : 1 + n]]
    return np.array(corners, dtype=np.int64), np.array(counts, dtype=np.int64)


_READERS: dict[str, Callable[[bytes], Polygons]] = {
    ".stl": _read_stl,
    ".obj": _read_obj,
    ".ply": read_ply,
    ".off": _read_off,
    ".vtp": read_vtp,
}
