"""What of a segmentation is in a mesh, counted from the cells and facets alone: pieces, contacts, volumes, areas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from turgor.materials.errors import MeshQualityError, SegmentationError
from turgor.meshing.pieces import Pieces
from turgor.meshing.tetrahedra import Faces, Floats, Integers, Tetrahedra, areas, faces_of, row_keys

SURELY = 1500
"""Up to this many bodies of a region are matched by the best assignment; more by the largest overlap."""


@dataclass(frozen=True)
class Image:
    """The segmentation behind a mesh.

    Attributes:
        pieces: On the voxels of the image.
        affine: Index of a voxel (without the padding) to RAS millimeters, shape (4, 4).
        cavities: Names that are not meshed.
        reach: How far a piece may be from its place, when its voxels are finer than the mesh [mm].
    """

    pieces: Pieces
    affine: Floats
    cavities: tuple[str, ...]
    reach: float

    def piece_at(self, points: Floats) -> Integers:
        """Return the piece of the voxel around each point, shape (n,)."""
        inverse = np.linalg.inv(self.affine)
        index = np.rint(points @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.int64) + 1
        index = np.clip(index, 0, np.array(self.pieces.ids.shape) - 1)
        return np.asarray(self.pieces.ids[tuple(index.T)], dtype=np.int64)


@dataclass(frozen=True)
class Census:
    """The bodies of a mesh: cells of one region joined through faces.

    Attributes:
        body: Number of the body by cell, shape (m,).
        region: Index of the region of each body, shape (b,).
        piece: Piece of the image that each body is, shape (b,).
        volume: Of each body [mm^3], shape (b,).
        area: Of the surface of each body [mm^2], shape (b,).
        contacts: Pairs of names of bodies ("region#number") or of what lies beyond.
        beside: Pieces that lie beside their place, so that none of their voxels is in them, shape (d,).
    """

    body: Integers
    region: Integers
    piece: Integers
    volume: Floats
    area: Floats
    contacts: frozenset[tuple[int | str, int | str]]
    beside: Integers


def census(mesh: Tetrahedra, cell_volumes: Floats, image: Image | None) -> Census:
    """Count the bodies of a mesh and find the piece of the image that each is.

    Raises:
        SegmentationError: A piece of the image is not in the mesh, or the mesh has one too many.
        MeshQualityError: The outer facets do not close.
    """
    faces = faces_of(mesh.cells, len(mesh.points))
    if faces.most > 2:
        raise MeshQualityError("more than two cells of the mesh share a facet")
    beyond = _beyond(mesh, faces)
    one, two = mesh.region[faces.first], np.where(faces.second < 0, -1, mesh.region[np.maximum(faces.second, 0)])
    joined = one == two
    links = coo_array(
        (np.ones(int(joined.sum()), dtype=np.int8), (faces.first[joined], faces.second[joined])),
        shape=(len(mesh.cells), len(mesh.cells)),
    )
    count, label = connected_components(links, directed=False)
    body = np.asarray(label, dtype=np.int64)
    region = np.empty(count, dtype=np.int64)
    region[body] = mesh.region
    volume = np.bincount(body, cell_volumes, count)
    piece, beside = np.arange(count), np.zeros(0, dtype=np.int64)
    if image is not None:
        piece, beside = _matched(mesh, body, region, cell_volumes, image)
    size = areas(mesh.points, faces.vertices[~joined])
    first, second = body[faces.first[~joined]], faces.second[~joined]
    inner = second >= 0
    area = np.bincount(first, size, count) + np.bincount(body[second[inner]], size[inner], count)
    return Census(
        body, region, piece, volume, area, _contacts(mesh, piece, first, second, body, beyond[~joined]), beside
    )


def _beyond(mesh: Tetrahedra, faces: Faces) -> Integers:
    """Return the surface of each outer face, -1 inside.

    Raises:
        MeshQualityError: An outer face has no name, or the outer faces do not close.
    """
    exterior = np.flatnonzero(faces.second < 0)
    outer = np.array([s.kind in ("outside", "cut", "cavity") for s in mesh.surfaces])[mesh.facet_surface]
    both = row_keys(np.concatenate([mesh.facets[outer], faces.vertices[exterior]]), len(mesh.points))
    keys, wanted = both[: int(outer.sum())], both[int(outer.sum()) :]
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys[order], wanted), max(len(keys) - 1, 0))
    if not len(keys) or not (keys[order][at] == wanted).all():
        raise MeshQualityError("an outer facet of the mesh has no name")
    surface = np.full(len(faces.vertices), -1, dtype=np.int64)
    surface[exterior] = mesh.facet_surface[outer][order[at]]
    rim = faces.vertices[exterior]
    edges = np.concatenate([rim[:, [0, 1]], rim[:, [1, 2]], rim[:, [0, 2]]])
    _, count = np.unique(edges[:, 0].astype(np.int64) * len(mesh.points) + edges[:, 1], return_counts=True)
    if (count % 2).any():
        raise MeshQualityError("the outer facets of the mesh do not close")
    return surface


def _contacts(
    mesh: Tetrahedra, piece: Integers, first: Integers, second: Integers, body: Integers, beyond: Integers
) -> frozenset[tuple[int | str, int | str]]:
    """Return the pairs of pieces that share a facet; what is not meshed counts by its name, behind."""
    inner = second >= 0
    one, two = piece[body[second[inner]]], piece[first[inner]]
    pairs = np.unique(np.stack([np.minimum(one, two), np.maximum(one, two)], axis=1), axis=0)
    outer = np.unique(np.stack([piece[first[~inner]], beyond[~inner]], axis=1), axis=0)
    found: set[tuple[int | str, int | str]] = {(a, b) for a, b in pairs.tolist()}
    for own, surface in outer.tolist():
        found.add((own, mesh.surfaces[surface].name.split("|")[1]))
    return frozenset(found)


def wanted_contacts(image: Image) -> frozenset[tuple[int | str, int | str]]:
    """Return the pairs of pieces of the image that share a voxel face, as `Census.contacts`."""
    names = image.pieces.names
    unmeshed = {"outside", "cut", *image.cavities}
    found: set[tuple[int | str, int | str]] = set()
    for a, b in image.pieces.touching.tolist():
        inner = [i for i in (a, b) if names[i] not in unmeshed]
        outer = [names[i] for i in (a, b) if names[i] in unmeshed]
        if len(inner) == 2:
            found.add((inner[0], inner[1]))
        elif inner:
            found.add((inner[0], outer[0]))
    return frozenset(found)


def contact_faults(image: Image, found: frozenset[tuple[int | str, int | str]]) -> tuple[str, ...]:
    """Say which contacts of the image are not in the mesh, and which of the mesh not in the image."""
    wanted = wanted_contacts(image)
    lost = [f"{_said(image, pair)} touch in the segmentation, but not in the mesh" for pair in _sorted(wanted - found)]
    made = [f"{_said(image, pair)} touch in the mesh, but not in the segmentation" for pair in _sorted(found - wanted)]
    return (*lost, *made)


def _sorted(pairs: frozenset[tuple[int | str, int | str]]) -> list[tuple[int | str, int | str]]:
    """Return pairs in an order that does not change."""
    return sorted(pairs, key=str)


def _said(image: Image, pair: tuple[int | str, int | str]) -> str:
    """Name both sides of a contact."""
    beyond = {"outside": "the outside", "cut": "the end of the image"}
    return " and ".join(
        image.pieces.said(side) if isinstance(side, int) else beyond.get(side, f"cavity {side!r}") for side in pair
    )


def _matched(
    mesh: Tetrahedra, body: Integers, region: Integers, cell_volumes: Floats, image: Image
) -> tuple[Integers, Integers]:
    """Return the piece of the image that each body is, each once, and those that lie beside their place.

    A body is the piece that it shares the most volume with, else a near one.
    """
    at = image.piece_at(mesh.points[mesh.cells].mean(axis=1))
    n_pieces = len(image.pieces.names)
    row = image.pieces.rows(mesh.regions) - 1
    fits = row[at] == mesh.region
    keys, inverse = np.unique(body[fits] * n_pieces + at[fits], return_inverse=True)
    shared = np.bincount(inverse.reshape(-1), cell_volumes[fits], len(keys))
    matched, sure = np.full(len(region), -1, dtype=np.int64), np.zeros(len(region), dtype=bool)
    for index in range(len(mesh.regions)):
        bodies, pieces = np.flatnonzero(region == index), np.flatnonzero(row == index)
        own = region[keys // n_pieces] == index
        pairs = np.stack([keys[own] // n_pieces, keys[own] % n_pieces], axis=1)
        _assign(bodies, pieces, pairs, shared[own], matched)
        sure[bodies] = matched[bodies] >= 0
        _assign_by_distance(mesh, body, bodies, pieces, image, matched)
        _refuse(mesh.regions[index], bodies, pieces, matched, image)
    return matched, np.sort(matched[~sure])


def _assign(bodies: Integers, pieces: Integers, pairs: Integers, shared: Floats, matched: Integers) -> None:
    """Match bodies and pieces of a region that overlap."""
    if not len(pairs):
        return
    if max(len(bodies), len(pieces)) > SURELY:
        taken: set[int] = set()
        for k in np.argsort(-shared, kind="stable").tolist():
            b, p = pairs[k].tolist()
            if matched[b] < 0 and p not in taken:
                matched[b] = p
                taken.add(p)
        return
    gain = np.zeros((len(bodies), len(pieces)))
    gain[np.searchsorted(bodies, pairs[:, 0]), np.searchsorted(pieces, pairs[:, 1])] = shared
    one, two = linear_sum_assignment(gain, maximize=True)
    good = gain[one, two] > 0
    matched[bodies[one[good]]] = pieces[two[good]]


def _assign_by_distance(
    mesh: Tetrahedra, body: Integers, bodies: Integers, pieces: Integers, image: Image, matched: Integers
) -> None:
    """Match what does not overlap, because it is smaller than the voxels that were meshed, with what is near."""
    free = bodies[matched[bodies] < 0]
    left = np.setdiff1d(pieces, matched[bodies])
    if not len(free) or not len(left):
        return
    center = np.stack([mesh.points[mesh.cells[body == b]].mean(axis=(0, 1)) for b in free])
    apart = np.linalg.norm(center[:, None] - image.pieces.places[left][None], axis=2)
    one, two = linear_sum_assignment(apart)
    good = apart[one, two] <= image.reach
    matched[free[one[good]]] = left[two[good]]


def _refuse(name: str, bodies: Integers, pieces: Integers, matched: Integers, image: Image) -> None:
    """Raise when a region has lost a piece, or has one too many."""
    lost = np.setdiff1d(pieces, matched[bodies])
    if len(lost):
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        raise SegmentationError(
            f"mesh: {image.pieces.said(int(lost[0]))} is not in the mesh{more}; "
            f"set a smaller mesh.size for region {name!r}, or merge_below where its pieces do not matter"
        )
    extra = int((matched[bodies] < 0).sum())
    if extra:
        raise SegmentationError(
            f"mesh: region {name!r} falls into {len(bodies)} pieces in the mesh and {len(pieces)} in the segmentation; "
            "set a smaller mesh.size for it"
        )


def label_contacts(image: Image) -> frozenset[tuple[str, str]]:
    """Return the pairs of names that touch in the image, at least one of them meshed."""
    names = image.pieces.names
    pairs = {
        (names[a] if isinstance(a, int) else a, names[b] if isinstance(b, int) else b)
        for a, b in wanted_contacts(image)
    }
    return frozenset((min(pair), max(pair)) for pair in pairs if pair[0] != pair[1])


def by_group(group: Integers, values: Floats, count: int, shares: tuple[float, ...]) -> NDArray[np.float64]:
    """Return quantiles of values by group, shape (count, len(shares)); every group has a value."""
    order = np.lexsort((values, group))
    size = np.bincount(group, minlength=count)
    start = np.cumsum(size) - size
    at = start[:, None] + np.minimum((np.array(shares)[None] * size[:, None]).astype(np.int64), size[:, None] - 1)
    return np.asarray(values[order][at])
