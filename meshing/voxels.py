"""An image as its file gives it, before anybody says what its values mean."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turgor.materials.errors import SegmentationError

Floats = NDArray[np.float64]
Color = tuple[int, int, int]

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    RecursionError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""What libraries raise when they read a broken file."""

MOST_VOXELS = 2_000_000_000
MOST_COMPRESSION = 1_100
"""gzip cannot make a file smaller than by about this factor."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Segment:
    """A segment that a header names.

    Attributes:
        name: What the header calls it.
        layer: In which layer of the image it lies, from 0.
        value: Its value there.
        color: Red, green, blue, 0 to 255; None where the header gives none.
    """

    name: str
    layer: int
    value: int
    color: Color | None = None


@dataclass(frozen=True)
class Image:
    """Values on a grid of voxels in the world.

    Attributes:
        values: Shape (nx, ny, nz), or (nx, ny, nz, n) for n channels.
        affine: Voxel index to RAS millimeters, shape (4, 4).
        segments: What the header names.
        channels: What the header says that the channels are ("time", "vector", "color"); empty where it says nothing.
        notes: What was chosen because the case says so, one sentence each.
        repairs: What was mended or assumed in reading, one sentence each.
    """

    values: NDArray[np.number]
    affine: Floats
    segments: tuple[Segment, ...] = ()
    channels: str = ""
    notes: tuple[str, ...] = field(default=())
    repairs: tuple[str, ...] = field(default=())

    @property
    def names(self) -> Mapping[int, str]:
        """Return label value -> name, where the image has one layer and the header names some."""
        return {} if self.values.ndim > 3 else {segment.value: segment.name for segment in self.segments}


def refuse_absurd(path: Path, shape: tuple[int, ...], voxel_bytes: int, stored: int, compressed: bool) -> None:
    """Raise when a header claims more voxels than can be true, before anything is loaded."""
    if min(shape, default=0) < 0:
        raise SegmentationError(f"{path}: its header claims {' x '.join(map(str, shape))} voxels; is it complete?")
    claimed = 1
    for n in shape:
        claimed *= int(n)
    if claimed > MOST_VOXELS:
        raise SegmentationError(
            f"{path}: its header claims {claimed:.3g} voxels ({' x '.join(map(str, shape))}), "
            f"more than {MOST_VOXELS:.0e}; crop or resample it"
        )
    if claimed * voxel_bytes > stored * (MOST_COMPRESSION if compressed else 1) + 4096:
        raise SegmentationError(
            f"{path}: its header claims {claimed:.3g} voxels, but the file holds only {stored} bytes; is it complete?"
        )
