"""Planar contours to voxels: even-odd in each plane, and what lies between planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from turgor.materials.errors import SegmentationError
from turgor.meshing.voxels import Floats

Mask = NDArray[np.bool_]

OFF = 0.02
"""Distance of a plane from a slice, in slices, that is not worth a word."""

EDGE = 1.0
"""Distance beyond the edge of a slice up to which a contour counts as drawn along it [pixels]."""

FAR = 0.25
"""Distance at which most planes of a structure lie between slices, so that the series is another one."""


@dataclass(frozen=True)
class Plane:
    """The contours of one structure in one plane.

    Attributes:
        height: In slices of the grid.
        contours: In voxel indices along the first and second axis, shape (k, 2) each.
    """

    height: float
    contours: tuple[Floats, ...]


@dataclass(frozen=True)
class Voxelized:
    """A structure on a grid.

    Attributes:
        mask: Voxels whose centers lie inside.
        repairs: What was mended, one sentence each.
    """

    mask: Mask
    repairs: tuple[str, ...]


def voxelized(name: str, planes: Sequence[Plane], shape: tuple[int, int, int]) -> Voxelized:
    """Fill contours plane by plane: a voxel is in where its center is inside an odd number of contours of the plane.

    So a contour in a contour is a hole, and one that runs into itself along a keyhole has that hole, too.

    Args:
        name: The structure, to speak of.
        planes: Its contours.
        shape: Of the grid.

    Raises:
        SegmentationError: The planes lie between the slices of the grid, or outside of it.
    """
    mask = np.zeros(shape, dtype=np.bool_, order="F")
    if not planes:
        return Voxelized(mask, ())
    nearest, off, repairs = _by_slice(name, planes)
    beyond = [k for k in nearest if not 0 <= k < shape[2]]
    if beyond:
        raise SegmentationError(
            f"mesh.image.reference: {len(beyond)} of {len(nearest)} planes of structure {name!r} lie outside of the "
            "reference and would be lost; name the whole series that it was drawn on"
        )
    cut = sum(_leaves(plane, shape) for plane in nearest.values())
    if cut:
        repairs.append(f"{name}: {cut} of {len(nearest)} planes were cut off at the edge of the reference")
    inside = sorted(nearest)
    for k in inside:
        mask[:, :, k] = filled(nearest[k].contours, shape[:2])
    if off > OFF:
        repairs.append(f"{name}: its planes lie up to {off:.2g} slices off; each went to the nearest slice")
    repairs += _between(name, mask, inside)
    return Voxelized(mask, tuple(repairs))


def _leaves(plane: Plane, shape: tuple[int, int, int]) -> bool:
    """Whether a plane has contours more than a voxel outside of the grid."""
    points = np.concatenate(plane.contours)
    return bool((points < -0.5 - EDGE).any() or (points > np.array(shape[:2]) - 0.5 + EDGE).any())


def _by_slice(name: str, planes: Sequence[Plane]) -> tuple[dict[int, Plane], float, list[str]]:
    """Return the nearest plane of each slice that has one, how far they are off at most, and what was left out."""
    off = np.array([abs(plane.height - np.rint(plane.height)) for plane in planes])
    if float(np.median(off)) > FAR and len(planes) > 1:
        raise SegmentationError(
            f"mesh.image: contours of structure {name!r} lie between the slices of the reference; name the series that "
            "they were drawn on"
        )
    found: dict[int, Plane] = {}
    for plane in planes:
        k = round(plane.height)
        if k not in found or abs(plane.height - k) < abs(found[k].height - k):
            found[k] = plane
    left = len(planes) - len(found)
    repairs = [f"{name}: {left} of {len(planes)} planes lie between slices that have one, and were left out"]
    worst = max(abs(plane.height - k) for k, plane in found.items())
    return found, worst, repairs if left else []


def filled(contours: Sequence[Floats], shape: tuple[int, int]) -> Mask:
    """Return the pixels whose centers lie inside an odd number of contours.

    Each edge flips the pixels behind it along its row; an edge has its lower end, not its upper one, so that a
    corner counts once.

    Args:
        contours: Points in pixels along the first and second axis, shape (k, 2) each.
        shape: Pixels along them.
    """
    flips = np.zeros((shape[0] + 1, shape[1]), dtype=np.int32)
    for points in contours:
        x, y = points[:, 0], points[:, 1]
        after_x, after_y = np.roll(x, -1), np.roll(y, -1)
        low = np.clip(np.ceil(np.minimum(y, after_y)), 0, shape[1]).astype(np.int64)
        high = np.clip(np.ceil(np.maximum(y, after_y)), 0, shape[1]).astype(np.int64)
        count = high - low
        edge = np.repeat(np.arange(len(x)), count)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + low[edge]
        share = (row - y[edge]) / (after_y[edge] - y[edge])
        at = x[edge] + share * (after_x[edge] - x[edge])
        np.add.at(flips, (np.clip(np.ceil(at), 0, shape[0]).astype(np.int64), row), 1)
    return np.asarray(np.cumsum(flips[:-1], axis=0) % 2 == 1)


def _between(name: str, mask: Mask, drawn: Sequence[int]) -> list[str]:
    """Fill slices that were not drawn between two that were, by the shape between; return what was done.

    Structures are often drawn on every second or third slice. A gap that is wider than twice the usual one, or whose
    ends do not overlap, parts two pieces.
    """
    gaps = np.diff(drawn)
    wide = [(k, int(gap)) for k, gap in zip(drawn, gaps, strict=False) if gap > 1]
    if not wide:
        return []
    usual = int(np.median(gaps))
    made, left = 0, 0
    for k, gap in wide:
        low, high = mask[:, :, k], mask[:, :, k + gap]
        if gap > 2 * usual or not (low & high).any():
            left += gap - 1
            continue
        near, far = _depth(low), _depth(high)
        for step in range(1, gap):
            mask[:, :, k + step] = near * (gap - step) + far * step > 0
        made += gap - 1
    repairs = []
    if made:
        repairs.append(f"{name}: {made} slices without contours were filled by the shape between their neighbors")
    if left:
        repairs.append(f"{name}: {left} slices without contours part its pieces and were left empty")
    return repairs


def _depth(mask: Mask) -> Floats:
    """Return the distance to the edge of a shape in pixels, positive inside."""
    return np.asarray(ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask), dtype=np.float64)
