"""DICOM RT-STRUCT: planar contours on the grid of the series that they were drawn on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from turgor.materials.errors import SegmentationError
from turgor.meshing.contours import Plane, voxelized
from turgor.meshing.masks import Layer, Layers, Mask
from turgor.meshing.series import Series, read_series
from turgor.meshing.voxels import LPS_TO_RAS, UNREADABLE, Color, Floats

if TYPE_CHECKING:
    from pydicom import Dataset

FLAT = 0.05
"""Distance of its points from its plane up to which a contour counts as planar [mm]."""

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True)
class Structure:
    """A structure of an RT-STRUCT.

    Attributes:
        number: Its ROI number.
        name: Its ROI name.
        kind: What the header says it is: "EXTERNAL", "ORGAN", "GTV", ...; empty where it says nothing.
        color: Red, green, blue.
        contours: Closed planar contours in RAS millimeters, shape (k, 3) each.
        open: How many contours are points or lines.
    """

    number: int
    name: str
    kind: str
    color: Color | None
    contours: tuple[Floats, ...]
    open: int


def read_structures(path: Path, reference: Path | None) -> Layers:
    """Read an RT-STRUCT as one mask a structure, made when it is asked for.

    Args:
        path: The file.
        reference: The series that the contours were drawn on: its folder, or one slice; None looks beside the file.

    Raises:
        SegmentationError: The file is no RT-STRUCT, or the reference is not that of the contours.
    """
    try:
        dataset = _read(path)
        structures = _structures(path, dataset)
        series = read_series(path, reference, _frame(path, dataset), _series_uids(dataset))
        grid = _with_planes(path, series, structures)
    except UNREADABLE as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SegmentationError(f"{path}: cannot be read as an RT-STRUCT ({why}); is it complete?") from None

    def mask(index: int) -> tuple[Mask, tuple[str, ...]]:
        one = structures[index]
        found = voxelized(one.name, _planes(one, grid), grid.shape)
        dropped = (f"{one.name}: {one.open} contours that are points or lines were left out",) if one.open else ()
        return found.mask, (*dropped, *found.repairs)

    layers = tuple(Layer(one.number, one.name, one.color) for one in structures)
    return Layers("structure", layers, grid.shape, grid.affine, mask, grid.notes, grid.repairs)


def structures_of(path: Path) -> tuple[Structure, ...]:
    """Return the structures of an RT-STRUCT.

    Raises:
        SegmentationError: The file is none.
    """
    return _structures(path, _read(path))


def _read(path: Path) -> Dataset:
    """Read the file; say what it is if it holds no contours."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    if not path.is_file():
        raise SegmentationError(f"there is no file {path}")
    try:
        dataset = pydicom.dcmread(path)
        modality = str(dataset.get("Modality", "nothing"))
    except (InvalidDicomError, *UNREADABLE) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SegmentationError(f"{path}: cannot be read as DICOM ({why}); is it complete?") from None
    if modality != "RTSTRUCT":
        raise SegmentationError(
            f"{path}: is DICOM of modality {modality}, expected RTSTRUCT; name the file with the contours as file, and "
            "the series they were drawn on as reference"
        )
    return dataset


def _frame(path: Path, dataset: Dataset) -> str:
    """Return the one frame of reference of all structures."""
    frames = {str(item.ReferencedFrameOfReferenceUID) for item in dataset.StructureSetROISequence}
    if len(frames) != 1:
        raise SegmentationError(
            f"{path}: its structures lie in {len(frames)} frames of reference, expected one; export one structure set"
        )
    return frames.pop()


def _series_uids(dataset: Dataset) -> frozenset[str]:
    """Return the series that the contours were drawn on, as far as the file says."""
    found = set()
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                found.add(str(series.SeriesInstanceUID))
    return frozenset(found)


