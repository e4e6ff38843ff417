"""What is to be meshed, however it was said: surfaces between parts at wanted sizes, and what they are measured by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from turgor.materials.errors import SegmentationError
from turgor.meshing.boundary import Boundary
from turgor.meshing.census import Image, label_contacts
from turgor.meshing.certificate import Origin
from turgor.meshing.coarse import coarsened
from turgor.meshing.grids import half_thickness, interpolated, slender, working_step
from turgor.meshing.labels import PartGrid, RegionGrid, parts_of, protected, regions_of
from turgor.meshing.nets import surface_nets
from turgor.meshing.offset import with_volumes
from turgor.meshing.refine import refined
from turgor.meshing.segmentation import read_segmentation
from turgor.meshing.simplify import collapsed
from turgor.meshing.sizes import CELL_VOLUME, GROWTH, SizeMap, Sizes, sizes_of, surface_targets
from turgor.meshing.spec import MeshSpec
from turgor.meshing.specks import tidied
from turgor.meshing.tetrahedra import Floats

Log = Callable[[str], None]

THIN = 1.3
"""Usual edge length in units of volume per area, where that is less than the size wanted; measured on a cortex."""

REACH = 4.0
"""How far a piece that is smaller than a voxel of the mesh may be from its place, in such voxels."""

FOLLOWED = 3.5
"""Usual edge length on a surface that follows its voxels, where longer edges are wanted, in voxels; from a lung."""

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

    def fallback(self, why: str, log: Log) -> Anatomy | None:
        """Return the same regions another way, for when these triangles cannot be filled; None when there is none."""


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
        reach = REACH * max(float(self.working.spacing.max()), float(self.grid.spacing.max()))
        image = Image(self.grid.parts, self.grid.affine, self.cavities, reach)
        return Origin(
            self.grid.volumes(),
            self.grid.voxels,
            label_contacts(image),
            step > 1.5 * self.grid.voxel_volume,
            self.grid.voxel_volume,
            self.working.repairs,
            self.grid.protected,
            image,
        )

    def fallback(self, why: str, log: Log) -> ImageAnatomy | None:
        """Return the regions on a finer grid, when the one that was meshed is coarser than the image."""
        step = float(self.working.spacing.max())
        if self.working.detail > 0.0:
            log(f"mesh: the regions are taken as they are, because with smoother ones {why.removeprefix('mesh: ')}")
            return replace(self, working=interpolated(self.grid) if slender(self.grid) else self.grid)
        if step <= 1.2 * float(self.grid.spacing.min()) or self.working is self.grid:
            return None
        log(f"mesh: a finer grid is taken, because on voxels of {step:.3g} mm {why.removeprefix('mesh: ')}")
        working = coarsened(self.grid, 0.6 * step, log) if self.grid.spacing.max() < 0.5 * step else None
        if working is None:
            working = interpolated(self.grid) if slender(self.grid) else self.grid
        return replace(self, working=working) if float(working.spacing.max()) < 0.9 * step else None

    def cells(self, sizes: Sizes) -> float:
        """Return the expected number of cells: the integral of 1/h³ over the voxels of the meshed regions."""
        values, spacing = self.working.values, self.working.spacing
        voxel = float(np.prod(spacing))
        half = 0.5 * voxel ** (1.0 / 3.0)
        largest = max(sizes.inside.values())
        density = np.full(values.shape, largest**-3.0)
        followed = FOLLOWED * voxel ** (1.0 / 3.0)
        kept = {name: followed for name, size in sizes.inside.items() if followed < 0.7 * size}
        for name, size in {**kept, **{n: min(r, kept.get(n, r)) for n, r in sizes.rim.items()}}.items():
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
        tolerance = np.minimum(
            0.3 * max(step, self.grid.voxel_volume ** (1.0 / 3.0), self.working.detail), 0.12 * radius * step
        )
        coarse = with_volumes(collapsed(boundary, target, tolerance, step), parts.volumes)
        return refined(coarse, lambda surface: surface_targets(surface, sizes))


def from_image(spec: MeshSpec, rim: Mapping[str, float], log: Log) -> ImageAnatomy:
    """Read the label image of a case and choose the working grid.

    Raises:
        SegmentationError: The image is unreadable, or its labels are not those of the case.
    """
    if spec.image is None:
        raise SegmentationError("mesh.image: there is no label image")
    found = read_segmentation(spec.image, spec.strict)
    log(f"mesh: {spec.image.title}, {' x '.join(map(str, found.values.shape))} voxels")
    for sentence in (*found.notes, *found.repairs):
        log(f"mesh: {sentence}")
    grid = regions_of(found.values, found.affine, spec.model_copy(update={"image": found.spec}))
    grid = replace(grid, repairs=(*found.notes, *found.repairs, *grid.repairs))
    return from_grid(tidied(grid, spec.image, log), spec, rim, log)


def _silent(sentence: str) -> None:
    """Take a sentence and drop it."""


def from_grid(grid: RegionGrid, spec: MeshSpec, rim: Mapping[str, float], log: Log = _silent) -> ImageAnatomy:
    """Choose the working grid for regions on voxels, wherever the voxels come from; it has every piece and contact."""
    grid = replace(grid, pieces=grid.parts, protected=protected(grid.names, spec))
    anatomy = ImageAnatomy(grid, grid, spec.cavities)
    sizes = sizes_of(spec, rim, anatomy.extent)
    step = working_step(grid, min([*sizes.inside.values(), *sizes.rim.values()]))
    fine = interpolated(grid) if slender(grid) and (step is None or grid.spacing.max() > step) else grid
    working = coarsened(fine, step, log) if step is not None else None
    if working is None:
        working = interpolated(fine) if slender(fine) else fine
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
