"""Surfaces in any condition on voxels: inside is where they wind around more than half, and later ones win."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from turgor.materials.errors import SegmentationError
from turgor.meshing.anatomy import ImageAnatomy, from_grid
from turgor.meshing.certificate import Origin
from turgor.meshing.clean import Ledger, Skin
from turgor.meshing.compiled import compiled
from turgor.meshing.grids import MOST_VOXELS
from turgor.meshing.labels import RegionGrid
from turgor.meshing.sizes import sizes_of
from turgor.meshing.spec import MeshSpec
from turgor.meshing.tetrahedra import Floats, Integers
from turgor.meshing.winding import Dipoles, dipoles_of, windings

Log = Callable[[str], None]

BLOCK = 4
"""Voxels along the edge of a block that is decided at once where no triangle is near."""

HALF = 0.5 + 1e-6
"""Points that the surface winds around more than this are inside; on an open sheet it winds by exactly one half."""

SURE = 0.2
"""How far from one half the winding number at the corners of a block must be to decide it."""

CHUNK = 20_000
MOST_SAMPLES = 100_000
ACROSS = 24
"""Voxels along the diagonal of the smallest surface, at first."""

THICK = 4.0
"""Voxels across the thickness of a region."""

ACCURATE = 0.01
"""Largest difference between the volume of voxels and that of finer samples."""

SPECK = 8
"""Pieces of fewer voxels, other than the largest of a region, join their neighbor."""

TRIES = 5
PROBES = (24, 48, 96, 192)
"""Points along the diagonal of a surface, to see whether it has an inside."""

MOST_PROBES = 2000
DEPTH = 1e-4
"""How far inside of a surface it is looked at what covers it, in units of its diagonal."""

ASIDE = (0.137, 0.211, 0.173)
"""How far these points are from where a regular surface would have its edges, in units of their distance."""


@dataclass(frozen=True)
class Lattice:
    """Cubic voxels.

    Attributes:
        low: Lowest corner of the first voxel [mm], shape (3,).
        width: Of a voxel [mm].
        shape: Number of voxels along each axis.
    """

    low: Floats
    width: float
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, low: Floats, high: Floats, width: float) -> Lattice:
        """Cover a box with voxels of a width, the same amount over on either side."""
        shape = np.maximum(np.ceil((high - low) / width - 1e-9).astype(int), 1)
        i, j, k = shape.tolist()
        return cls(0.5 * (low + high) - 0.5 * width * shape, width, (i, j, k))

    @property
    def affine(self) -> Floats:
        """Return the map from voxel index to millimeters, shape (4, 4)."""
        affine = np.diag([self.width, self.width, self.width, 1.0])
        affine[:3, 3] = self.low + 0.5 * self.width
        return affine


@dataclass(frozen=True)
class _Solid:
    """A surface ready to be asked what is inside."""

    index: int
    tree: Dipoles
    low: Floats
    high: Floats

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        """Say which points are inside, shape (n,)."""
        found = ((points >= self.low) & (points <= self.high)).all(axis=1)
        found[found] = windings(self.tree, points[found]) > HALF
        return found


@dataclass(frozen=True)
class SampledAnatomy(ImageAnatomy):
    """Regions sampled on voxels from surfaces.

    Attributes:
        enclosed: Volume of each region by winding number [mm^3], sampled finer than the voxels.
    """

    enclosed: Mapping[str, float] = field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """Return what the image would say, measured against the volumes that the surfaces enclose."""
        bare = super().origin
        names = tuple(name for name in self.grid.names if name not in self.cavities)
        return replace(bare, volumes={**bare.volumes, **self.enclosed}, protected=names)


def voxelized(
    skins: Sequence[Skin], spec: MeshSpec, rim: Mapping[str, float], ledger: Ledger, log: Log
) -> SampledAnatomy:
    """Sample surfaces on voxels fine enough for the thickness and the volume of each region.

    Args:
        skins: One for each surface of the case.
        spec: The mesh of the case.
        rim: Region -> thickness of the pressure layer at its rim [mm].
        ledger: Is told the voxels and what became of the volumes.
        log: Takes a sentence now and then.

    Raises:
        SegmentationError: A region has no inside, or is covered by later ones.
    """
    names = spec.named()
    owners = [names.index(surface.region) + 1 for surface in spec.surfaces]
    solids = [
        _Solid(owner, dipoles_of(skin.corners), skin.points.min(axis=0), skin.points.max(axis=0))
        for owner, skin in zip(owners, skins, strict=True)
    ]
    _refuse_sheets(skins, solids, spec)
    _refuse_covered(solids, spec)
    low: Floats = np.stack([s.low for s in solids]).min(axis=0)
    high: Floats = np.stack([s.high for s in solids]).max(axis=0)
    least = float((np.prod(high - low) / MOST_VOXELS) ** (1.0 / 3.0))
    smallest = min(float(np.linalg.norm(s.high - s.low)) for s in solids)
    sizes = sizes_of(spec, rim, float(np.linalg.norm(high - low)))
    width = max(least, min(min([*sizes.inside.values(), *sizes.rim.values()]) / 1.5, smallest / ACROSS))
    for attempt in range(TRIES):
        lattice = Lattice.around(low, high, width)
        log(f"mesh: surfaces on {' x '.join(map(str, lattice.shape))} voxels of {width:.3g} mm")
        values = _values(solids, lattice)
        volumes = {name: _volume(values, i + 1, solids, lattice) for i, name in enumerate(names)}
        wanted = min(_wanted(values == i + 1, volumes[name], width) for i, name in enumerate(names))
        if wanted >= width or width <= 1.01 * least or attempt == TRIES - 1:
            break
        width = max(least, wanted)
    values, specks = _without_specks(values, len(names))
    _refuse_missing(values, spec, solids, lattice)
    grid = _grid(values, lattice, names)
    _tell(grid, volumes, specks, ledger)
    grid = replace(grid, repairs=tuple(ledger.entries))
    anatomy = from_grid(grid, spec, rim, log)
    return SampledAnatomy(anatomy.grid, anatomy.working, anatomy.cavities, enclosed=volumes)


def _refuse_sheets(skins: Sequence[Skin], solids: list[_Solid], spec: MeshSpec) -> None:
    """Raise when an open surface has no inside."""
    for i, surface in enumerate(spec.surfaces):
        if not skins[i].closed and not _has_inside(solids[i]):
            raise SegmentationError(
                f"mesh.surfaces.{i} ({surface.file.name}): encloses nothing: {skins[i].open_edges:,} edges are open, "
                "and nowhere does it wind around a point more than half; close it, or take it out"
            )


def _has_inside(solid: _Solid) -> bool:
    """Say whether a point of finer and finer lattices is inside a surface."""
    for count in PROBES:
        lattice = Lattice.around(solid.low, solid.high, float(np.linalg.norm(solid.high - solid.low)) / count)
        aside = replace(lattice, low=lattice.low + lattice.width * np.array(ASIDE))
        if _values([solid], aside).any():
            return True
    return False


def _values(solids: list[_Solid], lattice: Lattice) -> NDArray[np.int16]:
    """Return 0 outside and the region inside by voxel; later surfaces win."""
    values = np.zeros(lattice.shape, dtype=np.int16)
    for solid in solids:
        start = np.floor((solid.low - lattice.low) / lattice.width).astype(int)
        stop = np.ceil((solid.high - lattice.low) / lattice.width).astype(int)
        start, stop = np.maximum(start, 0), np.minimum(np.maximum(stop, start + 1), lattice.shape)
        box = tuple(slice(a, b) for a, b in zip(start.tolist(), stop.tolist(), strict=True))
        values[box][_inside(solid.tree, lattice, start, stop - start)] = solid.index
    return values


def _inside(tree: Dipoles, lattice: Lattice, start: Integers, count: Integers) -> NDArray[np.bool_]:
    """Say which voxels of a box are inside; blocks away from triangles are decided by their corners."""
    blocks = -(-count // BLOCK)
    width = BLOCK * lattice.width
    low = lattice.low + lattice.width * start
    corners = windings(tree, low + width * _indices(blocks + 1)).reshape(blocks + 1)
    least, most = ndimage.minimum_filter(corners, 2), ndimage.maximum_filter(corners, 2)
    least, most = least[1:, 1:, 1:], most[1:, 1:, 1:]
    near = np.zeros(blocks, dtype=np.bool_)
    _mark(near, tree.corners, low, width)
    found = np.zeros((*blocks, BLOCK, BLOCK, BLOCK), dtype=np.bool_)
    found[~near & (least > 0.5 + SURE)] = True
    open_ones = np.argwhere(near | ((least <= 0.5 + SURE) & (most >= 0.5 - SURE)))
    offset = low + lattice.width * (_indices(np.full(3, BLOCK)) + 0.5)
    for first in range(0, len(open_ones), CHUNK):
        some = open_ones[first : first + CHUNK]
        points = (width * some[:, None] + offset).reshape(-1, 3)
        found[tuple(some.T)] = (windings(tree, points) > HALF).reshape(-1, BLOCK, BLOCK, BLOCK)
    whole = found.transpose(0, 3, 1, 4, 2, 5).reshape(blocks * BLOCK)
    return whole[: count[0], : count[1], : count[2]]


def _indices(shape: Integers) -> Floats:
    """Return all index triples of an array, the last axis fastest, shape (n, 3)."""
    return np.moveaxis(np.indices(shape.tolist()), 0, -1).reshape(-1, 3).astype(np.float64)


@compiled
def _mark(near: NDArray[np.bool_], corners: Floats, low: Floats, width: float) -> None:
    """Mark the blocks near the plane of a triangle and inside its box."""
    first, last = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64)
    for t in range(len(corners)):
        a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
        for i in range(3):
            first[i] = max(int((min(a[i], b[i], c[i]) - low[i]) / width - 1e-6), 0)
            last[i] = min(int((max(a[i], b[i], c[i]) - low[i]) / width + 1e-6), near.shape[i] - 1)
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        wx, wy, wz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        reach = 0.5 * width * (abs(nx) + abs(ny) + abs(nz)) * 1.0001
        for i in range(first[0], last[0] + 1):
            x = low[0] + (i + 0.5) * width - a[0]
            for j in range(first[1], last[1] + 1):
                y = low[1] + (j + 0.5) * width - a[1]
                for k in range(first[2], last[2] + 1):
                    z = low[2] + (k + 0.5) * width - a[2]
                    if abs(nx * x + ny * y + nz * z) <= reach:
                        near[i, j, k] = True


def _volume(values: NDArray[np.int16], index: int, solids: list[_Solid], lattice: Lattice) -> float:
    """Return the volume of a region [mm^3], with voxels at its border sampled finer where they are few."""
    own = values == index
    border = _border(own)
    voxel = lattice.width**3
    fine = min(int((MOST_SAMPLES / (1 + int(np.count_nonzero(border)))) ** (1.0 / 3.0)), 4)
    if fine < 2:
        return float(np.count_nonzero(own) * voxel)
    corner = np.argwhere(border)[:, None] + (_indices(np.full(3, fine)) + 0.5) / fine
    points = lattice.low + lattice.width * corner.reshape(-1, 3)
    owner = np.zeros(len(points), dtype=np.int16)
    for solid in solids:
        owner[solid.inside(points)] = solid.index
    return float((np.count_nonzero(own & ~border) + np.count_nonzero(owner == index) / fine**3) * voxel)


def _border(own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which voxels lie on either side of the border of a region."""
    border = np.zeros_like(own)
    for axis in range(3):
        layers, marks = np.moveaxis(own, axis, 0), np.moveaxis(border, axis, 0)
        unlike = layers[1:] != layers[:-1]
        marks[1:] |= unlike
        marks[:-1] |= unlike
        marks[0] |= layers[0]
        marks[-1] |= layers[-1]
    return border