def _structures(path: Path, dataset: Dataset) -> tuple[Structure, ...]:
    """Return the structures in the order of their list."""
    kinds = {
        int(item.ReferencedROINumber): str(item.get("RTROIInterpretedType") or "")
        for item in dataset.get("RTROIObservationsSequence") or ()
    }
    drawn = {int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence") or ()}
    found = []
    for item in dataset.get("StructureSetROISequence") or ():
        number = int(item.ROINumber)
        name = str(item.get("ROIName") or f"ROI {number}").strip()
        contours, left, color = _contours(path, name, drawn.get(number))
        found.append(Structure(number, name, kinds.get(number, ""), color, contours, left))
    if not any(one.contours for one in found):
        raise SegmentationError(f"{path}: holds no closed contours")
    return tuple(found)


def _contours(path: Path, name: str, item: Dataset | None) -> tuple[tuple[Floats, ...], int, Color | None]:
    """Return the closed contours of a structure in RAS millimeters, how many are not closed, and the color."""
    if item is None:
        return (), 0, None
    closed, left = [], 0
    for contour in item.get("ContourSequence") or ():
        numbers = np.asarray(contour.get("ContourData") or (), dtype=np.float64)
        if len(numbers) % 3 or not np.isfinite(numbers).all():
            raise SegmentationError(f"{path}: a contour of {name!r} has points without three coordinates")
        if str(contour.get("ContourGeometricType", "")) not in _CLOSED or len(numbers) < 9:
            left += 1
        else:
            closed.append(numbers.reshape(-1, 3) @ LPS_TO_RAS[:3, :3])
    raw = item.get("ROIDisplayColor")
    color = (int(raw[0]), int(raw[1]), int(raw[2])) if raw and len(raw) == 3 else None
    return tuple(closed), left, color


def _with_planes(path: Path, series: Series, structures: tuple[Structure, ...]) -> Series:
    """Return the grid of the series; where only one slice is at hand, with the planes of all contours."""
    if not series.lone:
        return series
    inverse = np.linalg.inv(series.affine)
    thickness = float(np.linalg.norm(series.affine[:3, 2]))
    heights = [
        float((contour @ inverse[2, :3]).mean() + inverse[2, 3]) * thickness
        for one in structures
        for contour in one.contours
    ]
    gaps = np.diff(np.sort(heights))
    gaps = gaps[gaps > FLAT]
    step = float(gaps.min()) if len(gaps) else thickness
    low, high = min(heights), max(heights)
    count = int(np.rint((high - low) / step)) + 3
    if count > 10_000:
        raise SegmentationError(f"{path}: its planes lie {step:.3g} mm apart over {high - low:.4g} mm; name the folder")
    affine = series.affine.copy()
    affine[:3, 2] *= step / thickness
    affine[:3, 3] += series.affine[:3, 2] * ((low - step) / thickness)
    note = f"{path.name}: {count - 2} planes of {step:.4g} mm, from the contours, because the reference is one slice"
    nx, ny, _ = series.shape
    return Series((nx, ny, count), affine, False, (*series.notes, note), series.repairs)


def _planes(structure: Structure, grid: Series) -> list[Plane]:
    """Return the contours of a structure in voxel indices of the grid, joined by plane.

    Raises:
        SegmentationError: The contours are not in the planes of the grid's slices.
    """
    inverse = np.linalg.inv(grid.affine)
    step = float(np.linalg.norm(grid.affine[:3, 2]))
    planes: dict[int, list[Floats]] = {}
    for contour in structure.contours:
        index = contour @ inverse[:3, :3].T + inverse[:3, 3]
        if float(np.ptp(index[:, 2])) * step > 2 * FLAT:
            raise SegmentationError(
                f"mesh.image: contours of structure {structure.name!r} do not lie in the planes of the reference; name "
                "the series that they were drawn on"
            )
        planes.setdefault(round(float(index[:, 2].mean()) * step / FLAT), []).append(index)
    return [
        Plane(float(np.mean([one[:, 2].mean() for one in group])), tuple(one[:, :2] for one in group))
        for _, group in sorted(planes.items())
    ]
