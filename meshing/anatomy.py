"""What is to be meshed, however it was said: surfaces between parts at wanted sizes, and what they are measured by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from turgor.materials.errors import SegmentationError
from turgor.meshing.boundary import Boundary
from turgor.meshing.certificate import Origin
from turgor.meshing.grids import half_thickness, resampled, working_step
from turgor.meshing.images import read_labels
from turgor.meshing.labels import PartGrid, RegionGrid, parts_of, regions_of
from turgor.meshing.nets import surface_nets
from turgor.meshing.offset import with_volumes
from turgor.meshing.refine import refined
from turgor.meshing.simplify import collapsed
from turgor.meshing.sizes import CELL_VOLUME, GROWTH, SizeMap, Sizes, sizes_of, surface_targets
from turgor.meshing.spec import MeshSpec
from turgor.meshing.tetrahedra import Floats

Log = Callable[[str], None]

THIN = 1.3
"""Usual edge length in units of volume per area, where that is less than the size wanted; measured on a cortex."""

ALPHA = 2.0
"""Largest edge length in units of the local half thickness."""


class Anatomy(Protocol):
    """Regions in space, from an image or from surfaces."""

    @property
    def extent(self) -> float:
        """Return the diagonal of the bounding box [mm]."""

    @property
    def origin(self) -> Origin:
        """Return what the mesh is measured against."""

    def cells(self, sizes: Sizes) -> float:
        """Return the expected number of cells."""

    def surfaces(self, sizes: Sizes, log: Log) -> Boundary:
        """Return the triangles to fill, as fine as wanted."""


@dataclass(frozen=True)
class ImageAnatomy:
    """Regions on the voxels of an image.

    Attributes:
        grid: As segmented.
        working: On the grid that is meshed.
        cavities: Regions that are not meshed.
    """

    grid: RegionGrid
    working: RegionGrid
    cavities: tuple[str, ...]

    @property
    def extent(self) -> float:
        """Return the diagonal of the bounding box [mm]."""
        return float(np.linalg.norm(self.grid.affine[:3, :3] @ np.array(self.grid.values.shape)))

    @property
    def origin(self) -> Origin:
        """Return volumes, voxels and contacts of the image."""
        step = float(np.prod(self.working.spacing))
        return Origin(
            self.grid.volumes(),
            self.grid.voxels,
            contacts(self.grid, self.cavities),
            step > 1.5 * self.grid.voxel_volume,
            max(self.grid.voxel_volume, step),
            self.working.repairs,
        )

    def cells(self, sizes: Sizes) -> float:
        """Return the expected number of cells: the integral of 1/h³ over the voxels of the meshed regions."""
        values, spacing = self.working.values, self.working.spacing
        voxel = float(np.prod(spacing))
        half = 0.5 * voxel ** (1.0 / 3.0)
        largest = max(sizes.inside.values())
        density = np.full(values.shape, largest**-3.0)
        for name, size in sizes.rim.items():
            own = values == self.working.names.index(name) + 1
            if not own.any():
                continue
            depth = ndimage.distance_transform_edt(own, sampling=spacing)
            depth += ndimage.distance_transform_edt(~own, sampling=spacing)
            near, far = np.maximum(depth - 2 * half, 0.0), depth
            mean = (size + GROWTH * near) ** -2.0 - (size + GROWTH * far) ** -2.0
            density = np.maximum(density, mean / (2.0 * GROWTH * (far - near)))
        total = 0.0
        for index, name in enumerate(self.working.names):
            if name in self.cavities:
                continue
            own = values == index + 1
            size = min(sizes.inside[name], THIN * _thickness(own, spacing))
            total += float(np.maximum(density[own], size**-3.0).sum())
        return total * voxel / CELL_VOLUME

    def surfaces(self, sizes: Sizes, log: Log) -> Boundary:
        """Surface nets on the parts, collapsed where they are finer than wanted, split where they are coarser."""
        parts = parts_of(self.working, self.cavities)
        boundary = surface_nets(parts)
        pieces = sum(part.meshed for part in parts.list)
        log(f"mesh: {len(boundary.triangles):,} triangles around {pieces} pieces")
        radius = _at_points(half_thickness(parts), parts, boundary.points)
        step = float(np.prod(self.working.spacing) ** (1.0 / 3.0))
        target = surface_targets(boundary, sizes)
        target = np.minimum(target, np.maximum(ALPHA * radius, 1.0) * step)
        target = SizeMap.of(boundary.points, target, float(target.max())).at(boundary.points)
        tolerance = np.minimum(0.3 * max(step, self.grid.voxel_volume ** (1.0 / 3.0)), 0.12 * radius * step)
        voxels = np.bincount(parts.parts.ravel(), minlength=len(parts.list)).astype(np.float64)
        coarse = with_volumes(
            collapsed(boundary, target, tolerance, step), voxels * float(np.prod(self.working.spacing))
        )
        return refined(coarse, lambda surface: surface_targets(surface, sizes))


def from_image(spec: MeshSpec, rim: Mapping[str, float], log: Log) -> ImageAnatomy:
    """Read the label image of a case and choose the working grid.

    Raises:
        SegmentationError: The image is unreadable, or its labels are not those of the case.
    """
    if spec.image is None:
        raise SegmentationError("mesh.image: there is no label image")
    values, affine = read_labels(spec.image.file)
    grid = regions_of(values, affine, spec)
    log(f"mesh: {spec.image.file.name}, {' x '.join(map(str, values.shape))} voxels")
    anatomy = ImageAnatomy(grid, grid, spec.cavities)
    sizes = sizes_of(spec, rim, anatomy.extent)
    step = working_step(grid, min([*sizes.inside.values(), *sizes.rim.values()]))
    if step is None:
        return anatomy
    working = resampled(grid, step)
    gone = [name for name in grid.names if working.voxels_now(name) == 0]
    if gone:
        raise SegmentationError(
            f"mesh.size: region {gone[0]!r} is too thin for edges of this length; set a smaller size for it"
        )
    return ImageAnatomy(grid, working, spec.cavities)


def _at_points(radius: NDArray[np.float32], parts: PartGrid, points: Floats) -> Floats:
    """Return the half thickness of the thinnest part at each point, from the eight voxels around it."""
    inverse = np.linalg.inv(parts.affine)
    index = np.floor(points @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    index = np.clip(index, 0, np.array(radius.shape) - 2)
    where = [tuple((index + np.array([i >> 2, i >> 1 & 1, i & 1])).T) for i in range(8)]
    values = np.stack([radius[at] for at in where])
    owner = np.stack([parts.parts[at] for at in where])
    thinnest = np.full(len(points), np.inf)
    for i in range(8):
        thinnest = np.minimum(thinnest, np.where(owner == owner[i], values, 0.0).max(axis=0))
    return thinnest


def _thickness(own: NDArray[np.bool_], spacing: Floats) -> float:
    """Return volume per area of a region [mm]; voxel faces have 3/2 of the area of the smooth surface."""
    padded = np.pad(own, 1)
    faces = [np.count_nonzero(np.diff(padded, axis=axis)) / spacing[axis] for axis in range(3)]
    return float(np.count_nonzero(own) / max(2.0 / 3.0 * sum(faces), 1e-12))


def contacts(grid: RegionGrid, cavities: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    """Return the pairs of names that share a voxel face, with outside and cut; at least one is meshed."""
    names = ("outside", *grid.names)
    padded = np.pad(grid.values, 1)
    found: set[tuple[str, str]] = set()
    for axis in range(3):
        one, two = np.moveaxis(padded, axis, 0)[:-1], np.moveaxis(padded, axis, 0)[1:]
        unlike = one != two
        if grid.cut[axis, 0]:
            unlike[0] = False
        if grid.cut[axis, 1]:
            unlike[-1] = False
        key = np.unique(one[unlike].astype(np.int64) * len(names) + two[unlike])
        found |= {(names[k // len(names)], names[k % len(names)]) for k in key.tolist()}
        for end in (0, 1):
            if grid.cut[axis, end]:
                face = np.unique(np.moveaxis(grid.values, axis, 0)[-end])
                found |= {(names[i], "cut") for i in face.tolist() if i > 0}
    unmeshed = {"outside", "cut", *cavities}
    return frozenset((min(pair), max(pair)) for pair in found if not set(pair) <= unmeshed)
