"""From label values to the connected parts of regions on a grid."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from turgor.materials.errors import SegmentationError
from turgor.meshing.boundary import Part
from turgor.meshing.pieces import CUT, OUTSIDE, Pieces, pieces_of
from turgor.meshing.spec import TUMOR, MeshSpec
from turgor.meshing.tetrahedra import Floats

__all__ = ["CUT", "OUTSIDE", "PartGrid", "RegionGrid", "parts_of", "protected", "regions_of"]


@dataclass(frozen=True)
class RegionGrid:
    """Regions on a grid of voxels.

    Attributes:
        values: 0 outside, i + 1 for the i-th name, shape (nx, ny, nz).
        affine: Voxel index to RAS millimeters, shape (4, 4).
        names: Regions and cavities in the order of the case.
        cut: Whether the image ends at the low and high end of each axis, shape (3, 2).
        voxels: Voxels of each name in the image.
        repairs: What was changed, one sentence each.
        pieces: The pieces of the image on this grid; None where they are those of the voxels.
        protected: Names whose pieces must all have their volumes.
        detail: Size below which shapes were smoothed [mm]; 0 where they were not.
    """

    values: NDArray[np.int16]
    affine: Floats
    names: tuple[str, ...]
    cut: NDArray[np.bool_]
    voxels: dict[str, int]
    voxel_volume: float
    repairs: tuple[str, ...] = field(default=())
    pieces: Pieces | None = field(default=None)
    protected: tuple[str, ...] = field(default=())
    detail: float = 0.0

    @property
    def parts(self) -> Pieces:
        """Return the pieces of the image by voxel; those found in the voxels where nothing else is said."""
        return self.pieces or pieces_of(self.values, self.names, self.cut, self.affine)

    @property
    def spacing(self) -> Floats:
        """Return the distance between voxel centers along each axis [mm], shape (3,)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def voxels_now(self, name: str) -> int:
        """Return the number of voxels of a name on this grid."""
        return int((self.values == self.names.index(name) + 1).sum())

    def volumes(self) -> dict[str, float]:
        """Return the volume of each name on this grid [mm^3]."""
        count = np.bincount(self.values.ravel(), minlength=len(self.names) + 1)
        voxel = abs(float(np.linalg.det(self.affine[:3, :3])))
        return {name: float(count[i + 1]) * voxel for i, name in enumerate(self.names)}


@dataclass(frozen=True)
class PartGrid:
    """Connected parts on a padded grid.

    Attributes:
        parts: Index into `list` by voxel, shape (nx + 2, ny + 2, nz + 2).
        affine: Voxel index to RAS millimeters, shape (4, 4).
        list: The parts; each piece of a region, cavity or void is one, so that no two volumes have the same surfaces.
        volumes: Volume that each should have [mm^3], as segmented; NaN where it is free, shape (k,).
    """

    parts: NDArray[np.int32]
    affine: Floats
    list: tuple[Part, ...]
    volumes: Floats


def regions_of(values: NDArray[np.int32], affine: Floats, spec: MeshSpec) -> RegionGrid:
    """Give each voxel its region, and crop to what is named.

    Args:
        values: Label values, shape (nx, ny, nz).
        affine: Voxel index to RAS millimeters, shape (4, 4).
        spec: The mesh of the case, with an image.

    Raises:
        SegmentationError: A label is not in the image, or is in the image and neither named nor ignored.
    """
    if spec.image is None:
        raise SegmentationError("mesh.image: there is no label image")
    names = spec.image.regions
    present, position = _counted(values)
    _refuse_unknown_labels(spec, present)
    owner = {label: index + 1 for index, name in enumerate(names) for label in spec.image.numbers[name]}
    table = np.array([owner.get(label, 0) for label in present], dtype=np.int16)
    regions = table[position]
    box = ndimage.find_objects((regions > 0).astype(np.int8))[0]
    cut = np.array([[part.start == 0, part.stop == n] for part, n in zip(box, values.shape, strict=True)])
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.array([part.start for part in box])
    voxels = {name: sum(present[label] for label in spec.image.numbers[name]) for name in names}
    volume = abs(float(np.linalg.det(affine[:3, :3])))
    grid = RegionGrid(np.ascontiguousarray(regions[box]), moved, names, cut, voxels, volume)
    return replace(grid, protected=protected(names, spec))


def _counted(values: NDArray[np.int32]) -> tuple[dict[int, int], NDArray[np.integer]]:
    """Return the label values with their voxels, ascending, and the position in that list by voxel."""
    low, high = int(values.min()), int(values.max())
    if high - low > 1_000_000:
        labels, position, counts = np.unique(values, return_inverse=True, return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True)), position.reshape(values.shape)
    counts = np.bincount((values - low).ravel())
    found = np.flatnonzero(counts)
    rank = np.zeros(len(counts), dtype=np.int32)
    rank[found] = np.arange(len(found))
    return {int(i) + low: int(counts[i]) for i in found}, rank[values - low]


def _refuse_unknown_labels(spec: MeshSpec, present: dict[int, int]) -> None:
    """Raise when the labels of the case and of the image do not cover each other."""
    if spec.image is None:
        return
    listing = ", ".join(f"{label} ({count} voxels)" for label, count in present.items() if label != 0)
    listing = listing if len(listing) < 400 else listing[:400] + " ..."
    file = spec.image.title
    if not listing:
        raise SegmentationError(f"mesh.image: {file} holds no label, only background")
    for name, labels in spec.image.numbers.items():
        for label in labels:
            if label not in present:
                raise SegmentationError(f"mesh.image.labels.{name}: label {label} is not in {file}; it holds {listing}")
    claimed = {label for labels in spec.image.numbers.values() for label in labels} | set(spec.image.ignore) | {0}
    left = [label for label in present if label not in claimed]
    if left:
        which = ", ".join(f"{label} ({present[label]} voxels)" for label in left[:12])
        raise SegmentationError(
            f"mesh.image: {file} holds label {which}, which no region claims; name it under labels or add it to ignore"
        )


def protected(names: tuple[str, ...], spec: MeshSpec) -> tuple[str, ...]:
    """Return the regions whose pieces are kept and have their volumes: those said, or those called like a tumor."""
    if spec.image is not None:
        return spec.image.protected
    return tuple(name for name in names if TUMOR.search(name.lower()))


def parts_of(grid: RegionGrid, cavities: tuple[str, ...]) -> PartGrid:
    """Return the pieces of the image as parts of the grid, padded by one voxel of outside or cut."""
    pieces = grid.parts
    kinds = {"outside": "outside", "cut": "cut", **dict.fromkeys(cavities, "cavity")}
    found = tuple(Part(name, kinds.get(name, "region")) for name in pieces.names)
    free = np.array([not part.meshed for part in found])
    moved = grid.affine.copy()
    moved[:3, 3] -= grid.affine[:3, :3].sum(axis=1)
    return PartGrid(pieces.closed(), moved, found, np.where(free, np.nan, pieces.volumes))
