"""The working grid: isotropic, as fine as the mesh needs, with the volumes of the segmentation; and local thickness."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from turgor.meshing.homotopy import factors, relaxed, subdivided
from turgor.meshing.labels import CUT, PartGrid, RegionGrid
from turgor.meshing.tetrahedra import Floats

ANISOTROPY = 1.5
MOST_VOXELS = 30_000_000
VOTE_ROUNDS = 25
BLUR = 0.35
"""Standard deviation of the blur of levels in units of the largest spacing: what lies between slices is not known."""
RADII = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0)


def working_step(grid: RegionGrid, finest: float) -> float | None:
    """Return the spacing of an isotropic working grid [mm] coarser than the image, or None when none is wanted.

    Args:
        grid: The regions on the image's voxels.
        finest: Smallest edge length wanted [mm].
    """
    low = float(grid.spacing.min())
    step = max(low, finest / 1.5)
    volume = grid.voxel_volume * float(np.prod(grid.values.shape))
    step = max(step, (volume / MOST_VOXELS) ** (1 / 3))
    crowded = np.prod(grid.values.shape) > MOST_VOXELS
    return step if step > 1.5 * low or crowded else None


def slender(grid: RegionGrid) -> bool:
    """Say whether voxels are too far from cubes to be meshed as they are."""
    return bool(grid.spacing.max() > ANISOTROPY * grid.spacing.min())


def interpolated(grid: RegionGrid) -> RegionGrid:
    """Cut slender voxels into cubes and move the surfaces between pieces to where the slices want them.

    Pieces and contacts are those of the image, because the moves keep them.
    """
    pad = np.where(grid.cut, 0, 1)
    values = np.pad(grid.values, pad.tolist())
    by = factors(grid.spacing, max(MOST_VOXELS / values.size, 1.0))
    if by.prod() == 1:
        return grid
    ids = _padded_ids(grid.parts.ids, grid.cut)
    ratio = 1.0 / by
    axes = [(np.arange(n * k) + 0.5) / k - 0.5 for n, k in zip(values.shape, by.tolist(), strict=True)]
    spacing = grid.spacing / by
    step = float(np.prod(spacing) ** (1.0 / 3.0))
    levels = [_level(values, index, grid.spacing, step, axes) for index in range(len(grid.names) + 1)]
    wanted = np.asarray(np.bincount(values.ravel(), minlength=len(levels)) * float(by.prod()), dtype=np.float64)
    weights = voted(levels, wanted, step)[1]
    stack = np.stack(levels) + weights[:, None, None, None]
    pieces = grid.parts.on(subdivided(ids, by))
    row = pieces.rows(grid.names)
    fine = pieces.on(relaxed(pieces, stack, row, float(np.prod(spacing))))
    inner = row[fine.ids[1:-1, 1:-1, 1:-1]].astype(np.int16)
    low = -pad[:, 0] - 0.5
    apart = f"slices {grid.spacing.max():.3g} mm apart"
    note = f"{apart} were interpolated to {spacing.max():.3g} mm, keeping every contact"
    return replace(
        grid,
        values=inner,
        affine=moved(grid.affine, low + 0.5 * ratio, ratio),
        pieces=fine,
        repairs=(*grid.repairs, note),
    )


def _padded_ids(ids: NDArray[np.int32], cut: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return padded pieces with one voxel more of outside where the image does not end."""
    wider = np.pad(ids[1:-1, 1:-1, 1:-1], np.where(cut, 0, 1).tolist())
    padded = np.pad(wider, 1)
    for axis in range(3):
        for end, face in ((0, 0), (1, -1)):
            if cut[axis, end]:
                where: list[slice | int] = [slice(1, -1)] * 3
                where[axis] = face
                padded[tuple(where)] = CUT
    return padded


def moved(affine: Floats, first: Floats, ratio: Floats) -> Floats:
    """Return the affine of a grid whose first voxel and spacing are given in voxels of another."""
    moved = affine.copy()
    moved[:3, :3] = affine[:3, :3] * ratio
    moved[:3, 3] += affine[:3, :3] @ first
    return moved


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


def voted(
    levels: list[NDArray[np.float32]], wanted: Floats, step: float
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Return the index of the largest level plus weight, and the weights, which give the wanted numbers of voxels."""
    stack = np.stack(levels).reshape(len(levels), -1)
    top = np.partition(stack, -2, axis=0)
    near = np.flatnonzero(top[-1] - top[-2] < 6.0 * step)
    values = stack.argmax(axis=0).astype(np.int16)
    near_stack = stack[:, near]
    base = np.bincount(values, minlength=len(levels)) - np.bincount(values[near], minlength=len(levels))
    weights = np.zeros(len(levels), dtype=np.float32)
    best, least, kept = values[near], np.inf, weights
    for _ in range(VOTE_ROUNDS):
        lifted = near_stack + weights[:, None]
        choice = lifted.argmax(axis=0).astype(np.int16)
        missing = wanted - base - np.bincount(choice, minlength=len(levels))
        worst = float(np.abs(missing[1:] / np.maximum(wanted[1:], 1.0)).max())
        if worst < least:
            best, least, kept = choice, worst, weights.copy()
        if worst < 1e-3:
            break
        close = lifted > lifted.max(axis=0) - 0.5 * step
        rate = np.maximum(close.sum(axis=1) - np.bincount(choice, minlength=len(levels)), 1.0) / (0.5 * step)
        weights += np.clip(0.7 * missing / rate, -0.2 * step, 0.2 * step).astype(np.float32)
        weights -= weights[0]
    values[near] = best
    return values.reshape(levels[0].shape), kept


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
