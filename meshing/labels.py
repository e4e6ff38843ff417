"""From label values to the connected parts of regions on a grid."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from turgor.materials.errors import SegmentationError
from turgor.meshing.boundary import Part
from turgor.meshing.spec import MeshSpec
from turgor.meshing.tetrahedra import Floats

OUTSIDE, CUT = 0, 1
MOST_PARTS = 1000


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
    """

    values: NDArray[np.int16]
    affine: Floats
    names: tuple[str, ...]
    cut: NDArray[np.bool_]
    voxels: dict[str, int]
    voxel_volume: float
    repairs: tuple[str, ...] = field(default=())

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
    """

    parts: NDArray[np.int32]
    affine: Floats
    list: tuple[Part, ...]


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
    names = tuple(spec.image.labels)
    present, position = _counted(values)
    _refuse_unknown_labels(spec, present)
    owner = {label: index + 1 for index, name in enumerate(names) for label in spec.image.labels[name]}
    table = np.array([owner.get(label, 0) for label in present], dtype=np.int16)
    regions = table[position]
    box = ndimage.find_objects((regions > 0).astype(np.int8))[0]
    cut = np.array([[part.start == 0, part.stop == n] for part, n in zip(box, values.shape, strict=True)])
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.array([part.start for part in box])
    voxels = {name: sum(present[label] for label in spec.image.labels[name]) for name in names}
    volume = abs(float(np.linalg.det(affine[:3, :3])))
    grid = RegionGrid(np.ascontiguousarray(regions[box]), moved, names, cut, voxels, volume)
    return merge_specks(grid, spec.image.merge_below)


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
    file = spec.image.file.name
    if not listing:
        raise SegmentationError(f"mesh.image: {file} holds no label, only background")
    for name, labels in spec.image.labels.items():
        for label in labels:
            if label not in present:
                raise SegmentationError(f"mesh.image.labels.{name}: label {label} is not in {file}; it holds {listing}")
    claimed = {label for labels in spec.image.labels.values() for label in labels} | set(spec.image.ignore) | {0}
    left = [label for label in present if label not in claimed]
    if left:
        which = ", ".join(f"{label} ({present[label]} voxels)" for label in left[:12])
        raise SegmentationError(
            f"mesh.image: {file} holds label {which}, which no region claims; name it under labels or add it to ignore"
        )


def merge_specks(grid: RegionGrid, below: int) -> RegionGrid:
    """Give pieces of fewer voxels to the neighbor they touch most; the largest piece of a region stays.

    Args:
        grid: The regions.
        below: Smallest number of voxels that a piece may have; 0 or 1 changes nothing.
    """
    if below <= 1:
        return grid
    values = np.pad(grid.values, 1)
    repairs = []
    for index, name in enumerate(grid.names):
        labels, count = ndimage.label(values == index + 1)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        small = [i for i in range(count) if sizes[i] < below and i != int(sizes.argmax())]
        boxes = ndimage.find_objects(labels)
        for i in small:
            box = tuple(slice(part.start - 1, part.stop + 1) for part in boxes[i])
            piece = labels[box] == i + 1
            around = ndimage.binary_dilation(piece) & ~piece
            values[box][piece] = np.bincount(values[box][around]).argmax()
        if small:
            repairs.append(f"{name}: {len(small)} pieces of fewer than {below} voxels joined their neighbors")
    inner = np.ascontiguousarray(values[1:-1, 1:-1, 1:-1])
    return RegionGrid(
        inner, grid.affine, grid.names, grid.cut, grid.voxels, grid.voxel_volume, (*grid.repairs, *repairs)
    )


def parts_of(grid: RegionGrid, cavities: tuple[str, ...]) -> PartGrid:
    """Split the meshed regions into face-connected parts, and pad by one voxel of outside or cut.

    Raises:
        SegmentationError: More parts than a segmentation of an organ has.
    """
    parts = np.zeros(tuple(n + 2 for n in grid.values.shape), dtype=np.int32)
    inner = parts[1:-1, 1:-1, 1:-1]
    found = [Part("outside", "outside"), Part("cut", "cut")]
    for index, name in enumerate(grid.names):
        labels, count = ndimage.label(grid.values == index + 1)
        if len(found) + count > MOST_PARTS:
            raise SegmentationError(
                f"mesh.image: the regions fall into more than {MOST_PARTS} pieces "
                f"(region {name!r} alone into {count}); set merge_below = 10 or more, or clean the segmentation"
            )
        mask = labels > 0
        inner[mask] = labels[mask] + (len(found) - 1)
        found += [Part(name, "cavity" if name in cavities else "region")] * count
    _close_at_the_border(parts, grid.cut)
    voids, count = ndimage.label(parts == OUTSIDE)
    enclosed = voids > 1
    parts[enclosed] = voids[enclosed] + (len(found) - 2)
    found += [Part("outside", "outside")] * (count - 1)
    moved = grid.affine.copy()
    moved[:3, 3] -= grid.affine[:3, :3].sum(axis=1)
    return PartGrid(parts, moved, tuple(found))


def _close_at_the_border(parts: NDArray[np.int32], cut: NDArray[np.bool_]) -> None:
    """Set the padding to cut where a part reaches the end of the image."""
    for axis in range(3):
        layers = np.moveaxis(parts, axis, 0)
        for end, face, beside in ((0, 0, 1), (1, -1, -2)):
            if cut[axis, end]:
                layers[face][layers[beside] != OUTSIDE] = CUT
