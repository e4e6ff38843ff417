"""The grid of a DICOM series: slices with a place, a direction and a spacing each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from turgor.materials.errors import SegmentationError
from turgor.meshing.spec import is_slice
from turgor.meshing.voxels import LPS_TO_RAS, UNREADABLE, Floats

if TYPE_CHECKING:
    from pydicom import Dataset

UNEVEN = 0.02
"""Deviation of a slice from its place in an even series, in slices, up to which the series counts as even."""

_IMAGES = ("CT", "MR", "PT", "NM", "US")
_TAGS = (
    "Modality",
    "FrameOfReferenceUID",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "Rows",
    "Columns",
)


@dataclass(frozen=True)
class Series:
    """A grid of voxels.

    Attributes:
        shape: Columns, rows, slices.
        affine: Voxel index to RAS millimeters, shape (4, 4).
        lone: Whether only one slice is known.
        notes: What was chosen, one sentence each.
        repairs: What was assumed.
    """

    shape: tuple[int, int, int]
    affine: Floats
    lone: bool
    notes: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slice:
    """A slice: columns run along `right`, rows along `down`, in patient coordinates (LPS, mm)."""

    path: Path
    frame: str
    series: str
    origin: Floats
    right: Floats
    down: Floats
    thickness: float
    shape: tuple[int, int]


def read_series(structures: Path, reference: Path | None, frame: str, uids: frozenset[str]) -> Series:
    """Read the grid that contours were drawn on.

    Args:
        structures: The RT-STRUCT, to speak of; its folder is searched when there is no reference.
        reference: Folder of the series, or one slice.
        frame: Frame of reference of the contours.
        uids: Series that the RT-STRUCT refers to.

    Raises:
        SegmentationError: There is no such series, or its slices are not even.
    """
    place = reference if reference is not None else structures.parent
    slices = _read(place)
    if not slices:
        raise SegmentationError(
            f"mesh.image.reference: {place} holds no slice of a DICOM series; name the folder of the series that "
            f"{structures.name} was drawn on"
        )
    matching = [one for one in slices if one.frame == frame]
    if not matching:
        raise SegmentationError(
            f"mesh.image.reference: the slices in {place} lie in another frame of reference than {structures.name}; "
            "name the series that it was drawn on"
        )
    chosen = [one for one in matching if one.series in uids] or matching
    names = sorted({one.series for one in chosen})
    if len(names) > 1:
        raise SegmentationError(
            f"mesh.image.reference: {place} holds {len(names)} series in the frame of {structures.name}; keep the one "
            "that it was drawn on in a folder of its own"
        )
    return _grid(place, chosen)


def _read(place: Path) -> list[Slice]:
    """Read the headers of all slices of a folder, or of one file."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    paths = sorted(path for path in place.iterdir() if path.is_file() and is_slice(path)) if place.is_dir() else [place]
    found = []
    for path in paths:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            one = _slice(path, header)
        except (InvalidDicomError, *UNREADABLE):
            one = None
        if one is not None:
            found.append(one)
    return found


def _slice(path: Path, header: Dataset) -> Slice | None:
    """Return a slice from its header; None if it is no image with a place."""
    if str(header.get("Modality", "")) not in _IMAGES or header.get("ImagePositionPatient") is None:
        return None
    across, along = np.array(header.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    between_rows, between_columns = (float(x) for x in header.PixelSpacing)
    return Slice(
        path,
        str(header.FrameOfReferenceUID),
        str(header.get("SeriesInstanceUID", "")),
        np.array(header.ImagePositionPatient, dtype=np.float64),
        across / np.linalg.norm(across) * between_columns,
        along / np.linalg.norm(along) * between_rows,
        float(header.get("SliceThickness") or 0.0),
        (int(header.Columns), int(header.Rows)),
    )


def _grid(place: Path, slices: Sequence[Slice]) -> Series:
    """Sort the slices along their normal, and return their grid."""
    first = slices[0]
    normal = np.cross(first.right, first.down)
    normal /= np.linalg.norm(normal)
    for one in slices:
        if one.shape != first.shape or np.abs([one.right - first.right, one.down - first.down]).max() > 1e-3:
            raise SegmentationError(
                f"mesh.image.reference: {one.path.name} and {first.path.name} differ in size, spacing or direction; "
                "name a folder with one series"
            )
    heights = np.array([one.origin @ normal for one in slices])
    order = np.argsort(heights, kind="stable")
    heights, origins = heights[order], np.array([slices[i].origin for i in order])
    keep = np.concatenate([[True], np.diff(heights) > 1e-3])
    heights, origins = heights[keep], origins[keep]
    if len(heights) == 1:
        return Series((*first.shape, 1), _affine(first, origins[0], normal * (first.thickness or 1.0)), True)
    steps = np.diff(heights)
    at = (heights - heights[0]) / float(np.median(steps[steps < 1.5 * steps.min()]))
    count = int(np.rint(at[-1])) + 1
    level = (origins[-1] - origins[0]) / (count - 1)
    apart = np.abs(origins - origins[0] - np.rint(at)[:, None] * level).max() / np.linalg.norm(level)
    if apart > UNEVEN:
        raise SegmentationError(
            f"mesh.image.reference: the slices in {place} are not evenly spaced: they lie {steps.min():.4g} to "
            f"{steps.max():.4g} mm apart"
        )
    missing = count - len(heights)
    notes = (
        (f"{place.name}: {missing} slices of the series are missing; their places were filled in",) if missing else ()
    )
    return Series((*first.shape, count), _affine(first, origins[0], level), False, notes)


def _affine(one: Slice, origin: Floats, level: Floats) -> Floats:
    """Return voxel index (column, row, slice) to RAS millimeters."""
    affine = np.eye(4)
    affine[:3] = np.column_stack([one.right, one.down, level, origin])
    return np.asarray(LPS_TO_RAS @ affine)