def _wanted(own: NDArray[np.bool_], volume: float, width: float) -> float:
    """Return the width of voxels that a region needs: some across its thickness, and its volume."""
    count = np.count_nonzero(own)
    if count == 0 or volume == 0.0:
        return 0.5 * width
    padded = np.pad(own, 1)
    faces = sum(np.count_nonzero(np.diff(padded, axis=axis)) for axis in range(3))
    thickness = 2.0 * count / (2.0 / 3.0 * faces) * width
    needed = float(thickness / THICK)
    if needed >= 0.9 * width:
        needed = width
    return min(needed, 0.6 * width) if abs(count * width**3 - volume) > ACCURATE * volume else needed


def _without_specks(values: NDArray[np.int16], count: int) -> tuple[NDArray[np.int16], int]:
    """Give tiny pieces and tiny gaps to the neighbor they touch most; return how many voxels changed."""
    padded = np.pad(values, 1)
    before = padded.copy()
    for index in range(count + 1):
        labels, pieces = ndimage.label(before == index)
        sizes = np.bincount(labels.ravel(), minlength=pieces + 1)[1:]
        boxes = ndimage.find_objects(labels)
        for i in np.flatnonzero(sizes < SPECK).tolist():
            if i == int(sizes.argmax()):
                continue
            box = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in boxes[i])
            piece = labels[box] == i + 1
            around = ndimage.binary_dilation(piece) & ~piece
            padded[box][piece] = np.bincount(before[box][around]).argmax()
    inner = np.ascontiguousarray(padded[1:-1, 1:-1, 1:-1])
    return inner, int(np.count_nonzero(inner != values))


