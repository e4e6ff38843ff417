"""Surfaces in any condition: clean ones are kept exactly, others are repaired, sampled or refused, and it is said."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from turgor.materials.errors import MeshQualityError, SegmentationError
from turgor.meshing import MeshSpec, mesh
from turgor.meshing.boundary import Boundary
from turgor.meshing.clean import Ledger, cleaned
from turgor.meshing.distance import to_triangles
from turgor.meshing.fill import Filling, fill
from turgor.meshing.polygons import read_triangles
from turgor.meshing.sizes import Sizes
from turgor.meshing.surfaces import SurfaceAnatomy, from_surfaces
from turgor.meshing.voxelize import SampledAnatomy
from turgor.meshing.winding import dipoles_of, windings

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Skin = tuple[Floats, Integers]

CORNERS = np.array([[x, y, z] for x in (0, 10) for y in (0, 10) for z in (0, 10)], dtype=float)
QUADS = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
"""A cube of 10 x 10 x 10, normals outward."""


def sphere(radius: float, rings: int = 3, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Skin:
    """An octahedron whose triangles are cut in four some times, on a sphere; normals outward."""
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=float)
    triangles = np.array([[x, y, z] for x in (0, 1) for y in (2, 3) for z in (4, 5)])
    inward = np.linalg.det(points[triangles]) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    for _ in range(rings):
        edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
        unique, number = np.unique(edges, axis=0, return_inverse=True)
        a, b, c = number.reshape(3, -1) + len(points)
        points = np.concatenate([points, points[unique].mean(axis=1)])
        i, j, k = triangles.T
        triangles = np.concatenate([np.stack(t, axis=1) for t in ((i, a, c), (j, b, a), (k, c, b), (a, b, c))])
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True) + np.array(center), triangles


def joined(*skins: Skin) -> Skin:
    start = np.cumsum([0, *(len(points) for points, _ in skins)])
    return np.concatenate([p for p, _ in skins]), np.concatenate(
        [t + s for (_, t), s in zip(skins, start, strict=False)]
    )


def volume(points: Floats, triangles: Integers) -> float:
    a, b, c = np.moveaxis(points[triangles] - points.mean(axis=0), 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def ball(radius: float) -> float:
    return 4 / 3 * np.pi * radius**3


def lens(one: float, two: float, apart: float) -> float:
    """The volume that two balls share."""
    square = apart**2 + 2 * apart * (one + two) - 3 * (one - two) ** 2
    return float(np.pi * (one + two - apart) ** 2 * square / (12 * apart))


def write(path: Path, skin: Skin) -> None:
    points, triangles = skin
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in points.tolist()]
    path.write_text("\n".join([*lines, *(f"f {i} {j} {k}" for i, j, k in (triangles + 1).tolist())]))


def case(folder: Path, skins: dict[str, Skin], **changes: object) -> MeshSpec:
    """A case in which each surface bounds the region of its name."""
    for name, skin in skins.items():
        write(folder / f"{name}.obj", skin)
    table: dict[str, object] = {
        "file": "made.msh",
        "size": dict.fromkeys(skins, "2 mm"),
        "surfaces": [{"file": f"{name}.obj", "unit": "mm", "region": name} for name in skins],
    }
    return MeshSpec.model_validate({**table, **changes}, context={"base": folder})


def read(spec: MeshSpec) -> SurfaceAnatomy | SampledAnatomy:
    return from_surfaces(spec, {}, lambda _: None)


def refusal(spec: MeshSpec) -> str:
    with pytest.raises(SegmentationError) as refused:
        read(spec)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def damaged(skin: Skin) -> Skin:
    """Triangles missing, turned and double, and fins on edges that then have three triangles."""
    random = np.random.default_rng(3)
    points, triangles = skin
    triangles = triangles[random.random(len(triangles)) > 0.01]
    turned = random.random(len(triangles)) < 0.02
    triangles[turned] = triangles[turned][:, ::-1]
    base = triangles[random.integers(0, len(triangles), 20)]
    fins = np.stack([base[:, 0], base[:, 1], len(points) + np.arange(20)], axis=1)
    tips = points[base[:, 0]] + random.normal(0.0, 0.4, (20, 3))
    return np.concatenate([points, tips]), np.concatenate([triangles, triangles[:15], fins])


def stl(words: bytes) -> bytes:
    corners = np.concatenate([CORNERS[[q[:3], [q[0], *q[2:]]]] for q in QUADS]).astype("<f4")
    rows = np.zeros(len(corners), np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")]))
    rows["corners"] = corners
    return words.ljust(80) + struct.pack("<I", len(rows)) + rows.tobytes()


def stl_text() -> bytes:
    lines = ["solid cube"]
    for quad in QUADS:
        for corners in (CORNERS[quad[:3]], CORNERS[[quad[0], *quad[2:]]]):
            vertices = [f"vertex {x:e} {y:e} {z:e}" for x, y, z in corners]
            lines += ["facet normal 0 0 0", "outer loop", *vertices, "endloop", "endfacet"]
    return "\r\n".join([*lines, "endsolid cube"]).encode()


def obj() -> bytes:
    """Textures, normals, a line that goes on, and faces that count vertices backward."""
    lines = ["# a cube", "mtllib none.mtl", "vt 0 0", "vn 0 0 1"]
    lines += [f"v {x} {y} {z} 0.5 0.5 0.5" for x, y, z in CORNERS.tolist()]
    for i, quad in enumerate(QUADS):
        lines.append("f " + " ".join(f"{q - 8}//1" if i % 2 else f"{q + 1}/1/1" for q in quad[:2]) + " \\")
        lines.append("  " + " ".join(f"{q - 8}//1" if i % 2 else f"{q + 1}/1/1" for q in quad[2:]))
    return "\n".join([*lines, "l 1 2", "p 1"]).encode()


def ply(kind: str) -> bytes:
    """Colors, something else before the faces, and faces with four and with three corners."""
    faces = [QUADS[0][:3], [QUADS[0][0], *QUADS[0][2:]], *QUADS[1:]]
    head = (
        f"ply\nformat {kind} 1.0\ncomment a cube\nelement vertex 8\nproperty double x\nproperty double y\n"
        "property float z\nproperty uchar red\nelement camera 1\nproperty short view\n"
        f"element face {len(faces)}\nproperty uchar flag\nproperty list uchar int vertex_indices\nend_header\n"
    )
    if kind == "ascii":
        rows = [f"{x} {y} {z} 7" for x, y, z in CORNERS.tolist()]
        rows += ["3", *(" ".join(map(str, [1, len(face), *face])) for face in faces)]
        return (head + "\n".join(rows)).encode()
    order = "<" if "little" in kind else ">"
    body = b"".join(struct.pack(order + "ddfB", *corner, 7) for corner in CORNERS.tolist()) + struct.pack(
        order + "h", 3
    )
    body += b"".join(struct.pack(f"{order}BB{len(face)}i", 1, len(face), *face) for face in faces)
    return head.encode() + body


def off() -> bytes:
    lines = ["COFF # with colors", "# a cube", "8 6 12", ""]
    lines += [f"{x} {y} {z} 0 0 255 255" for x, y, z in CORNERS.tolist()]
    return "\n".join([*lines, *(" ".join(map(str, [4, *quad, 0.5, 0.5, 0.5])) for quad in QUADS)]).encode()


def vtp(way: str) -> bytes:
    """As text, in base64 with zlib, or appended as bytes."""
    arrays = {
        "Points": CORNERS.astype("<f4"),
        "connectivity": np.array(QUADS, dtype="<i8"),
        "offsets": 4 * np.arange(1, 7, dtype="<i8"),
    }
    places, appended = {}, b""
    for name, array in arrays.items():
        kind = "Float32" if name == "Points" else "Int64"
        if way == "ascii":
            content = f'format="ascii">{" ".join(map(str, array.ravel().tolist()))}'
        elif way == "binary":
            packed = zlib.compress(array.tobytes())
            head = np.array([1, array.nbytes, 0, len(packed)], dtype="<u4").tobytes()
            content = f'format="binary">{(base64.b64encode(head) + base64.b64encode(packed)).decode()}'
        else:
            content = f'format="appended" offset="{len(appended)}">'
            appended += np.array([array.nbytes], dtype="<u4").tobytes() + array.tobytes()
        places[name] = f'<DataArray type="{kind}" Name="{name}" NumberOfComponents="3" {content}</DataArray>'
    packer = ' compressor="vtkZLibDataCompressor"' if way == "binary" else ""
    text = f'<?xml version="1.0"?><VTKFile type="PolyData" byte_order="LittleEndian"{packer}><PolyData><Piece>'
    text += f"<Points>{places['Points']}</Points><Polys>{places['connectivity']}{places['offsets']}</Polys>"
    text += "</Piece></PolyData>"
    tail = b'<AppendedData encoding="raw">_' + appended + b"</AppendedData>" if way == "appended" else b""
    return text.encode() + tail + b"</VTKFile>"


FILES = {
    "text.stl": stl_text(),
    "binary.stl": stl(b"made by hand"),
    "solid.stl": stl(b"solid is what some binary files begin with"),
    "quads.obj": obj(),
    "text.ply": ply("ascii"),
    "little.ply": ply("binary_little_endian"),
    "big.ply": ply("binary_big_endian"),
    "colors.off": off(),
    "text.vtp": vtp("ascii"),
    "packed.vtp": vtp("binary"),
    "appended.vtp": vtp("appended"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_cube_is_a_cube_in_every_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    points, triangles = read_triangles(tmp_path / name)
    assert len(triangles) == 12
    assert volume(points, triangles) == pytest.approx(1000.0, rel=1e-12)


@pytest.mark.parametrize("name", [name for name in FILES if name != "quads.obj"])
def test_a_file_that_stops_early_is_refused(tmp_path: Path, name: str) -> None:
    path, whole = tmp_path / name, FILES[name]
    for cut in np.random.default_rng(5).integers(0, len(whole) - 40, 12).tolist():
        path.write_bytes(whole[:cut])
        with pytest.raises(SegmentationError, match=name):
            read_triangles(path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_wrong_bytes_is_refused_or_read(tmp_path: Path, name: str) -> None:
    random = np.random.default_rng(5)
    path, whole = tmp_path / name, FILES[name]
    for _ in range(25):
        broken = bytearray(whole)
        for place in random.integers(0, len(whole), 8).tolist():
            broken[place] = random.integers(0, 256)
        path.write_bytes(bytes(broken))
        with contextlib.suppress(SegmentationError):
            points, triangles = read_triangles(path)
            assert np.isfinite(points).all()
            assert triangles.max() < len(points)


@pytest.mark.parametrize("suffix", [".stl", ".obj", ".ply", ".off", ".vtp"])
@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 3, b"solid nothing\nendsolid nothing\n"])
def test_empty_and_binary_garbage_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"x{suffix}").write_bytes(content)
    with pytest.raises(SegmentationError, match="x"):
        read_triangles(tmp_path / f"x{suffix}")


def test_the_winding_number_is_one_inside_and_zero_outside() -> None:
    points, triangles = sphere(10.0, 5)
    away = np.random.default_rng(1).normal(size=(400, 3))
    away *= np.linspace(0.1, 20.0, 400)[:, None] / np.linalg.norm(away, axis=1, keepdims=True)
    far = np.abs(np.linalg.norm(away, axis=1) - 10.0) > 0.1
    wound = windings(dipoles_of(points[triangles]), away[far])
    inside = np.linalg.norm(away[far], axis=1) < 10.0
    # dipole and quadrupole at three radii leave the square of 1/3, times what a round surface has of the next order
    assert np.abs(wound - inside).max() < 0.04


def test_the_winding_number_of_a_triangle_is_its_solid_angle() -> None:
    # an octant seen from the origin is an eighth of all directions
    octant = np.eye(3)[None]
    assert windings(dipoles_of(octant), np.zeros((1, 3)))[0] == pytest.approx(1 / 8, rel=1e-12)


def test_the_distance_tree_finds_the_nearest_of_all_triangles() -> None:
    points, triangles = sphere(10.0, 3)
    away = np.random.default_rng(2).uniform(-12.0, 12.0, (60, 3))
    one_by_one = np.min([to_triangles(away, corners[None]) for corners in points[triangles]], axis=0)
    assert to_triangles(away, points[triangles]) == pytest.approx(one_by_one, rel=1e-12)


def test_clean_nested_surfaces_are_not_touched(tmp_path: Path) -> None:
    organ, tumor = sphere(8.0), sphere(3.0, 3, (2.0, 0.0, 0.0))
    anatomy = read(case(tmp_path, {"organ": organ, "tumor": tumor}, strict=True))
    assert isinstance(anatomy, SurfaceAnatomy)
    assert anatomy.origin.repairs == ()
    assert anatomy.origin.volumes["tumor"] == pytest.approx(volume(*tumor), rel=1e-12)
    assert anatomy.origin.volumes["organ"] == pytest.approx(volume(*organ) - volume(*tumor), rel=1e-12)
    assert {tuple(p) for p in anatomy.boundary.points} == {tuple(p) for p in np.concatenate([organ[0], tumor[0]])}


def flat_and_double(skin: Skin) -> Skin:
    points, triangles = skin
    return points, np.concatenate([triangles, triangles[:4], [[5, 5, 9]]])


def some_turned(skin: Skin) -> Skin:
    points, triangles = skin
    return points, np.where((np.arange(len(triangles)) % 40 == 0)[:, None], triangles[:, ::-1], triangles)


def all_turned(skin: Skin) -> Skin:
    return skin[0], skin[1][:, ::-1]


def apart_by_a_hair(skin: Skin) -> Skin:
    points, triangles = skin
    return np.concatenate([points, points[:1] + 1.2e-5]), np.where(
        (triangles == 0) & (np.arange(512) % 2 == 0)[:, None], len(points), triangles
    )


def with_small_holes(skin: Skin) -> Skin:
    """One hole of a triangle, one of the triangles around a vertex."""
    points, triangles = skin
    return points, triangles[1:][(triangles[1:] != 5).all(axis=1)]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (flat_and_double, ["1 flat", "4 double"]),
        (some_turned, ["13 triangles turned"]),
        (all_turned, ["512 triangles of shells that faced inward turned"]),
        (apart_by_a_hair, ["1 vertices joined", "mm"]),
        (with_small_holes, ["2 holes of together", "mm^2", "7 open edges"]),
    ],
)
def test_small_faults_are_repaired_and_told_with_their_size_or_refused(tmp_path: Path, harm, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    whole = sphere(8.0)
    spec = case(tmp_path, {"organ": harm(whole)})
    anatomy = read(spec)
    assert isinstance(anatomy, SurfaceAnatomy)
    told = "; ".join(anatomy.origin.repairs)
    assert all(word in told for word in words)
    # a closed hole cuts off a cap no higher than the sagitta of two edges, 0.2 % of the volume
    assert anatomy.origin.volumes["organ"] == pytest.approx(volume(*whole), rel=2e-3)
    assert f"strict refuses the first repair that is needed: {words[0]}" in refusal(
        spec.model_copy(update={"strict": True})
    )


def test_walls_between_two_boxes_of_one_file_are_dropped(tmp_path: Path) -> None:
    box = np.array([[q[0], *q[i : i + 2]] for q in QUADS for i in (1, 2)])
    spec = case(tmp_path, {"organ": joined((CORNERS, box), (CORNERS[:, [1, 2, 0]] + [10.0, 0.0, 0.0], box))})
    anatomy = read(spec)
    assert isinstance(anatomy, SurfaceAnatomy)
    assert anatomy.origin.volumes["organ"] == pytest.approx(2000.0, rel=1e-12)
    assert "4 triangles of inner walls" in "; ".join(anatomy.origin.repairs)


@pytest.mark.parametrize("turned", [False, True])
def test_a_shell_within_a_shell_of_one_file_is_a_hole_whichever_way_it_faces(tmp_path: Path, turned: bool) -> None:
    inner = sphere(4.0, 3)
    outer, hole = sphere(8.0), all_turned(inner) if turned else inner
    anatomy = read(case(tmp_path, {"organ": joined(outer, hole)}, strict=True))
    assert anatomy.origin.volumes["organ"] == pytest.approx(volume(*outer) - volume(*inner), rel=1e-12)


def test_a_hole_stays_a_hole_on_voxels(tmp_path: Path) -> None:
    points, triangles = sphere(8.0)
    opened = points, triangles[points[triangles][:, :, 2].mean(axis=1) < 7.0]
    anatomy = read(case(tmp_path, {"organ": joined(opened, sphere(4.0))}))
    assert isinstance(anatomy, SampledAnatomy)
    # the open cap is 1 mm high, of which the winding number closes half, and spheres of 512 triangles lack 3 %
    assert anatomy.origin.volumes["organ"] == pytest.approx(ball(8.0) - ball(4.0), rel=0.05)


def test_where_surfaces_cross_the_later_one_wins(tmp_path: Path) -> None:
    spec = case(tmp_path, {"organ": sphere(8.0, 4), "tumor": sphere(4.0, 4, (7.0, 0.0, 0.0))})
    anatomy = read(spec)
    assert isinstance(anatomy, SampledAnatomy)
    # spheres of 2,048 triangles have 0.7 % less than balls, samples at most 1 % more or less
    shared = lens(8.0, 4.0, 7.0)
    assert anatomy.origin.volumes["tumor"] == pytest.approx(ball(4.0), rel=0.015)
    assert anatomy.origin.volumes["organ"] == pytest.approx(ball(8.0) - shared, rel=0.015)
    assert anatomy.grid.volumes()["organ"] == pytest.approx(anatomy.origin.volumes["organ"], rel=0.01)
    told = "; ".join(anatomy.origin.repairs)
    assert "'organ' (organ.obj) and 'tumor' (tumor.obj) cross; the exact geometry is given up" in told
    assert "voxels of" in told
    assert "mm^3 by winding number" in told
    assert "'tumor' (tumor.obj) cross" in refusal(spec.model_copy(update={"strict": True}))


def test_shells_of_one_surface_that_overlap_are_one(tmp_path: Path) -> None:
    anatomy = read(case(tmp_path, {"organ": joined(sphere(6.0, 4), sphere(6.0, 4, (5.0, 0.0, 0.0)))}))
    assert isinstance(anatomy, SampledAnatomy)
    assert anatomy.origin.volumes["organ"] == pytest.approx(2 * ball(6.0) - lens(6.0, 6.0, 5.0), rel=0.015)


def test_a_bowl_encloses_what_it_winds_around_by_half(tmp_path: Path) -> None:
    points, triangles = sphere(8.0, 4)
    bowl = points, triangles[points[triangles][:, :, 2].mean(axis=1) < 0.0]
    anatomy = read(case(tmp_path, {"organ": bowl}))
    # from a point of the disk that closes it, a half sphere fills half of all directions
    assert anatomy.origin.volumes["organ"] == pytest.approx(0.5 * ball(8.0), rel=0.015)
    assert "organ.obj has 64 open edges" in "; ".join(anatomy.origin.repairs)


def test_a_dirty_surface_is_meshed_with_the_volume_that_it_winds_around(tmp_path: Path) -> None:
    organ, tumor = damaged(sphere(8.0, 4)), damaged(sphere(3.0, 4, (2.0, 1.0, 0.0)))
    mesh(case(tmp_path, {"organ": organ, "tumor": tumor}))
    made = json.loads((tmp_path / "made.certificate.json").read_text())
    # missing triangles and fins are 1 % of the area, and the spheres have 0.7 % less than balls
    assert made["regions"]["tumor"]["volume_mesh_mm3"] == pytest.approx(ball(3.0), rel=0.03)
    assert made["regions"]["organ"]["volume_mesh_mm3"] == pytest.approx(ball(8.0) - ball(3.0), rel=0.03)
    assert all(abs(region["volume_error_percent"]) < 2.0 for region in made["regions"].values())
    told = "; ".join(made["repairs"])
    for word in (
        "15 double triangles",
        "triangles turned",
        "open edges",
        "edges with more than two triangles",
        "voxels",
    ):
        assert told.count(word) >= 2


def test_what_cannot_be_filled_between_triangles_is_filled_between_voxels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def at_the_second_try(boundary: Boundary, sizes: Sizes, *, log: Callable[[str], None]) -> Filling:
        tries.append(len(boundary.triangles))
        if len(tries) == 1:
            raise MeshQualityError("HXT 3D mesh failed")
        return fill(boundary, sizes, log=log)

    monkeypatch.setattr("turgor.meshing.make.fill", at_the_second_try)
    spec = case(tmp_path, {"organ": sphere(8.0), "tumor": sphere(3.0, 3, (2.0, 1.0, 0.0))})
    mesh(spec)
    made = json.loads((tmp_path / "made.certificate.json").read_text())
    assert len(tries) == 2
    assert "could not be meshed (HXT 3D mesh failed); the exact geometry is given up" in "; ".join(made["repairs"])
    assert made["regions"]["tumor"]["volume_mesh_mm3"] == pytest.approx(volume(*sphere(3.0)), rel=0.02)


def flat_sheet() -> Skin:
    return np.array([[0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0]], dtype=float), np.array([[0, 1, 2], [0, 2, 3]])


def double_sheet() -> Skin:
    points, triangles = flat_sheet()
    return points, np.concatenate([triangles, triangles[:, ::-1]])


def thin_lens() -> Skin:
    points, triangles = sphere(4.0)
    return points * [1.0, 1.0, 1e-8], triangles


@pytest.mark.parametrize(
    ("organ", "tumor", "words"),
    [
        (sphere(8.0), flat_sheet(), ["tumor.obj", "encloses nothing", "4 edges are open"]),
        (sphere(8.0), double_sheet(), ["tumor.obj", "encloses no volume"]),
        (sphere(8.0), thin_lens(), ["tumor.obj", "no volume"]),
        (sphere(8.0), sphere(8.0), ["'organ' and 'tumor' have the same surface", "no thickness"]),
        (sphere(3.0), sphere(8.0), ["'organ' is covered by later surfaces"]),
        (damaged(sphere(3.0)), sphere(8.0), ["'organ' is covered by later surfaces", "'tumor'"]),
        (sphere(8e3), sphere(3.0), ["organ.obj", "unit 'mm'"]),
        (sphere(8.0), sphere(0.1), ["tumor.obj", "unit 'mm'"]),
        (sphere(0.55), sphere(0.3), ["unit 'mm'", "2 mm to 2500 mm"]),
    ],
)
def test_surfaces_without_an_inside_of_their_own_are_refused(
    tmp_path: Path, organ: Skin, tumor: Skin, words: list[str]
) -> None:
    said = refusal(case(tmp_path, {"organ": organ, "tumor": tumor}))
    assert all(word in said for word in words)


def test_frames_are_asked_for_where_they_differ_or_contradict(tmp_path: Path) -> None:
    spec = case(tmp_path, {"organ": sphere(8.0), "tumor": sphere(3.0, 3, (2.0, 1.0, 0.0))})
    organ, tumor = spec.surfaces
    mixed = spec.model_copy(update={"surfaces": (organ.model_copy(update={"frame": "LPS"}), tumor)})
    said = refusal(mixed)
    assert "mesh.surfaces.1.frame" in said
    assert "'organ' is in LPS" in said
    for surface in (organ, tumor):
        surface.file.write_text("# 3D Slicer output. SPACE=LPS\n" + surface.file.read_text())
    anatomy = read(spec)
    assert isinstance(anatomy, SurfaceAnatomy)
    inner = anatomy.boundary.points[np.unique(anatomy.boundary.of("tumor"))]
    assert inner.mean(axis=0) == pytest.approx([-2.0, -1.0, 0.0], abs=1e-9)
    other = organ.model_copy(update={"frame": "RAS"})
    assert "the file says SPACE=LPS" in refusal(spec.model_copy(update={"surfaces": (other, tumor)}))


def test_cleaning_twice_changes_nothing_more() -> None:
    ledger = Ledger(strict=False)
    once = cleaned(*with_small_holes(flat_and_double(sphere(8.0))), "organ", ledger)
    assert ledger.entries
    assert once.closed
    again = Ledger(strict=True)
    twice = cleaned(once.points, once.triangles, "organ", again)
    assert again.entries == []
    assert np.array_equal(once.triangles, twice.triangles)
    assert np.array_equal(once.points, twice.points)


def test_sampling_gives_the_same_voxels_every_time(tmp_path: Path) -> None:
    spec = case(tmp_path, {"organ": damaged(sphere(8.0))})
    one, two = read(spec), read(spec)
    assert isinstance(one, SampledAnatomy)
    assert isinstance(two, SampledAnatomy)
    assert np.array_equal(one.grid.values, two.grid.values)
    assert one.origin.volumes == two.origin.volumes
    assert one.origin.repairs == two.origin.repairs


def test_every_repair_of_a_surface_is_told_while_it_is_meshed(tmp_path: Path) -> None:
    told: list[str] = []
    anatomy = from_surfaces(case(tmp_path, {"organ": flat_and_double(sphere(8.0))}), {}, told.append)
    assert anatomy.origin.repairs
    assert {f"mesh: {repair}" for repair in anatomy.origin.repairs} <= set(told)
