"""Coarser working grids, as long as every piece and every contact of the image has a place on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import compiled
from turgor.meshing.grids import interpolated, moved, slender, voted
from turgor.meshing.homotopy import near, relaxed
from turgor.meshing.labels import RegionGrid
from turgor.meshing.mend import Shares, mended
from turgor.meshing.pieces import Pieces, labelled, measured, padded_with_cut, touching_of
from turgor.meshing.tetrahedra import Floats, Integers

FINER = (1.0, 0.7, 0.5)
"""Steps that are tried, in units of the one wanted."""

MOST_PIECES = 2000
"""More pieces than this are never voted onto a coarser grid."""

SLOTS = 8
"""Pieces that a coarse voxel remembers."""

RESOLVED = 30.0
"""Coarse voxels from which on a piece is sure to overlap with its own voxels."""

INSIDE = 0.4
"""How far the center of a small piece may move, in units of the cube root of its volume."""

MOST_SWOLLEN = 20.0
"""How many times its volume a small piece may have on the coarse grid; surfaces shrink back by about that."""

SPECK = 10
"""Voxels below which a piece of a large image may be meshed a little beside its place."""

GIVE = 0.05
"""Share of its voxels that a piece may win or lose while it is smoothed; its surfaces give the volume back."""

EVERY = 3
"""Step of the voxels from which weights are found."""

MOST_LEVELS = 150_000_000
"""Numbers of four bytes that smoothing may keep, one for each voxel and name."""

LARGE = 1_000_000
"""Voxels from which on an image is too large to be meshed as it is for the sake of specks."""

Log = Callable[[str], None]


def coarsened(grid: RegionGrid, step: float, log: Log) -> RegionGrid | None:
    """Vote the regions onto a coarser grid that has all pieces and contacts, or smooth them where there is none.

    None is returned where there is no room for that, and the voxels of the image must do.

    Args:
        grid: The regions of the image.
        step: Spacing wanted [mm].
        log: Takes a sentence now and then.
    """
    pieces = grid.parts
    why = ""
    for share in FINER if len(pieces.names) <= MOST_PIECES else ():
        if share * step <= 1.2 * float(grid.spacing.min()):
            break
        working = _poured(grid, share * step)
        missing = faults(working.parts) or displaced(grid, working)
        if not missing:
            if why:
                log(f"mesh: the grid is finer than the edges wanted, because on a coarser one {why}")
            return working
        why = why or missing[0]
    log(f"mesh: the voxels of the image are kept, because {f'on coarser ones {why}' if why else 'pieces are many'}")
    fine = interpolated(grid) if slender(grid) else grid
    if fine.values.size * (len(grid.names) + 1) > MOST_LEVELS or step < 1.5 * float(fine.spacing.max()):
        return None
    return smoothed(fine, step)


def faults(pieces: Pieces) -> tuple[str, ...]:
    """Say which pieces and contacts of the image a grid has lost or gained."""
    solid = pieces.solid()
    count = len(pieces.names)
    held = np.bincount(pieces.ids.ravel(), minlength=count)
    lost = [f"{pieces.said(i)} is lost" for i in np.flatnonzero(solid & (held == 0)).tolist()]
    first = labelled(pieces.ids)[1]
    bodies = np.bincount(pieces.ids.ravel()[first], minlength=count)
    split = [f"{pieces.said(i)} falls apart" for i in np.flatnonzero(solid & (bodies > 1)).tolist()]
    wanted, found = (
        {(a, b) for a, b in pairs.tolist() if solid[a] or solid[b]}
        for pairs in (pieces.touching, touching_of(pieces.ids, count))
    )
    apart = [f"{pieces.said(b)} and {pieces.said(a)} come apart" for a, b in sorted(wanted - found)]
    meet = [f"{pieces.said(b)} and {pieces.said(a)} meet" for a, b in sorted(found - wanted)]
    return (*lost, *split, *apart, *meet)


def displaced(grid: RegionGrid, working: RegionGrid) -> tuple[str, ...]:
    """Say which small pieces are not where they were, so that they would not overlap with their voxels.

    In a large image only pieces of protected regions of at least `SPECK` voxels must; the others may be off by a
    coarse voxel, of which the certificate warns.
    """
    pieces = grid.parts
    count, center = measured(working.parts.ids, len(pieces.names))
    away = (center - 1.0) @ working.affine[:3, :3].T + working.affine[:3, 3] - pieces.places
    voxel = float(np.prod(working.spacing))
    small = pieces.solid() & (pieces.volumes < RESOLVED * voxel)
    reach = INSIDE * np.cbrt(pieces.volumes)
    if grid.values.size > LARGE:
        small &= np.isin(np.array(pieces.names), grid.protected) & (pieces.voxels >= SPECK)
    off = (np.linalg.norm(away, axis=1) > reach) | (count * voxel > MOST_SWOLLEN * pieces.volumes)
    return tuple(f"{pieces.said(i)} has no place" for i in np.flatnonzero(small & off).tolist())


@dataclass(frozen=True)
class Vote:
    """How much each name wants the voxels of a coarser grid.

    Attributes:
        sums: Share of each name, the outside first, in units of the step [mm], shape (names + 1, nx, ny, nz).
        wanted: Coarse voxels that each name should have.
        at: Where the voxels of the image are along each axis, in coarse voxels.
        low: First corner of the coarse grid, in voxels of the image, shape (3,).
        ratio: Spacing in voxels of the image, shape (3,).
    """

    sums: NDArray[np.float32]
    wanted: Floats
    at: tuple[Floats, Floats, Floats]
    low: Floats
    ratio: Floats


def _voted(grid: RegionGrid, step: float) -> Vote:
    """Let each voxel count for the coarse voxels around it, the near ones more.

    Args:
        grid: The regions.
        step: Spacing wanted [mm]; each axis gets the next spacing that divides the box.
    """
    shape = np.array(grid.values.shape)
    pad = np.where(grid.cut, 0, np.ceil(2.0 * step / grid.spacing).astype(int)[:, None])
    low, extent = -pad[:, 0] - 0.5, shape + pad.sum(axis=1)
    count = np.maximum(np.round(extent * grid.spacing / step), 1).astype(int)
    ratio = extent / count
    at = [(np.arange(n) - low[i]) / ratio[i] - 0.5 for i, n in enumerate(grid.values.shape)]
    sums = np.zeros((len(grid.names) + 1, *count.tolist()), dtype=np.float32)
    _pour(grid.values, (at[0], at[1], at[2]), sums)
    sums[0][sums.sum(axis=0) == 0.0] = 1.0
    sums *= np.float32(step) / sums.sum(axis=0)
    wanted = np.bincount(grid.values.ravel(), minlength=len(sums)) * np.prod(ratio) ** -1.0
    wanted[0] += float(np.prod(count)) - wanted.sum()
    return Vote(sums, wanted, (at[0], at[1], at[2]), low, ratio)


def _poured(grid: RegionGrid, step: float) -> RegionGrid:
    """Vote the regions onto an isotropic grid, keeping volumes, and mend what that does to pieces and contacts.

    A coarse voxel goes to the name with the largest sum plus a weight, and the weights are fitted to the volumes.
    """
    pieces, vote = grid.parts, _voted(grid, step)
    values = voted(list(vote.sums), vote.wanted, step)[0]
    slots = np.full((*(np.array(values.shape) + 2).tolist(), SLOTS, 2), -1, dtype=np.int32)
    cells = [np.clip(np.rint(a), 0, n - 1).astype(np.int64) + 1 for a, n in zip(vote.at, values.shape, strict=True)]
    _collect(pieces.ids, (cells[0], cells[1], cells[2]), slots)
    flat = slots.reshape(-1, SLOTS, 2)
    start = pieces.on(_assigned(grid, values, pieces, slots))
    found = pieces.on(mended(start, Shares.of(flat[:, :, 0], flat[:, :, 1], len(pieces.names))))
    edge = float(np.prod(vote.ratio * grid.spacing) ** (1.0 / 3.0))
    note = f"the image was resampled to voxels of {edge:.3g} mm, keeping every piece and contact"
    return replace(
        grid,
        values=pieces.rows(grid.names)[found.ids[1:-1, 1:-1, 1:-1]].astype(np.int16),
        affine=moved(grid.affine, vote.low + 0.5 * vote.ratio, vote.ratio),
        pieces=found,
        repairs=(*grid.repairs, note),
    )


def smoothed(grid: RegionGrid, step: float) -> RegionGrid:
    """Give thick regions the shape that they have on a coarser grid; thin ones and small pieces stay as they must.

    Surfaces move voxel by voxel, so that every piece and contact stays, and every piece has its volume.

    Args:
        grid: The regions.
        step: Size of the details that may go [mm].
    """
    pieces, vote = grid.parts, _voted(grid, step)
    levels = np.empty((len(vote.sums), *grid.values.shape), dtype=np.float32)
    _spread_out(vote.sums, vote.at, levels)
    few = (slice(None, None, EVERY),) * 3
    wanted = np.bincount(grid.values[few].ravel(), minlength=len(levels)).astype(np.float64)
    levels += voted([level[few] for level in levels], wanted, step)[1][:, None, None, None]
    voxel = float(np.prod(grid.spacing))
    found = pieces.on(relaxed(pieces, levels, pieces.rows(grid.names), voxel, GIVE, True))
    note = f"details below about {step:.3g} mm were smoothed, keeping every piece and contact"
    return replace(
        grid,
        values=pieces.rows(grid.names)[found.ids[1:-1, 1:-1, 1:-1]].astype(np.int16),
        pieces=found,
        detail=step,
        repairs=(*grid.repairs, note),
    )


@compiled
def _spread_out(sums: NDArray[np.float32], at: tuple[Floats, Floats, Floats], levels: NDArray[np.float32]) -> None:
    """Interpolate linearly between the centers of coarse voxels."""
    nx, ny, nz = sums.shape[1], sums.shape[2], sums.shape[3]
    for n in range(levels.shape[0]):
        for x in range(levels.shape[1]):
            i = int(np.floor(at[0][x]))
            u = np.float32(at[0][x] - i)
            p, q = min(max(i, 0), nx - 1), min(max(i + 1, 0), nx - 1)
            for y in range(levels.shape[2]):
                j = int(np.floor(at[1][y]))
                v = np.float32(at[1][y] - j)
                r, s = min(max(j, 0), ny - 1), min(max(j + 1, 0), ny - 1)
                one = (1 - u) * (1 - v) * sums[n, p, r] + (1 - u) * v * sums[n, p, s]
                one += u * (1 - v) * sums[n, q, r] + u * v * sums[n, q, s]
                for z in range(levels.shape[3]):
                    k = int(np.floor(at[2][z]))
                    w = np.float32(at[2][z] - k)
                    low, high = one[min(max(k, 0), nz - 1)], one[min(max(k + 1, 0), nz - 1)]
                    levels[n, x, y, z] = low + w * (high - low)


@compiled
def _pour(values: NDArray[np.int16], at: tuple[Floats, Floats, Floats], sums: NDArray[np.float32]) -> None:
    """Add each voxel to the eight coarse voxels around it, linearly less with distance along each axis."""
    nx, ny, nz = sums.shape[1], sums.shape[2], sums.shape[3]
    for x in range(values.shape[0]):
        i = int(np.floor(at[0][x]))
        u = at[0][x] - i
        for y in range(values.shape[1]):
            j = int(np.floor(at[1][y]))
            v = at[1][y] - j
            for z in range(values.shape[2]):
                k = int(np.floor(at[2][z]))
                w = at[2][z] - k
                own = values[x, y, z]
                for n in range(8):
                    a, b, c = n // 4, n // 2 % 2, n % 2
                    weight = (u if a else 1.0 - u) * (v if b else 1.0 - v) * (w if c else 1.0 - w)
                    p, q, r = min(max(i + a, 0), nx - 1), min(max(j + b, 0), ny - 1), min(max(k + c, 0), nz - 1)
                    sums[own, p, q, r] += weight


@compiled
def _collect(ids: NDArray[np.int32], cells: tuple[Integers, Integers, Integers], slots: NDArray[np.int32]) -> None:
    """Count the voxels of each piece in each coarse voxel, in as many slots as there are."""
    for x in range(1, ids.shape[0] - 1):
        for y in range(1, ids.shape[1] - 1):
            for z in range(1, ids.shape[2] - 1):
                own = ids[x, y, z]
                cell = slots[cells[0][x - 1], cells[1][y - 1], cells[2][z - 1]]
                for s in range(SLOTS):
                    if cell[s, 0] == -1:
                        cell[s, 0], cell[s, 1] = own, 0
                    if cell[s, 0] == own:
                        cell[s, 1] += 1
                        break


def _assigned(
    grid: RegionGrid, values: NDArray[np.int16], pieces: Pieces, slots: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Give each coarse voxel the piece of its name that has most of it, or that a neighbor has."""
    row = pieces.rows(grid.names)
    ids = padded_with_cut(values, grid.cut).astype(np.int32)
    ids = np.where(ids < 0, 1, 0).astype(np.int32)
    inner = ids[1:-1, 1:-1, 1:-1]
    inner[:] = -1
    own = slots[1:-1, 1:-1, 1:-1]
    most = np.zeros(values.shape, dtype=np.int32)
    for s in range(SLOTS):
        fits = (own[..., s, 0] >= 0) & (row[own[..., s, 0]] == values) & (own[..., s, 1] > most)
        inner[fits], most[fits] = own[..., s, 0][fits], own[..., s, 1][fits]
    inner[(inner < 0) & (values == 0)] = 0
    _spread(ids, values)
    return ids


@compiled
def _spread(ids: NDArray[np.int32], values: NDArray[np.int16]) -> None:
    """Fill voxels that are still open from neighbors of the same name, else from any neighbor."""
    nx, ny, nz = values.shape
    for alike in (True, False):
        changed = True
        while changed:
            changed = False
            for x in range(1, nx + 1):
                for y in range(1, ny + 1):
                    for z in range(1, nz + 1):
                        if ids[x, y, z] < 0:
                            changed = _fill(ids, values, x, y, z, alike) or changed


@compiled
def _fill(ids: NDArray[np.int32], values: NDArray[np.int16], x: int, y: int, z: int, alike: bool) -> bool:
    """Fill a voxel from one of its neighbors; say whether one could."""
    nx, ny, nz = values.shape
    for i in range(6):
        a, b, c = near(x, y, z, i)
        if min(a, b, c) < 1 or a > nx or b > ny or c > nz or ids[a, b, c] < 0:
            continue
        if not alike or values[a - 1, b - 1, c - 1] == values[x - 1, y - 1, z - 1]:
            ids[x, y, z] = ids[a, b, c]
            return True
    return False