def _refuse_missing(values: NDArray[np.int16], spec: MeshSpec, solids: list[_Solid], lattice: Lattice) -> None:
    """Raise when a region has no voxel."""
    for i, surface in enumerate(spec.surfaces):
        if (values == solids[i].index).any():
            continue
        raise SegmentationError(
            f"mesh.surfaces.{i} ({surface.file.name}): region {surface.region!r} is too thin or too small for "
            f"voxels of {lattice.width:.3g} mm, the finest for this anatomy; mend the surfaces, so that none are needed"
        )


def _refuse_covered(solids: list[_Solid], spec: MeshSpec) -> None:
    """Raise when later surfaces cover a region, by points just inside of its surfaces."""
    free: set[int] = set()
    covers: dict[int, int] = {}
    for i, solid in enumerate(solids):
        corners = solid.tree.corners[:: max(len(solid.tree.corners) // MOST_PROBES, 1)]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-300
        points = corners.mean(axis=1) - DEPTH * float(np.linalg.norm(solid.high - solid.low)) * normal
        for later in solids[i + 1 :]:
            if later.index != solid.index:
                within = later.inside(points)
                covers.update({solid.index: later.index} if within.any() else {})
                points = points[~within]
        free |= {solid.index} if len(points) else set()
    for i, solid in enumerate(solids):
        if solid.index not in free:
            over = spec.named()[covers[solid.index] - 1]
            raise SegmentationError(
                f"mesh.surfaces: region {spec.surfaces[i].region!r} is covered by later surfaces, such as {over!r}; "
                "put the inner surface after the outer"
            )


def _grid(values: NDArray[np.int16], lattice: Lattice, names: tuple[str, ...]) -> RegionGrid:
    """Return the voxels as regions; nothing is cut."""
    count = np.bincount(values.ravel(), minlength=len(names) + 1)
    voxels = {name: int(count[i + 1]) for i, name in enumerate(names)}
    return RegionGrid(values, lattice.affine, names, np.zeros((3, 2), dtype=np.bool_), voxels, lattice.width**3)


def _tell(grid: RegionGrid, volumes: Mapping[str, float], specks: int, ledger: Ledger) -> None:
    """Note the voxels, and how far their volumes are from those that the surfaces enclose."""
    width = float(grid.spacing[0])
    shape = " x ".join(map(str, grid.values.shape))
    ledger.add(
        "mesh.surfaces",
        f"sampled on {shape} voxels of {width:.3g} mm, inside where the winding number is above 1/2, later surfaces "
        "over earlier ones; the mesh follows the voxels, not the triangles",
    )
    if specks:
        ledger.add("mesh.surfaces", f"{specks:,} voxels of pieces below {SPECK} voxels joined their neighbors")
    for name, volume in grid.volumes().items():
        off = 100.0 * (volume / volumes[name] - 1.0)
        ledger.add("mesh.surfaces", f"{name}: {volumes[name]:.5g} mm^3 by winding number, {off:+.2f} % in voxels")
