"""The working grid: isotropic, as fine as the mesh needs, with the volumes of the segmentation; and local thickness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from turgor.meshing.labels import PartGrid, RegionGrid
from turgor.meshing.tetrahedra import Floats

ANISOTROPY = 1.5
MOST_VOXELS = 30_000_000
VOTE_ROUNDS = 25
BLUR = 0.35
"""Standard deviation of the blur of levels in units of the largest spacing: what lies between slices is not known."""
RADII = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0)


def working_step(grid: RegionGrid, finest: float) -> float | None:
    """Return the spacing of an isotropic working grid [mm], or None when the image itself serves.

    Args:
        grid: The regions on the image's voxels.
        finest: Smallest edge length wanted [mm].
    """
    spacing = grid.spacing
    low = float(spacing.min())
    step = max(low, finest / 1.5)
    extent = spacing * np.array(grid.values.shape)
    step = max(step, float((np.prod(extent) / MOST_VOXELS) ** (1 / 3)))
    if step <= 1.5 * low and float(spacing.max()) <= ANISOTROPY * low:
        return None if np.prod(grid.values.shape) <= MOST_VOXELS else step
    return step


def resampled(grid: RegionGrid, step: float) -> RegionGrid:
    """Vote the regions onto an isotropic grid, keeping their volumes.

    Each name has a smooth level (distance to its boundary, positive inside, averaged over a step); a voxel goes to the
    largest level plus a weight, and the weights are fitted to the volumes.

    Args:
        grid: The regions.
        step: Spacing wanted [mm]; each axis gets the next spacing that divides the box.
    """
    shape = np.array(grid.values.shape)
    pad = np.where(grid.cut, 0, np.ceil(2.0 * step / grid.spacing).astype(int)[:, None])
    padded = np.pad(grid.values, pad.tolist())
    low, extent = -pad[:, 0] - 0.5, shape + pad.sum(axis=1)
    count = np.maximum(np.round(extent * grid.spacing / step), 1).astype(int)
    ratio = extent / count
    axes = [(np.arange(n) + 0.5) * r - 0.5 for n, r in zip(count, ratio, strict=True)]
    levels = [_level(padded, index, grid.spacing, step, axes) for index in range(len(grid.names) + 1)]
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] * ratio
    affine[:3, 3] += grid.affine[:3, :3] @ (low + 0.5 * ratio)
    wanted = np.bincount(padded.ravel(), minlength=len(levels)) * np.prod(ratio) ** -1.0
    values = _voted(levels, wanted, step)
    note = f"the image was resampled to voxels of {step:.3g} mm, keeping volumes"
    return RegionGrid(values, affine, grid.names, grid.cut, grid.voxels, grid.voxel_volume, (*grid.repairs, note))


def _level(
    values: NDArray[np.int16], index: int, spacing: Floats, step: float, axes: list[Floats]
) -> NDArray[np.float32]:
    """Return the distance to the boundary of one name, positive inside [mm], on the working grid."""
    mask = values == index
    shape = tuple(len(axis) for axis in axes)
    if not mask.any():
        return np.full(shape, -1e6, dtype=np.float32)
    limit = np.float32(2.0 * max(step, float(spacing.max())))
    inside = ndimage.distance_transform_edt(mask, sampling=spacing).astype(np.float32)
    beyond = ndimage.distance_transform_edt(~mask, sampling=spacing).astype(np.float32)
    level = np.clip(inside - beyond, -limit, limit)
    sigma = np.maximum(0.5 * step, BLUR * float(spacing.max())) / spacing
    smooth = ndimage.gaussian_filter(level, sigma, mode="nearest", truncate=2.5)
    grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    where = np.stack([np.broadcast_to(axis, shape) for axis in grid]).astype(np.float32)
    return np.asarray(ndimage.map_coordinates(smooth, where, order=1, mode="nearest", output=np.float32))


def _voted(levels: list[NDArray[np.float32]], wanted: Floats, step: float) -> NDArray[np.int16]:
    """Return the index of the largest level plus weight, with weights that give the wanted numbers of voxels."""
    stack = np.stack(levels).reshape(len(levels), -1)
    top = np.partition(stack, -2, axis=0)
    near = np.flatnonzero(top[-1] - top[-2] < 6.0 * step)
    values = stack.argmax(axis=0).astype(np.int16)
    near_stack = stack[:, near]
    base = np.bincount(values, minlength=len(levels)) - np.bincount(values[near], minlength=len(levels))
    weights = np.zeros(len(levels), dtype=np.float32)
    best, least = values[near], np.inf
    for _ in range(VOTE_ROUNDS):
        lifted = near_stack + weights[:, None]
        choice = lifted.argmax(axis=0).astype(np.int16)
        missing = wanted - base - np.bincount(choice, minlength=len(levels))
        worst = float(np.abs(missing[1:] / np.maximum(wanted[1:], 1.0)).max())
        if worst < least:
            best, least = choice, worst
        if worst < 1e-3:
            break
        close = lifted > lifted.max(axis=0) - 0.5 * step
        rate = np.maximum(close.sum(axis=1) - np.bincount(choice, minlength=len(levels)), 1.0) / (0.5 * step)
        weights += np.clip(0.7 * missing / rate, -0.2 * step, 0.2 * step).astype(np.float32)
        weights -= weights[0]
    values[near] = best
    return values.reshape(levels[0].shape)


def half_thickness(grid: PartGrid) -> NDArray[np.float32]:
    """Return, by voxel, the radius of the largest ball in the same part that covers it, in voxels, at most 9."""
    parts = grid.parts
    edge = np.zeros(parts.shape, dtype=bool)
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(0, -1), slice(1, None)
        unlike = parts[tuple(low)] != parts[tuple(high)]
        edge[tuple(low)] |= unlike
        edge[tuple(high)] |= unlike
    depth = ndimage.distance_transform_edt(~edge).astype(np.float32) + np.float32(0.5)
    radius = np.full(parts.shape, 0.5, dtype=np.float32)
    for r in RADII:
        core = depth >= r
        if not core.any():
            break
        radius[ndimage.distance_transform_edt(~core) <= r] = r
    unmeshed = np.array([not part.meshed for part in grid.list])
    radius[unmeshed[parts]] = RADII[-1]
    return radius
