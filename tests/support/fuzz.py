"""Label images that no segmenter would make: noise, blobs, sheets, rods, checkers, specks, lesions on the border."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Labels = NDArray[np.uint8]


def _shape(random: np.random.Generator, low: int = 8, high: int = 36) -> tuple[int, int, int]:
    a, b, c = random.integers(low, high + 1, 3).tolist()
    return a, b, c


def _grid(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    return np.moveaxis(np.indices(shape), 0, -1).astype(float)


def noise(random: np.random.Generator) -> Labels:
    """Labels 0 to 2 drawn voxel by voxel, in a small block."""
    return random.integers(0, 3, _shape(random, 4, 7)).astype(np.uint8)


def blobs(random: np.random.Generator) -> Labels:
    """Smooth random fields, each label where its own is largest."""
    shape = _shape(random)
    fields = [ndimage.gaussian_filter(random.normal(size=shape), random.uniform(1.0, 3.0)) for _ in range(4)]
    fields = [field / field.std() for field in fields]
    return np.argmax(fields, axis=0).astype(np.uint8)


def voronoi(random: np.random.Generator) -> Labels:
    """Cells of random seeds, with single voxels of other labels strewn in."""
    shape = _shape(random)
    seeds = random.uniform(0, 1, (random.integers(4, 12), 3)) * np.array(shape)
    owner = cKDTree(seeds).query(_grid(shape).reshape(-1, 3))[1].reshape(shape)
    values = (owner % 4).astype(np.uint8)
    for _ in range(int(random.integers(1, 8))):
        values[tuple(random.integers(0, shape))] = random.integers(1, 6)
    return values


def sheets(random: np.random.Generator) -> Labels:
    """An organ crossed by sheets and rods one voxel thick, which meet, touch at edges and reach the border."""
    shape = _shape(random, 10)
    values = np.ones(shape, dtype=np.uint8)
    for label in (2, 3, 4):
        axis = int(random.integers(0, 3))
        part: list[slice | int] = [slice(int(random.integers(0, 4)), n - int(random.integers(0, 4))) for n in shape]
        part[axis] = int(random.integers(1, shape[axis] - 1))
        if random.random() < 0.5:
            part[(axis + 1) % 3] = int(random.integers(1, shape[(axis + 1) % 3] - 1))
        values[tuple(part)] = label
    return values


def checkers(random: np.random.Generator) -> Labels:
    """Cubes that alternate between two labels, in a third: contacts at faces, edges and corners."""
    shape = _shape(random, 8, 20)
    side = int(random.integers(1, 4))
    x = _grid(shape).astype(int) // side
    values = (x.sum(axis=-1) % 2 + 2).astype(np.uint8)
    rim = int(random.integers(1, 4))
    values[:rim], values[:, :rim], values[:, :, :rim] = 1, 1, 1
    values[shape[0] // 2 :] = 1
    box = tuple(slice(max(0, n // 2 - 2 * side), n // 2 + 2 * side) for n in shape)
    inner = np.ones(shape, dtype=bool)
    inner[box] = False
    values[inner & (values > 1)] = 1
    return values


def nested(random: np.random.Generator) -> Labels:
    """Balls in balls in air, one voxel apart here and there, and a lesion on the border of the image."""
    shape = _shape(random, 16)
    x = _grid(shape)
    center = np.array(shape) / 2 - 0.5
    radius = min(shape) / 2 - 1.0
    values = np.zeros(shape, dtype=np.uint8)
    for label, share in ((1, 1.0), (2, random.uniform(0.55, 0.85)), (3, random.uniform(0.2, 0.5))):
        shift = random.uniform(-1, 1, 3) * 0.1 * radius
        values[np.linalg.norm(x - center - shift, axis=-1) < share * radius] = label
    spot = np.array([0, shape[1] // 2, shape[2] // 2])
    values[np.linalg.norm(x - spot, axis=-1) < random.uniform(1.0, 3.0)] = 4
    return values


def specks(random: np.random.Generator) -> Labels:
    """A smooth organ with lesions of one voxel and of a few, some next to each other, some on the surface."""
    shape = _shape(random, 14)
    x = _grid(shape)
    half = np.array(shape) / 2
    values = (np.linalg.norm((x - half + 0.5) / (half - 1.0), axis=-1) < 1.0).astype(np.uint8)
    inside = np.argwhere(values == 1)
    for _ in range(int(random.integers(2, 10))):
        at = inside[random.integers(0, len(inside))]
        values[tuple(at)] = 2
        if random.random() < 0.4:
            values[tuple(np.minimum(at + random.integers(0, 2, 3), np.array(shape) - 1))] = int(random.integers(2, 4))
    return values


KINDS: dict[str, Callable[[np.random.Generator], Labels]] = {
    "blobs": blobs,
    "voronoi": voronoi,
    "sheets": sheets,
    "checkers": checkers,
    "nested": nested,
    "specks": specks,
    "noise": noise,
}


def fuzzed(seed: int) -> tuple[str, Labels]:
    """Return the kind and the values of an image; the kinds take turns."""
    kind = list(KINDS)[seed % len(KINDS)]
    values = KINDS[kind](np.random.default_rng(seed))
    if not values.any():
        values[tuple(n // 2 for n in values.shape)] = 1
    return kind, values


def frame(seed: int) -> NDArray[np.float64]:
    """Return an affine: turned, anisotropic up to 1:2.5, sheared a little, left-handed every other time."""
    random = np.random.default_rng([seed, 1])
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    if (np.linalg.det(turn) < 0) != (seed % 2 == 0):
        turn[:, 0] *= -1
    shear = np.eye(3) + np.triu(random.uniform(-0.1, 0.1, (3, 3)), 1)
    affine = np.eye(4)
    affine[:3, :3] = turn @ shear @ np.diag(random.uniform(0.8, 2.0, 3))
    affine[:3, 3] = random.uniform(-100, 100, 3)
    return affine
