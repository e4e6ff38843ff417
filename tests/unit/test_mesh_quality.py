"""Parts have the volumes asked for, cells have no small angles, and mending cells leaves surfaces as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from support.fuzz import fuzzed

import turgor.meshing.fill as fill_module
from turgor.meshing.anatomy import ImageAnatomy
from turgor.meshing.boundary import Boundary, Part
from turgor.meshing.crossing import crossings
from turgor.meshing.fill import Filling, fill
from turgor.meshing.gradients import levers_of, volume_gradients
from turgor.meshing.labels import PartGrid, RegionGrid, parts_of
from turgor.meshing.nets import surface_nets
from turgor.meshing.offset import with_volumes
from turgor.meshing.repair import Effort, repaired
from turgor.meshing.sizes import Octree, Sizes
from turgor.meshing.tetrahedra import dihedral_angles, positive, volumes

Floats = NDArray[np.float64]

SEEDS = (3, 13, 49)
"""Checkers, noise and blobs: in the first vertices must go back to the middle of their cells."""


def anatomy(seed: int) -> tuple[ImageAnatomy, Sizes]:
    """A fuzzed image as regions on cubic millimeters, cut on all sides, with edges of one millimeter wanted."""
    _, values = fuzzed(seed)
    labels = np.unique(values[values > 0])
    names = tuple(f"r{label}" for label in labels)
    regions = np.searchsorted(labels, values).astype(np.int16) + (values > 0)
    counts = {name: int((values == label).sum()) for name, label in zip(names, labels, strict=True)}
    grid = RegionGrid(regions.astype(np.int16), np.eye(4), names, np.ones((3, 2), dtype=bool), counts, 1.0)
    return ImageAnatomy(grid, grid, ()), Sizes(dict.fromkeys(names, 1.0), {})


def parts(seed: int) -> PartGrid:
    made, _ = anatomy(seed)
    return parts_of(made.working, ())


def filled(seed: int) -> tuple[Boundary, Filling]:
    made, sizes = anatomy(seed)
    boundary = made.surfaces(sizes, lambda sentence: None)
    return boundary, fill(boundary, sizes, log=lambda sentence: None)


def off(boundary: Boundary, wanted: Floats) -> float:
    meshed = np.isfinite(wanted)
    return float(np.abs(boundary.part_volumes() / wanted - 1.0)[meshed].max())


@pytest.mark.parametrize("seed", SEEDS)
def test_every_part_has_the_volume_of_its_voxels(seed: int) -> None:
    wanted = parts(seed).volumes
    boundary = anatomy(seed)[0].surfaces(anatomy(seed)[1], lambda sentence: None)
    assert off(boundary, wanted) < 1e-6
    assert len(crossings(boundary.points, boundary.triangles)) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_no_cell_of_a_fuzzed_image_has_an_angle_under_ten_degrees(seed: int) -> None:
    boundary, filling = filled(seed)
    assert dihedral_angles(filling.points, filling.cells).min() > 10.0
    held = np.bincount(filling.part, volumes(filling.points, filling.cells), len(boundary.parts))
    meshed = [part.meshed for part in boundary.parts]
    assert held[meshed] == pytest.approx(parts(seed).volumes[meshed], rel=1e-6)


def test_a_turned_and_a_mirrored_copy_have_the_volumes_of_the_image() -> None:
    grid = parts(8)
    turn = np.array([[0.6, 0.8, 0.0, 5.0], [-0.8, 0.6, 0.0, -7.0], [0.0, 0.0, -1.0, 2.0], [0.0, 0.0, 0.0, 1.0]])
    for affine in (turn, np.diag([-1.0, 1.0, 1.0, 1.0]), np.eye(4)):
        copy = PartGrid(grid.parts, affine, grid.list, grid.volumes)
        assert off(with_volumes(surface_nets(copy), copy.volumes), grid.volumes) < 1e-6


def test_the_gradient_of_a_volume_is_its_rate_of_change() -> None:
    boundary = surface_nets(parts(5))
    levers = levers_of(boundary.triangles, boundary.sides, len(boundary.points))
    held, ahead = np.zeros(len(boundary.parts)), np.zeros(len(boundary.parts))
    gradient, unused = np.zeros((len(levers.part), 3)), np.zeros((len(levers.part), 3))
    way = np.random.default_rng(0).normal(size=boundary.points.shape)
    step = 1e-6
    volume_gradients(boundary.points - step * way, levers, held, unused)
    volume_gradients(boundary.points + step * way, levers, ahead, unused)
    volume_gradients(boundary.points, levers, unused[: len(held), 0].copy(), gradient)
    rate = np.bincount(levers.part, (gradient * way[levers.point]).sum(axis=1), len(held))
    assert (ahead - held) / (2 * step) == pytest.approx(rate, rel=1e-5, abs=1e-5)


def crowded_cube(seed: int) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64], Boundary]:
    """A cube of 6 x 5³ cells whose inner points are shaken, so that some cells are flat, and its surface."""
    n = 6
    points = np.stack(np.meshgrid(*[np.arange(n, dtype=float)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    number = np.arange(n**3).reshape(n, n, n)
    low = number[:-1, :-1, :-1].ravel()
    steps = np.array([n * n, n, 1])
    cells = np.concatenate(
        [
            np.stack([low, low + steps[a], low + steps[a] + steps[b], low + steps.sum()], axis=1)
            for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))
        ]
    )
    inner = ((points > 0) & (points < n - 1)).all(axis=1)
    order = np.argsort(inner, kind="stable")
    rank = np.argsort(order)
    points = points[order]
    cells = positive(points, rank[cells])
    free = np.arange(int((~inner).sum()), len(points))
    points[free] += np.random.default_rng(seed).uniform(-0.32, 0.32, (len(free), 3))
    faces = np.sort(cells[:, [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]].reshape(-1, 3), axis=1)
    unique, count = np.unique(faces, axis=0, return_counts=True)
    outer = unique[count == 1]
    corner = points[outer]
    inward = np.linalg.det(corner - points.mean(axis=0)) < 0
    outer[inward] = outer[inward][:, ::-1]
    sides = np.repeat([[0, 1]], len(outer), axis=0)
    beyond = Part("outside", "outside")
    return (
        points,
        cells,
        np.zeros(len(cells), dtype=np.int64),
        Boundary(points[: free[0]], outer, sides, (Part("a", "region"), beyond)),
    )


def test_mending_cells_leaves_the_surface_and_the_volume_as_they_are() -> None:
    points, cells, part, boundary = crowded_cube(0)
    before = dihedral_angles(points, cells).min()
    better, mended, parts_after = repaired(points, cells, part, boundary)
    assert before < 8.0
    assert dihedral_angles(better, mended).min() > 12.0 - 1e-6
    assert np.array_equal(better[: len(boundary.points)], boundary.points)
    assert volumes(better, mended).min() > 0.0
    assert volumes(better, mended).sum() == pytest.approx(125.0, rel=1e-12)
    assert not parts_after.any()


def test_points_of_surfaces_that_the_user_gave_stay() -> None:
    for seed in (49, 13):
        boundary, _ = filled(seed)
        given = fill(replace(boundary, given=True), anatomy(seed)[1], log=lambda sentence: None)
        assert np.array_equal(given.points[: len(boundary.points)], boundary.points)


def test_where_the_first_way_of_filling_fails_the_second_one_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fill_module._attempt

    def only_delaunay(
        boundary: Boundary, inside: Mapping[str, float], tree: Octree, algorithm: int, threshold: float
    ) -> Filling | str:
        if algorithm != fill_module.DELAUNAY:
            return "no cells in a"
        return asked(boundary, inside, tree, algorithm, threshold)

    monkeypatch.setattr(fill_module, "_attempt", only_delaunay)
    said: list[str] = []
    made, sizes = anatomy(13)
    boundary = made.surfaces(sizes, said.append)
    filling = fill(boundary, sizes, log=said.append)
    assert filling.how.endswith("algorithm 1")
    assert "gmsh: no cells in a; trying another way" in said
    assert dihedral_angles(filling.points, filling.cells).min() > 5.0


def test_mending_ends_when_its_effort_is_spent() -> None:
    effort = Effort(3)
    assert effort.spent_on(np.arange(2)).tolist() == [0, 1]
    assert effort.spent_on(np.arange(2)).tolist() == [0]
    assert not len(effort.spent_on(np.arange(2)))
