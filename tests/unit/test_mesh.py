"""Segmentations become tetrahedra with the right volumes, names and sides, the same every time."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from turgor.materials.errors import MeshQualityError, SegmentationError, SetupError, TurgorError
from turgor.meshing import MeshSpec, Tetrahedra, convert, estimate, mesh, read_h5
from turgor.meshing.crossing import crossings
from turgor.meshing.formats import write_h5, write_msh
from turgor.meshing.labels import parts_of, regions_of
from turgor.meshing.nets import surface_nets
from turgor.meshing.tetrahedra import areas, dihedral_angles, volumes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def icosphere(radius: float, subdivisions: int) -> tuple[Floats, Integers]:
    """A sphere of 20 x 4^n triangles, vertices on the sphere, normals outward."""
    g = (1 + 5**0.5) / 2
    points = np.array([[a, b * g, 0] for a in (-1, 1) for b in (-1, 1)], dtype=float)
    points = np.concatenate([points, points[:, [2, 0, 1]], points[:, [1, 2, 0]]])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    near = np.abs(apart - 2) < 1e-9
    triangles = np.array(
        [(i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] & near[j, k] & near[i, k]]
    )
    corner = points[triangles]
    inward = np.linalg.det(corner) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    for _ in range(subdivisions):
        edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
        unique, number = np.unique(edges, axis=0, return_inverse=True)
        a, b, c = number.reshape(3, -1) + len(points)
        points = np.concatenate([points, points[unique].mean(axis=1)])
        i, j, k = triangles.T
        triangles = np.concatenate([np.stack(t, axis=1) for t in ((i, a, c), (j, b, a), (k, c, b), (a, b, c))])
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True), triangles


def write_stl(path: Path, points: Floats, triangles: Integers) -> None:
    lines = ["solid s"]
    for corner in points[triangles]:
        lines += ["facet normal 0 0 0", "outer loop", *(f"vertex {x!r} {y!r} {z!r}" for x, y, z in corner.tolist())]
        lines += ["endloop", "endfacet"]
    path.write_text("\n".join([*lines, "endsolid s"]))


def write_obj(path: Path, points: Floats, triangles: Integers) -> None:
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in points.tolist()]
    path.write_text("\n".join([*lines, *(f"f {i} {j} {k}" for i, j, k in (triangles + 1).tolist())]))


def spheres(folder: Path, **changes: object) -> MeshSpec:
    """A tumor of radius 3 mm, off center, in an organ of radius 8 mm."""
    points, triangles = icosphere(8.0, 3)
    write_obj(folder / "organ.obj", points, triangles)
    points, triangles = icosphere(3.0, 3)
    write_stl(folder / "tumor.stl", points / 10 + [0.2, 0, 0], triangles)
    table: dict[str, object] = {
        "file": "spheres.msh",
        "size": {"tumor": "0.6 mm", "organ": "3 mm"},
        "surfaces": [
            {"file": "organ.obj", "unit": "mm", "region": "organ"},
            {"file": "tumor.stl", "unit": "cm", "region": "tumor"},
        ],
    }
    return MeshSpec.model_validate({**table, **changes}, context={"base": folder})


def volume(made: Tetrahedra, region: str) -> float:
    own = made.region == made.regions.index(region)
    return float(volumes(made.points, made.cells[own]).sum())


def centroid(made: Tetrahedra, region: int) -> Floats:
    cells = made.cells[made.region == region]
    return np.average(made.points[cells].mean(axis=1), axis=0, weights=volumes(made.points, cells))


def area(made: Tetrahedra, surface: str) -> float:
    index = [s.name for s in made.surfaces].index(surface)
    return float(areas(made.points, made.facets[made.facet_surface == index]).sum())


def write_image(path: Path, values: NDArray[np.uint8], affine: Floats) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def ball(shape: tuple[int, int, int], center: tuple[float, float, float], radius: float) -> NDArray[np.bool_]:
    x = np.indices(shape).reshape(3, -1).T - np.array(center)
    return (np.linalg.norm(x, axis=1) <= radius).reshape(shape)


def organ() -> NDArray[np.uint8]:
    """An organ (1) with a tumor (2) near its low end in x, and a cavity (3), in 22 x 20 x 18 voxels."""
    shape = (22, 20, 18)
    values = ball(shape, (10.5, 9.5, 8.5), 8.0).astype(np.uint8)
    values[ball(shape, (6.5, 9.5, 8.5), 3.0)] = 2
    values[ball(shape, (14.5, 9.5, 8.5), 2.2)] = 3
    return values


def image_spec(folder: Path, values: NDArray[np.uint8], affine: Floats, **changes: object) -> MeshSpec:
    write_image(folder / "labels.nii", values, affine)
    table: dict[str, object] = {
        "file": "organ.msh",
        "size": {"organ": "3 mm", "tumor": "1.5 mm"},
        "cavities": ["ventricle"],
        "image": {"file": "labels.nii", "labels": {"organ": 1, "tumor": 2, "ventricle": 3}},
    }
    return MeshSpec.model_validate({**table, **changes}, context={"base": folder})


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> tuple[MeshSpec, Tetrahedra]:
    spec = spheres(tmp_path_factory.mktemp("zwei Kugeln, schön"))
    return spec, read_h5(mesh(spec))


@pytest.fixture(scope="module")
def imaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[MeshSpec, Tetrahedra]:
    spec = image_spec(tmp_path_factory.mktemp("image"), organ(), np.diag([1.0, 1.0, 1.0, 1.0]))
    return spec, read_h5(mesh(spec))


def test_nested_spheres_have_their_volumes_and_areas(nested: tuple[MeshSpec, Tetrahedra]) -> None:
    _, made = nested
    # an icosphere of 1,280 triangles is 1 % smaller in volume and 0.5 % smaller in area than its sphere
    assert volume(made, "tumor") == pytest.approx(4 / 3 * np.pi * 27, rel=0.012)
    assert volume(made, "organ") == pytest.approx(4 / 3 * np.pi * (512 - 27), rel=0.012)
    assert area(made, "organ|tumor") == pytest.approx(4 * np.pi * 9, rel=0.007)
    assert area(made, "organ|outside") == pytest.approx(4 * np.pi * 64, rel=0.02)


def test_a_surface_keeps_its_place_and_unit(nested: tuple[MeshSpec, Tetrahedra]) -> None:
    _, made = nested
    inner = np.unique(made.facets[made.facet_surface == [s.name for s in made.surfaces].index("organ|tumor")])
    radius = np.linalg.norm(made.points[inner] - [2.0, 0.0, 0.0], axis=1)
    # points lie on chords of the sphere, whose sagitta is h²/8R with edges of 0.45 mm
    assert radius.max() <= 3.0 + 1e-9
    assert radius.min() > 3.0 - 2 * 0.45**2 / (8 * 3.0)


def test_cells_are_positive_and_not_flat(
    nested: tuple[MeshSpec, Tetrahedra], imaged: tuple[MeshSpec, Tetrahedra]
) -> None:
    for _, made in (nested, imaged):
        assert volumes(made.points, made.cells).min() > 0
        assert dihedral_angles(made.points, made.cells).min() > 5.0


def test_the_signed_distance_is_that_to_the_sphere(nested: tuple[MeshSpec, Tetrahedra]) -> None:
    _, made = nested
    exact = np.linalg.norm(made.points - [2.0, 0.0, 0.0], axis=1) - 3.0
    assert made.distance["tumor"] == pytest.approx(exact, abs=0.03)


def test_edges_are_as_long_as_asked_for(nested: tuple[MeshSpec, Tetrahedra]) -> None:
    _, made = nested
    inside = made.cells[made.region == made.regions.index("tumor")]
    edges = np.linalg.norm(made.points[inside[:, 0]] - made.points[inside[:, 1]], axis=1)
    assert np.median(edges) == pytest.approx(0.6, rel=0.35)


def test_a_leaky_rim_is_fine_on_both_sides_and_coarse_elsewhere(tmp_path: Path) -> None:
    spec = spheres(tmp_path, size="auto")
    made = read_h5(mesh(spec, rim={"tumor": 0.9}))
    center, size = made.points[made.cells].mean(axis=1), np.ptp(made.points[made.cells], axis=1).mean(axis=1)
    depth = np.linalg.norm(center - [2.0, 0.0, 0.0], axis=1) - 3.0
    edge = np.linalg.norm(made.points[made.cells[:, 0]] - made.points[made.cells[:, 1]], axis=1)
    for side in ((depth > -0.15) & (depth < 0), (depth > 0) & (depth < 0.15)):
        assert np.median(edge[side]) < 0.3 * 1.3
    middle, far = size[depth < -1.8], size[depth > 3.0]
    near = size[np.abs(depth) < 0.15]
    assert middle.mean() > 2 * near.mean()
    assert far.mean() > 3 * near.mean()
    expected, memory = estimate(spec, rim={"tumor": 0.9})
    assert 0.5 < expected / len(made.cells) < 2.0
    assert memory > 0


def test_names_say_what_lies_on_either_side(imaged: tuple[MeshSpec, Tetrahedra]) -> None:
    _, made = imaged
    assert made.regions == ("organ", "tumor")
    kinds = {surface.name: surface.kind for surface in made.surfaces}
    assert kinds["organ|tumor"] == "interface"
    assert kinds["organ|outside"] == "outside"
    assert kinds["organ|ventricle"] == "cavity"
    assert set(kinds.values()) == {"interface", "outside", "cavity"}


def test_the_image_keeps_its_volumes(imaged: tuple[MeshSpec, Tetrahedra]) -> None:
    spec, made = imaged
    values = organ()
    for label, name in ((1, "organ"), (2, "tumor")):
        assert volume(made, name) == pytest.approx(int((values == label).sum()), rel=0.01)
    certificate = json.loads(spec.file.with_suffix(".certificate.json").read_text())
    assert certificate["regions"]["tumor"]["voxels"] == int((values == 2).sum())
    assert certificate["contacts"]["mesh"] == certificate["contacts"]["segmentation"]


@pytest.mark.parametrize(
    ("affine", "side"),
    [
        (np.diag([1.0, 1.0, 1.0, 1.0]), "left"),
        (np.diag([-1.0, 1.0, 1.0, 1.0]), "right"),
        (np.array([[0, 1.0, 0, 5], [-1.0, 0, 0, 9], [0, 0, 1.0, -4], [0, 0, 0, 1]]), "front"),
    ],
    ids=["RAS", "left-handed", "turned"],
)
def test_volumes_do_not_depend_on_the_frame_and_the_side_does(tmp_path: Path, affine: Floats, side: str) -> None:
    spec = image_spec(tmp_path, organ(), affine)
    made = read_h5(mesh(spec))
    # the same voxels give the same surface, moved; only rounding differs
    assert volume(made, "tumor") == pytest.approx(int((organ() == 2).sum()), rel=0.01)
    certificate = json.loads(spec.file.with_suffix(".certificate.json").read_text())
    assert certificate["regions"]["tumor"]["side"].startswith(side)
    assert centroid(made, 1) == pytest.approx((affine @ [6.5, 9.5, 8.5, 1.0])[:3], abs=0.2)


def test_thick_slices_are_followed(tmp_path: Path) -> None:
    values = np.repeat(organ(), 1, axis=0)[:, :, ::3]
    spec = image_spec(tmp_path, values, np.diag([1.0, 1.0, 3.0, 1.0]))
    made = read_h5(mesh(spec))
    for label, name in ((1, "organ"), (2, "tumor")):
        assert volume(made, name) == pytest.approx(3.0 * int((values == label).sum()), rel=0.02)


def test_where_the_image_ends_the_surface_is_cut_and_flat(tmp_path: Path) -> None:
    values = organ()[:12]
    spec = image_spec(
        tmp_path, values, np.eye(4), cavities=[], image={"file": "labels.nii", "labels": {"organ": 1, "tumor": 2}}
    )
    made = read_h5(mesh(spec))
    index = [s.name for s in made.surfaces].index("organ|cut")
    assert made.surfaces[index].kind == "cut"
    points = made.points[np.unique(made.facets[made.facet_surface == index])]
    # the field of view ends half a voxel beyond the last center
    assert points[:, 0] == pytest.approx(np.full(len(points), 11.5), abs=1e-9)
    assert area(made, "organ|cut") == pytest.approx(int((values[-1] == 1).sum()), rel=0.03)


def test_every_piece_of_a_region_is_meshed_under_its_name(tmp_path: Path) -> None:
    values = np.zeros((24, 10, 10), dtype=np.uint8)
    values[ball(values.shape, (5, 4.5, 4.5), 4)] = 1
    values[ball(values.shape, (18, 4.5, 4.5), 3.6)] = 1
    spec = image_spec(
        tmp_path,
        values,
        np.eye(4),
        cavities=[],
        size={"organ": "2 mm"},
        image={"file": "labels.nii", "labels": {"organ": 1}},
    )
    made = read_h5(mesh(spec))
    assert made.piece.max() == 1
    assert made.piece[0] == 0
    left = made.points[made.cells].mean(axis=1)[:, 0] < 12
    assert len(set(made.piece[left])) == len(set(made.piece[~left])) == 1


def test_specks_join_their_neighbor_only_when_asked(tmp_path: Path) -> None:
    values = organ()
    values[10, 3, 8] = 2
    kept = read_h5(mesh(image_spec(tmp_path, values, np.eye(4))))
    assert volume(kept, "tumor") == pytest.approx(int((values == 2).sum()), rel=0.02)
    image = {"file": "labels.nii", "labels": {"organ": 1, "tumor": 2, "ventricle": 3}, "merge_below": 5, "protect": []}
    spec = image_spec(tmp_path, values, np.eye(4), image=image)
    merged = read_h5(mesh(spec))
    assert volume(merged, "tumor") == pytest.approx(int((values == 2).sum()) - 1, rel=0.01)
    certificate = json.loads(spec.file.with_suffix(".certificate.json").read_text())
    assert any("1 pieces of fewer than 5 voxels" in repair for repair in certificate["repairs"])


def test_the_same_input_gives_the_same_mesh(tmp_path: Path, imaged: tuple[MeshSpec, Tetrahedra]) -> None:
    assert read_h5(mesh(image_spec(tmp_path, organ(), np.eye(4)))).hash() == imaged[1].hash()


def test_a_mesh_that_is_up_to_date_is_kept_and_a_changed_case_is_not(tmp_path: Path) -> None:
    spec = image_spec(tmp_path, organ(), np.eye(4))
    path = mesh(spec)
    made = path.stat().st_mtime_ns
    said: list[str] = []
    assert mesh(spec, log=said.append).stat().st_mtime_ns == made
    assert said == ["mesh: organ.h5 is up to date"]
    mesh(image_spec(tmp_path, organ(), np.eye(4), size={"organ": "4 mm", "tumor": "1.5 mm"}))
    assert path.stat().st_mtime_ns != made
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "labels.nii",
        "organ.msh",
        "organ.h5",
        "organ.certificate.json",
    }


def test_h5_gives_back_what_was_written(tmp_path: Path, imaged: tuple[MeshSpec, Tetrahedra]) -> None:
    _, made = imaged
    write_h5(tmp_path / "a.h5", made, "from")
    again = read_h5(tmp_path / "a.h5")
    assert again.hash() == made.hash()
    assert again.surfaces == made.surfaces
    assert (again.piece == made.piece).all()
    assert (again.distance["tumor"] == made.distance["tumor"]).all()


def test_a_mesh_of_ones_own_gives_the_same_arrays(tmp_path: Path, imaged: tuple[MeshSpec, Tetrahedra]) -> None:
    _, made = imaged
    write_msh(tmp_path / "own.msh", made)
    spec = MeshSpec.model_validate({"file": "own.msh", "unit": "cm"}, context={"base": tmp_path})
    own = read_h5(mesh(spec))
    assert own.regions == made.regions
    assert (own.cells == made.cells).all()
    assert own.points == pytest.approx(10 * made.points, rel=1e-12)
    surfaces = {surface.name: surface.kind for surface in own.surfaces}
    assert surfaces["organ|tumor"] == "interface"
    assert surfaces["organ|ventricle"] == "cavity"
    assert area(own, "organ|ventricle") == pytest.approx(100 * area(made, "organ|ventricle"), rel=1e-12)
    assert (tmp_path / "own.msh").is_file()


def test_other_mesh_formats_keep_the_cells(tmp_path: Path, imaged: tuple[MeshSpec, Tetrahedra]) -> None:
    write_msh(tmp_path / "a.msh", imaged[1])
    assert convert(tmp_path / "a.msh", tmp_path / "a.vtu") == []
    assert convert(tmp_path / "a.vtu", tmp_path / "b.h5") == []
    assert len(read_h5(tmp_path / "b.h5").cells) == len(imaged[1].cells)


def test_a_mesh_rewritten_for_gmsh_keeps_its_names(tmp_path: Path, imaged: tuple[MeshSpec, Tetrahedra]) -> None:
    write_msh(tmp_path / "a.msh", imaged[1])
    assert convert(tmp_path / "a.msh", tmp_path / "b.msh") == []
    spec = MeshSpec.model_validate({"file": "b.msh"}, context={"base": tmp_path})
    assert set(read_h5(mesh(spec)).regions) == set(imaged[1].regions)


@pytest.mark.parametrize(
    ("name", "complaint"), [("a.msh", "is the mesh to read"), ("a.xyz", "expected one of .h5, .msh")]
)
def test_a_mesh_is_not_converted_to_what_is_none(
    tmp_path: Path, imaged: tuple[MeshSpec, Tetrahedra], name: str, complaint: str
) -> None:
    write_msh(tmp_path / "a.msh", imaged[1])
    with pytest.raises(SegmentationError, match=complaint):
        convert(tmp_path / "a.msh", tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["a.msh"]


def broken_labels(folder: Path) -> MeshSpec:
    return image_spec(
        folder, organ(), np.eye(4), image={"file": "labels.nii", "labels": {"organ": 1, "tumor": 9, "ventricle": 3}}
    )


def unclaimed_label(folder: Path) -> MeshSpec:
    return image_spec(
        folder, organ(), np.eye(4), cavities=[], image={"file": "labels.nii", "labels": {"organ": 1, "tumor": 2}}
    )


def too_fine(folder: Path) -> MeshSpec:
    return image_spec(folder, organ(), np.eye(4), size={"organ": "0.01 mm"})


def covered_surface(folder: Path) -> MeshSpec:
    spec = spheres(folder)
    return spec.model_copy(update={"surfaces": spec.surfaces[::-1]})


def wrong_unit(folder: Path) -> MeshSpec:
    surfaces = [{"file": "organ.obj", "unit": "m", "region": "organ"}]
    return spheres(folder, surfaces=surfaces, size={"organ": "3 mm"})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (broken_labels, ["label 9 is not in", "2 ("]),
        (unclaimed_label, ["label 3", "ignore"]),
        (too_fine, ["mesh.size", "million cells"]),
        (covered_surface, ["'tumor'", "covered"]),
        (wrong_unit, ["organ.obj", "unit"]),
    ],
)
def test_what_cannot_be_meshed_is_refused_in_one_sentence_and_leaves_nothing(
    tmp_path: Path, make, words: list[str]
) -> None:  # type: ignore[no-untyped-def]
    spec = make(tmp_path)
    before = set(tmp_path.iterdir())
    with pytest.raises(TurgorError) as refusal:
        mesh(spec)
    for word in words:
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert set(tmp_path.iterdir()) == before


def test_flipped_triangles_and_the_other_frame_are_put_right(tmp_path: Path) -> None:
    spec = spheres(tmp_path)
    points, triangles = icosphere(8.0, 3)
    triangles[::3] = triangles[::3, ::-1]
    write_obj(tmp_path / "organ.obj", points, triangles)
    lps = [surface.model_copy(update={"frame": "LPS"}) for surface in spec.surfaces]
    made = read_h5(mesh(spec.model_copy(update={"surfaces": tuple(lps)})))
    assert volume(made, "organ") == pytest.approx(4 / 3 * np.pi * (512 - 27), rel=0.012)
    assert centroid(made, 1) == pytest.approx([-2.0, 0.0, 0.0], abs=0.05)


@pytest.mark.parametrize(
    ("last_words", "error", "words"),
    [
        (
            "OSError('libGLU.so.1: cannot open shared object file: No such file or directory')",
            SetupError,
            "libGLU.so.1",
        ),
        ("Exception('HXT 3D mesh failed')", MeshQualityError, "HXT 3D mesh failed"),
    ],
    ids=["library", "failure"],
)
def test_what_gmsh_says_on_its_way_out_reaches_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_words: str, error: type[TurgorError], words: str
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(f"raise {last_words}")
    monkeypatch.setattr("turgor.meshing.fill.WORKER", worker)
    spec = image_spec(tmp_path, organ(), np.eye(4))
    with pytest.raises(error, match=words) as refusal:
        mesh(spec)
    assert "\n" not in str(refusal.value)
    assert not spec.file.exists()


def fuzzed(seed: int) -> NDArray[np.uint8]:
    """Noise, checkers, sheets, rods and single voxels of two labels, some at the border of the image."""
    random = np.random.default_rng(seed)
    values = np.zeros((9, 8, 7), dtype=np.uint8)
    kind = seed % 4
    if kind == 0:
        values[2:7, 1:6] = random.integers(0, 3, values[2:7, 1:6].shape)
    elif kind == 1:
        values[1:8, 2:6, 1:6] = 1 + (np.indices((7, 4, 5)).sum(axis=0) % 2)
    elif kind == 2:
        values[1:8, 1:7, 3] = 1
        values[4, 1:7, 1:6] = 2
    else:
        values[ball(values.shape, tuple(random.uniform(2, 6, 3)), 3.5)] = 1
        values[ball(values.shape, tuple(random.uniform(2, 6, 3)), 2.0)] = 2
        values[4, 4, 3] = 2
    values[0, 0, 0], values[8, 7, 6] = 1, 2
    return values


@pytest.mark.parametrize("seed", range(12))
def test_surface_nets_never_cross_and_keep_every_piece(tmp_path: Path, seed: int) -> None:
    values = fuzzed(seed)
    spec = image_spec(
        tmp_path, values, np.eye(4), cavities=[], size="auto", image={"file": "labels.nii", "labels": {"a": 1, "b": 2}}
    )
    grid = parts_of(regions_of(values.astype(np.int32), np.eye(4), spec), ())
    boundary = surface_nets(grid)
    assert not len(crossings(boundary.points, boundary.triangles))
    meshed = np.array([part.meshed for part in grid.list])
    present = np.isin(np.arange(len(meshed)), boundary.sides)
    assert present[meshed].all()
    assert (boundary.part_volumes()[meshed] > 0).all()


@pytest.mark.parametrize("seed", [2, 3, 7])
def test_every_contact_of_a_strange_image_is_in_the_mesh(tmp_path: Path, seed: int) -> None:
    image = {"file": "labels.nii", "labels": {"a": 1, "b": 2}}
    spec = image_spec(tmp_path, fuzzed(seed), np.eye(4), cavities=[], size="auto", image=image)
    mesh(spec)
    certificate = json.loads(spec.file.with_suffix(".certificate.json").read_text())
    assert certificate["contacts"]["mesh"] == certificate["contacts"]["segmentation"]
