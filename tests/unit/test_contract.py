"""Every label, piece and contact of a segmentation is in the mesh, or the command refuses and says which is not."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from support.fuzz import frame, fuzzed
from support.graph import compare

from turgor.materials.errors import MeshQualityError, SegmentationError
from turgor.meshing import MeshSpec, mesh, read_h5
from turgor.meshing.anatomy import from_image
from turgor.meshing.census import Image, contact_faults, wanted_contacts
from turgor.meshing.certificate import Origin, certify, lines
from turgor.meshing.coarse import coarsened, displaced, faults, smoothed
from turgor.meshing.grids import interpolated
from turgor.meshing.homotopy import factors, simple
from turgor.meshing.labels import RegionGrid
from turgor.meshing.pieces import CUT, OUTSIDE, pieces_of
from turgor.meshing.specks import filled, merged, remarks

UNCUT = np.zeros((3, 2), dtype=bool)
UNIT = np.eye(4)
Labels = NDArray[np.integer]


def region_grid(values: Labels, affine: NDArray[np.float64] = UNIT, *, cut: bool = True) -> RegionGrid:
    found = [int(k) for k in np.unique(values) if k]
    regions = np.zeros(values.shape, dtype=np.int16)
    for index, label in enumerate(found):
        regions[values == label] = index + 1
    names = tuple(f"r{label}" for label in found)
    voxels = {name: int((values == label).sum()) for name, label in zip(names, found, strict=True)}
    voxel = abs(float(np.linalg.det(affine[:3, :3])))
    return RegionGrid(regions, affine, names, np.full((3, 2), cut), voxels, voxel)


def spec_of(folder: Path, values: Labels, affine: NDArray[np.float64], size: str, **image: object) -> MeshSpec:
    nibabel.save(nibabel.Nifti1Image(values.astype(np.uint8), affine), folder / "labels.nii")
    names = {f"r{k}": [int(k)] for k in np.unique(values) if k}
    said = {"labels": names, "file": "labels.nii", **image}
    labels = said["labels"]
    assert isinstance(labels, dict)
    return MeshSpec.model_validate(
        {"file": "organ.msh", "size": dict.fromkeys(labels, size), "image": said}, context={"base": folder}
    )


def nested(shape: tuple[int, int, int]) -> Labels:
    """Return an organ (1) with a tumor (2) that has a core (3)."""
    x = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    values = np.zeros(shape, dtype=np.int16)
    for label, share in ((1, 0.9), (2, 0.5), (3, 0.25)):
        values[np.linalg.norm(x / (share * np.array(shape) / 2), axis=-1) < 1] = label
    return values


def test_pieces_are_those_that_scipy_finds() -> None:
    for seed in range(14):
        grid = region_grid(fuzzed(seed)[1])
        pieces = grid.parts
        for index, name in enumerate(grid.names):
            labels, count = ndimage.label(grid.values == index + 1)
            assert len(pieces.of(name)) == count
            sizes = np.bincount(labels.ravel())[1:]
            assert sorted(pieces.voxels[pieces.of(name)].tolist()) == sorted(sizes.tolist())


def test_a_void_is_a_piece_of_the_outside_unless_it_reaches_the_end_of_the_image() -> None:
    values = np.ones((5, 5, 5), dtype=np.int16)
    values[2, 2, 2] = 0
    pieces = pieces_of(values, ("organ",), UNCUT, UNIT)
    assert pieces.names == ("outside", "cut", "organ", "outside")
    assert pieces.voxels[3] == 1
    assert (OUTSIDE, 2) in map(tuple, pieces.touching.tolist())
    at_the_end = pieces_of(values, ("organ",), np.ones((3, 2), dtype=bool), UNIT)
    assert (CUT, 2) in map(tuple, at_the_end.touching.tolist())


def test_a_voxel_in_a_bar_is_not_simple_and_one_at_its_end_is() -> None:
    ids = np.zeros((5, 5, 7), dtype=np.int32)
    ids[2, 2, 1:6] = 2
    assert not simple(ids, 2, 2, 3, 2)
    assert simple(ids, 2, 2, 5, 2)
    ids[2, 2, 2:6] = 0
    assert not simple(ids, 2, 2, 1, 2)


def test_slender_voxels_are_cut_into_cubes() -> None:
    assert factors(np.array([1.0, 1.0, 4.0]), 100.0).tolist() == [1, 1, 4]
    assert factors(np.array([0.5, 2.0, 1.0]), 100.0).tolist() == [1, 4, 2]
    assert factors(np.array([1.0, 1.0, 4.0]), 2.0).tolist() == [1, 1, 2]


@pytest.mark.parametrize("seed", [1, 2, 6, 8, 12, 14, 18])
def test_interpolating_between_slices_keeps_every_piece_and_contact(seed: int) -> None:
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    working = interpolated(region_grid(fuzzed(seed)[1], affine))
    assert not faults(working.parts)
    pieces = working.parts
    held = np.bincount(pieces.ids[1:-1, 1:-1, 1:-1].ravel(), minlength=len(pieces.names)) * np.prod(working.spacing)
    step = float(np.prod(working.spacing))
    off = np.abs(held - pieces.volumes)[pieces.solid()]
    assert (off <= np.maximum(0.004 * pieces.volumes[pieces.solid()], step) + 1e-9).all()


def test_interpolating_rounds_the_stairs_of_a_slanted_surface() -> None:
    """Between slices 4 mm apart a plane tilted by 45 degrees has steps of 4 mm; interpolated they are smaller."""
    x, _, z = np.indices((40, 8, 10))
    slope = ((x + 0.5) < 4.0 * (z + 0.5)).astype(np.int16) + 1
    working = interpolated(region_grid(slope, np.diag([1.0, 1.0, 4.0, 1.0])))
    front = (working.values == 1).sum(axis=0) * 0.0 + (working.values == 2).sum(axis=0)
    steps = np.abs(np.diff(front[4, 8:-8]))
    assert steps.max() <= 2


@pytest.mark.parametrize("seed", [4, 8, 11, 18])
def test_a_coarser_grid_has_every_piece_and_contact_or_is_not_used(seed: int) -> None:
    grid = region_grid(fuzzed(seed)[1])
    working = coarsened(grid, 2.5, lambda sentence: None)
    assert working is None or not faults(working.parts)


@pytest.mark.parametrize("seed", [1, 2, 4, 8])
def test_smoothing_the_shape_of_regions_keeps_every_piece_and_contact(seed: int) -> None:
    grid = region_grid(fuzzed(seed)[1])
    working = smoothed(grid, 4.0)
    assert not faults(working.parts)
    held = np.bincount(working.parts.ids[1:-1, 1:-1, 1:-1].ravel(), minlength=len(working.parts.names))
    off = np.abs(held - grid.parts.voxels)[grid.parts.solid()]
    assert (off <= np.maximum(0.05 * grid.parts.voxels[grid.parts.solid()], 1.0)).all()


def test_a_sheet_between_a_core_and_an_organ_stays_where_coarse_voxels_are_thicker_than_it() -> None:
    x = np.moveaxis(np.indices((40, 40, 40)), 0, -1) - 19.5
    radius = np.linalg.norm(x, axis=-1)
    values = (np.where(radius < 18, 1, 0) + (radius < 12) + (radius < 11)).astype(np.int16)
    working = coarsened(region_grid(values, cut=False), 2.5, lambda sentence: None)
    assert working is not None
    assert working.detail == 0.0
    assert not faults(working.parts)


def test_a_small_lesion_has_its_place_on_a_coarser_grid() -> None:
    values = nested((36, 36, 36))
    values[6:9, 17:20, 17:20] = 4
    grid = region_grid(values, cut=False)
    working = coarsened(grid, 3.0, lambda sentence: None)
    assert working is not None
    assert not faults(working.parts)
    assert not displaced(grid, working)


def test_a_grid_on_which_a_lesion_of_one_voxel_has_no_place_is_not_used() -> None:
    said: list[str] = []
    for x in (4, 5, 6):
        values = np.minimum(nested((24, 24, 24)), 1)
        values[x, 11, 11] = 4
        grid = region_grid(values, cut=False)
        working = coarsened(grid, 4.0, said.append)
        assert working is None or not displaced(grid, working)
    assert any("region 'r4'" in sentence for sentence in said)


@pytest.mark.parametrize(("seed", "framed", "size"), [(6, True, "1 mm"), (12, True, "2 mm"), (3, False, "4 mm")])
def test_the_mesh_of_a_fuzzed_image_has_every_piece_and_contact(
    tmp_path: Path, seed: int, framed: bool, size: str
) -> None:
    values = fuzzed(seed)[1][:16, :16, :16]
    affine = frame(seed) if framed else np.eye(4)
    made = mesh(spec_of(tmp_path, values, affine, size))
    names = {f"r{k}": [int(k)] for k in np.unique(values) if k}
    assert compare(values, affine, names, made).differences == []


def test_turned_and_flipped_copies_of_an_image_give_the_same_volumes(tmp_path: Path) -> None:
    values = nested((18, 14, 16))
    affine = np.diag([1.0, 1.2, 1.1, 1.0])
    found = []
    for number, (axes, flips) in enumerate([((0, 1, 2), ()), ((2, 0, 1), (0,)), ((1, 0, 2), (1, 2))]):
        folder = tmp_path / str(number)
        folder.mkdir()
        turned = np.flip(values.transpose(axes), flips) if flips else values.transpose(axes)
        moved = affine[:, [*axes, 3]].copy()
        for axis in flips:
            moved[:3, 3] += moved[:3, axis] * (turned.shape[axis] - 1)
            moved[:3, axis] *= -1
        certificate = mesh(spec_of(folder, turned, moved, "3 mm")).with_suffix(".certificate.json")
        regions = json.loads(certificate.read_text())["regions"]
        found.append([regions[name]["volume_mesh_mm3"] for name in ("r1", "r2", "r3")])
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-6)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[MeshSpec, Path]:
    values = nested((14, 14, 14))
    values[2, 7, 7] = 2
    spec = spec_of(
        tmp_path_factory.mktemp("made"), values, np.eye(4), "2 mm", labels={"organ": [1], "tumor": [2], "core": [3]}
    )
    return spec, mesh(spec)


def origin_of(spec: MeshSpec) -> Origin:
    return from_image(spec, {}, lambda sentence: None).origin


def test_the_certificate_says_what_is_in_the_mesh_piece_by_piece(made: tuple[MeshSpec, Path]) -> None:
    content = json.loads(made[1].with_suffix(".certificate.json").read_text())
    assert content["regions"]["tumor"]["pieces"] == content["regions"]["tumor"]["pieces_segmented"] == 2
    assert content["regions"]["tumor"]["protected"]
    assert [entry["voxels"] for entry in content["region_pieces"] if entry["region"] == "tumor"].count(1) == 1
    assert content["piece_contacts"]["equal"]
    assert content["distance_to_voxels"]["p50_voxels"] < 0.5
    assert content["outer_boundary"] == "closed"
    volumes = [entry["volume_mesh_mm3"] for entry in content["region_pieces"]]
    assert sum(volumes) == pytest.approx(content["volume_mm3"], rel=1e-12)
    printed = lines(content)
    assert len(printed) <= 20
    assert any("contacts, all" in line for line in printed)


def test_a_piece_that_is_lost_is_named(made: tuple[MeshSpec, Path]) -> None:
    whole = read_h5(made[1])
    origin = origin_of(made[0])
    assert origin.image is not None
    tumor = whole.region == whole.regions.index("tumor")
    center = whole.points[whole.cells].mean(axis=1)
    lesion = tumor & (np.linalg.norm(center - [2, 7, 7], axis=1) < 1.5)
    region = np.where(lesion, whole.regions.index("organ"), whole.region)
    with pytest.raises(SegmentationError, match=r"piece of 1 voxel at .* of region 'tumor' is not in the mesh"):
        certify(dataclasses.replace(whole, region=region), origin)


def test_a_contact_that_is_lost_or_gained_is_named(made: tuple[MeshSpec, Path]) -> None:
    image = origin_of(made[0]).image
    assert image is not None
    contacts = wanted_contacts(image)
    first = sorted(contacts, key=str)[0]
    assert "touch in the segmentation, but not in the mesh" in contact_faults(image, contacts - {first})[0]
    core = int(image.pieces.of("core")[0])
    assert "region 'core' and the outside touch in the mesh" in contact_faults(image, contacts | {(core, "outside")})[0]


def test_volumes_that_are_off_are_refused(made: tuple[MeshSpec, Path]) -> None:
    whole, origin = read_h5(made[1]), origin_of(made[0])
    for name, share, sentence in (("tumor", 1.05, "region 'tumor' has"), ("organ", 1.2, None)):
        wrong = dataclasses.replace(origin, volumes={**origin.volumes, name: origin.volumes[name] * share})
        if sentence is None:
            _, warnings = certify(whole, wrong)
            assert any("region 'organ' has" in warning for warning in warnings)
        else:
            with pytest.raises(SegmentationError, match=sentence):
                certify(whole, wrong)


def test_inverted_and_flat_cells_are_refused(made: tuple[MeshSpec, Path]) -> None:
    whole, origin = read_h5(made[1]), origin_of(made[0])
    turned = whole.cells.copy()
    turned[0] = turned[0][[1, 0, 2, 3]]
    with pytest.raises(MeshQualityError, match="1 cells of the mesh are inverted"):
        certify(dataclasses.replace(whole, cells=turned), origin)
    flat = whole.points.copy()
    flat[:, 2] *= 0.02
    with pytest.raises(MeshQualityError, match="the flattest cell"):
        certify(dataclasses.replace(whole, points=flat), origin)


def test_small_pieces_join_their_neighbor_but_not_those_of_a_tumor() -> None:
    values = np.ones((9, 9, 9), dtype=np.int16)
    values[1:4, 1:4, 1:4], values[6, 6, 6], values[6, 2, 6] = 2, 2, 3
    grid = region_grid(values)
    joined = merged(grid, 5)
    assert joined.voxels == {"r1": int((values == 1).sum()) + 1, "r2": 27, "r3": 1}
    assert joined.repairs == ("r2: 1 pieces of fewer than 5 voxels joined their neighbors (1 voxels)",)
    kept = merged(dataclasses.replace(grid, protected=("r2",)), 5)
    assert kept.voxels == grid.voxels
    assert kept.repairs == ()


def test_holes_are_filled_where_asked_for_and_counted() -> None:
    values = np.ones((7, 7, 7), dtype=np.int16)
    values[3, 3, 2:4] = 0
    values[0, 3, 3] = 0
    grid = filled(region_grid(values))
    assert grid.voxels == {"r1": 342}
    assert grid.repairs == ("1 holes of 2 voxels in all were given to the regions around them",)


def test_pieces_that_meet_at_an_edge_are_told() -> None:
    values = np.zeros((5, 5, 5), dtype=np.int16)
    values[1, 1, 1], values[2, 2, 1] = 1, 1
    told = remarks(region_grid(values, cut=False).parts, ())
    assert any(sentence.startswith("self contact: pieces of 'r1' meet at edges or corners") for sentence in told)


def test_noise_is_refused_with_advice_unless_it_is_wanted(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 6, (14, 14, 14))
    with pytest.raises(SegmentationError, match=r"pieces, region 'r[1-5]' alone into .*merge_below.*many_pieces"):
        from_image(spec_of(tmp_path, values, np.eye(4), "1 mm"), {}, lambda sentence: None)
    wanted = spec_of(tmp_path, values, np.eye(4), "1 mm", many_pieces=True)
    assert len(from_image(wanted, {}, lambda sentence: None).grid.parts.names) > 1000


def test_a_mesh_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 6, (14, 14, 14))
    spec = spec_of(tmp_path, values, np.eye(4), "1 mm")
    with pytest.raises(SegmentationError):
        mesh(spec)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.nii"]


def test_a_piece_is_found_by_distance_when_its_voxels_are_finer_than_the_mesh() -> None:
    grid = region_grid(nested((12, 12, 12)))
    image = Image(grid.parts, grid.affine, (), 2.0)
    for x, y in itertools.product((3.0, 5.0), (4.0, 6.0)):
        piece = int(image.piece_at(np.array([[x, y, 5.0]]))[0])
        assert image.pieces.names[piece] == f"r{grid.values[int(x), int(y), 5]}"


def test_a_sheet_of_one_voxel_is_meshed_and_told_of(tmp_path: Path) -> None:
    values = np.ones((18, 18, 9), dtype=np.uint8)
    values[1:-1, 1:-1, 4] = 2
    made = mesh(spec_of(tmp_path, values, UNIT, "2 mm"))
    warnings = json.loads(made.with_suffix(".certificate.json").read_text())["warnings"]
    told = [warning for warning in warnings if "voxels thick" in warning]
    assert len(told) == 1
    assert told[0].startswith(("region 'r2' is 0.9", "region 'r2' is 1.0")), told
