"""Images of any format: read by the file's name, checked, and taken as labels, as masks or as a map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turgor.materials.errors import SegmentationError
from turgor.meshing.metaimage import read_meta
from turgor.meshing.nifti import Frame, read_nifti
from turgor.meshing.nrrdfile import read_nrrd
from turgor.meshing.voxels import UNREADABLE, Color, Floats, Image, Segment

MOST_COLORS = 4096
"""An image of more colors is a picture, no segmentation."""

SMALLEST, LARGEST = 0.5, 10_000.0
"""Diagonals of an image [mm] outside of which the unit of its header must be wrong."""


def read_labels(path: Path) -> tuple[NDArray[np.int32], Floats]:
    """Read a label image.

    Returns:
        Label values, shape (nx, ny, nz), and the map from voxel index to RAS millimeters, shape (4, 4).

    Raises:
        SegmentationError: The file is unreadable, too large, not three-dimensional, or its values are no labels.
    """
    image = by_colors(path, read_image(path))
    return whole_numbers(path, volume(path, image)), image.affine


def read_map(path: Path) -> tuple[Floats, Floats]:
    """Read a map of a parameter.

    Returns:
        Values, shape (nx, ny, nz), NaN where the file says so, and the map from voxel index to RAS millimeters.

    Raises:
        SegmentationError: The file is unreadable, too large or not three-dimensional.
    """
    image = read_image(path)
    return volume(path, image).astype(np.float64), image.affine


def not_finite(values: Floats) -> int:
    """Return the number of voxels that hold no finite number."""
    return int(values.size - np.isfinite(values).sum())


def label_counts(path: Path) -> dict[int, int]:
    """Return the label values of an image and how many voxels carry each."""
    values, _ = read_labels(path)
    labels, counts = np.unique(values, return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def label_names(path: Path) -> dict[int, str]:
    """Return the names that the header gives to label values (3D Slicer's .seg.nrrd); often empty."""
    return dict(read_image(path).names)


def read_image(path: Path, frame: Frame | None = None) -> Image:
    """Read by the file's name; every failure becomes one sentence.

    Args:
        path: The file.
        frame: Which of the two frames of a NIfTI header holds, where they differ.

    Raises:
        SegmentationError: What is wrong with the file.
    """
    if not path.is_file():
        raise SegmentationError(f"there is no file {path}")
    name = path.name.lower()
    readers: dict[tuple[str, ...], Callable[[Path], Image]] = {
        (".nii", ".nii.gz", ".hdr", ".img"): lambda path: read_nifti(path, frame),
        (".nrrd", ".nhdr"): read_nrrd,
        (".mha", ".mhd"): read_meta,
    }
    for endings, reader in readers.items():
        if name.endswith(endings):
            try:
                image = reader(path)
            except UNREADABLE as error:
                why = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise SegmentationError(f"{path}: cannot be read as an image ({why}); is it complete?") from None
            return _checked(path, image)
    raise SegmentationError(f"{path}: is none of .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd")


def _checked(path: Path, image: Image) -> Image:
    """Return the image with three axes, or four with channels; or say what is wrong with it."""
    values, channels = image.values, image.channels
    if values.dtype.names is not None and set(values.dtype.names) >= {"R", "G", "B"}:
        bytes_of = np.ascontiguousarray(values).view(np.uint8)
        values, channels = bytes_of.reshape(*values.shape, -1)[..., :3], "color"
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim not in (3, 4):
        raise SegmentationError(
            f"{path}: is {shape_of(values)}, expected one three-dimensional image; take one volume out of it"
        )
    if values.size == 0:
        raise SegmentationError(f"{path}: holds no voxels")
    if values.dtype.kind not in "biuf":
        raise SegmentationError(f"{path}: holds complex or compound numbers, expected one number in each voxel")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise SegmentationError(f"{path}: its header gives voxels without size; write it again with its spacing")
    across = float(np.linalg.norm(np.abs(affine[:3, :3]) @ np.array(values.shape[:3])))
    if not SMALLEST <= across <= LARGEST:
        raise SegmentationError(
            f"{path}: is {across:.3g} mm across by its header, expected {SMALLEST:g} mm to {LARGEST:g} mm; is it in "
            "another unit? Write it again in millimeters"
        )
    return replace(image, values=values, affine=affine, channels=channels)


def shape_of(values: NDArray[np.generic]) -> str:
    """Return the shape in words."""
    return " x ".join(str(n) for n in values.shape)


def volume(path: Path, image: Image) -> NDArray[np.number]:
    """Return the values of a three-dimensional image.

    Raises:
        SegmentationError: The image has channels.
    """
    if image.values.ndim != 3:
        kind = {"time": "time", "vector": "a vector", "color": "colors"}.get(image.channels, "several numbers")
        raise SegmentationError(
            f"{path}: is {shape_of(image.values)}, with {kind} in each voxel, expected one three-dimensional image; "
            "take one volume out of it"
        )
    return image.values.astype(np.uint8) if image.values.dtype.kind == "b" else image.values


def slabs[T: np.generic](values: NDArray[T]) -> Iterator[tuple[slice, NDArray[T]]]:
    """Yield an image in slabs along its third axis of some million voxels, so that copies stay small."""
    thick = max(1, 4_000_000 // max(1, values[:, :, :1].size))
    for start in range(0, values.shape[2], thick):
        part = slice(start, start + thick)
        yield part, values[:, :, part]


def has_fractions(path: Path, values: NDArray[np.number]) -> bool:
    """Whether any value lies between whole numbers.

    Raises:
        SegmentationError: A value is not a number.
    """
    if values.dtype.kind != "f":
        return False
    fractions = False
    for _, slab in slabs(values):
        if not np.isfinite(slab).all():
            raise SegmentationError(f"{path}: holds values that are not a number; labels must be whole numbers")
        fractions = fractions or bool((slab != np.round(slab)).any())
    return fractions


def whole_numbers(path: Path, values: NDArray[np.number]) -> NDArray[np.int32]:
    """Return label values as 32-bit numbers.

    Raises:
        SegmentationError: A value is none that a label can have.
    """
    if has_fractions(path, values):
        raise SegmentationError(
            f"{path}: holds values between whole numbers, so it is no label image; if these are probabilities, set "
            "threshold = 0.5 under [mesh.image]"
        )
    if values.size and (values.min() < -(2**31) or values.max() >= 2**31):
        raise SegmentationError(f"{path}: holds label values beyond 32 bits; renumber them")
    return values.astype(np.int32, copy=False)


def present(values: NDArray[np.integer]) -> list[int]:
    """Return the label values of an image, ascending."""
    found: set[int] = set()
    for _, slab in slabs(values):
        found.update(np.unique(slab).tolist())
    return sorted(found)


def by_colors(path: Path, image: Image) -> Image:
    """Number the colors of a color image, black as background; other images are returned as they are.

    The colors are numbered from 1 in the order of red, then green, then blue, and named "#rrggbb".

    Raises:
        SegmentationError: There are too many colors.
    """
    values = image.values
    if not (values.ndim == 4 and values.shape[3] in (3, 4) and values.dtype == np.uint8 and image.channels == "color"):
        return image
    packed = np.zeros(values.shape[:3], dtype=np.int32)
    for channel in range(3):
        packed = packed * 256 + values[..., channel].astype(np.int32)
    colors = present(packed)
    if len(colors) > MOST_COLORS:
        raise SegmentationError(f"{path}: holds {len(colors)} colors, so it is a picture, no label image")
    known = np.array([0, *(color for color in colors if color)], dtype=np.int32)
    numbered = np.searchsorted(known, packed).astype(np.int32)
    segments = tuple(Segment(f"#{c:06x}", 0, i, _rgb(c)) for i, c in enumerate(known.tolist()) if i)
    listing = ", ".join(f"{one.value} is {one.name}" for one in segments[:12])
    note = f"{path.name}: its colors were numbered: {listing}{' ...' if len(segments) > 12 else ''}"
    return replace(image, values=numbered, segments=segments, channels="", notes=(*image.notes, note))


def _rgb(packed: int) -> Color:
    """Return red, green and blue of a packed color."""
    return packed >> 16, packed >> 8 & 255, packed & 255
