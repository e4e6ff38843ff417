"""Meshes of other programs in and out: what each format keeps, and what is said when a file is broken."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import meshio
import numpy as np
import pytest
from support.meshes import Ints, box

from turgor.cli import main
from turgor.materials.errors import SegmentationError, TurgorError
from turgor.meshing import MeshSpec, Tetrahedra, convert, mesh, read_h5
from turgor.meshing.exchange import WORLDS, read_mesh
from turgor.meshing.formats import read_msh, write_h5, write_msh
from turgor.meshing.tetrahedra import Surface, areas, assemble, faces_of, volumes

README = Path(__file__).parents[2] / "README.md"
ENDINGS = tuple(WORLDS)


def organ() -> Tetrahedra:
    """Return a cube of two regions: an interface, an outside, a cut, a cavity, and two named surfaces that overlap."""
    ticks = 3 * [np.pi * np.linspace(-1, 1, 5)]
    cube = box(ticks, lambda c: (np.linalg.norm(c, axis=1) < 1.8).astype(np.int64), ("white matter", "tumor"))
    faces = faces_of(cube.cells, len(cube.points))
    corners = cube.points[faces.vertices]
    sides = [(corners[:, :, axis] == ticks[0][end]).all(axis=1) for axis, end in ((2, 0), (2, -1), (1, 0), (0, 2))]

    def table(*chosen: np.ndarray) -> Ints:
        rows = [np.column_stack([faces.vertices[at], np.full(int(at.sum()), i)]) for i, at in enumerate(chosen)]
        return np.concatenate(rows)

    outer = (table(sides[0], sides[1]), [Surface("cut", "cut"), Surface("ventricle", "cavity")])
    named = (table(sides[2], sides[2] | sides[3]), ["inlet", "inlet and middle"])
    return assemble(cube.points, cube.cells, cube.region, cube.regions, outer, named)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the organ in every format, as organ.h5, organ.msh and so on."""
    folder = tmp_path_factory.mktemp("formats")
    write_h5(folder / "organ.h5", organ(), "")
    for ending in ENDINGS:
        convert(folder / "organ.h5", folder / f"organ{ending}")
    return folder


def facets(mesh: Tetrahedra, name: str) -> set[tuple[int, ...]]:
    """Return the facets of a surface."""
    index = [surface.name for surface in mesh.surfaces].index(name)
    return {tuple(row) for row in mesh.facets[mesh.facet_surface == index].tolist()}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_mesh_comes_back_from_every_format(made: Path, ending: str) -> None:
    before = organ()
    after, notes = read_mesh(made / f"organ{ending}")
    assert notes == []
    assert (after.regions, after.surfaces) == (before.regions, before.surfaces)
    assert (after.cells == before.cells).all()
    assert (after.region == before.region).all()
    assert all(facets(after, s.name) == facets(before, s.name) for s in before.surfaces)
    if ending not in {".bdf", ".nas"}:
        assert after.hash() == before.hash()


def row(made: Path, ending: str) -> tuple[str, ...]:
    """Return what a format keeps, as the table of the README says it, from a round trip without the names beside."""
    before, beside = organ(), made / f"organ{ending}.names.json"
    after, _ = read_mesh(made / f"organ{ending}")
    hidden = beside.rename(beside.with_suffix(".hidden")) if beside.is_file() else None
    bare, _ = read_mesh(made / f"organ{ending}")
    if hidden:
        hidden.rename(beside)
    off = float(np.abs(after.points - before.points).max() / np.abs(before.points).max())

    def kept(within: bool, with_names: bool) -> str:
        return "in the file" if within else "beside it" if with_names else "no"

    return (
        "all" if len(after.cells) == len(before.cells) and (after.region == before.region).all() else "no",
        kept(bare.regions == before.regions, after.regions == before.regions),
        kept(bare.surfaces == before.surfaces, after.surfaces == before.surfaces),
        "exact" if off == 0 else f"{round(-np.log10(off))} digits",
    )


def test_the_table_of_the_readme_is_what_round_trips_give(made: Path) -> None:
    """Each row: format, endings, then what `row` finds; the same for all endings of a format."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {"turgor": [(".h5", row(made, ".h5"))]}
    for ending, world in WORLDS.items():
        found.setdefault(world.name, []).append((ending, row(made, ending)))
    lines = []
    for name, rows in found.items():
        assert len({kept for _, kept in rows}) == 1, name
        lines.append(f"| {name} | {', '.join(f'`{ending}`' for ending, _ in rows)} | {' | '.join(rows[0][1])} |")
    _, _, section = README.read_text(encoding="utf-8").partition("Mesh formats")
    written = re.findall(r"^\| .* \|$", section, flags=re.MULTILINE)[1:]
    assert [line for line in written if not line.startswith("|--")][: len(lines)] == lines


@pytest.mark.parametrize("ending", [".mesh", ".bdf", ".vtk"])
def test_a_format_without_names_is_told_and_gets_them_beside(tmp_path: Path, ending: str) -> None:
    write_h5(tmp_path / "a.h5", organ(), "")
    told = convert(tmp_path / "a.h5", tmp_path / f"a{ending}")
    assert "1 = white matter, 2 = tumor; surfaces 3 = white matter|tumor, 4 = white matter|outside" in told[-1]
    assert f"a{ending}.names.json" in told[-1]
    (tmp_path / f"a{ending}.names.json").unlink()
    bare, _ = read_mesh(tmp_path / f"a{ending}")
    assert bare.regions == ("volume_1", "volume_2")
    assert "surface_7" in {surface.name for surface in bare.surfaces}


def test_names_that_a_format_can_not_write_are_told_and_come_back(tmp_path: Path) -> None:
    cube = box(3 * [np.linspace(0, 1, 3)], lambda c: (c[:, 0] > 0.5).astype(np.int64), ("Hirn", "Ödem"))
    write_h5(tmp_path / "a.h5", cube, "")
    for ending in (".med", ".inp", ".e"):
        told = convert(tmp_path / "a.h5", tmp_path / f"a{ending}")
        assert "'Ödem' is '_dem'" in told[0]
        assert read_mesh(tmp_path / f"a{ending}")[0].hash() == cube.hash()


def test_names_left_beside_by_another_mesh_do_not_stay(tmp_path: Path) -> None:
    write_h5(tmp_path / "a.h5", organ(), "")
    (tmp_path / "a.inp.names.json").write_text('{"names": {"tumor": "else"}}', encoding="utf-8")
    convert(tmp_path / "a.h5", tmp_path / "a.inp")
    assert read_mesh(tmp_path / "a.inp")[0].regions == ("white matter", "tumor")


@pytest.mark.parametrize("content", ["", "[]", '{"names": 3}', '{"names": {'])
def test_a_broken_list_of_names_is_refused(made: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "a.mesh").write_bytes((made / "organ.mesh").read_bytes())
    (tmp_path / "a.mesh.names.json").write_text(content, encoding="utf-8")
    with pytest.raises(SegmentationError, match="is no list of names"):
        read_mesh(tmp_path / "a.mesh")


def test_a_unit_scales_what_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_msh(tmp_path / "a.msh", organ())
    assert main(["convert", str(tmp_path / "a.msh"), str(tmp_path / "b.h5"), "--unit", "cm"]) == 0
    assert read_h5(tmp_path / "b.h5").points == pytest.approx(10 * organ().points, rel=1e-15)
    assert read_h5(tmp_path / "b.h5").distance["tumor"].min() < 0, "the solver reads distances from it"
    assert main(["convert", str(tmp_path / "a.msh"), str(tmp_path / "c.vtu"), "--unit", "g"]) == 2
    assert "g" in capsys.readouterr().err
    assert not (tmp_path / "c.vtu").exists()


def test_the_command_says_what_a_format_can_not_hold(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(made / "organ.h5"), str(made / "again.nas")]) == 0
    said = "".join(capsys.readouterr())
    assert "Nastran keeps 10 digits" in said
    assert "again.nas.names.json" in said


ABAQUS = """*Heading
** nodes with gaps in their numbers, a set by name, a set in ELEMENT, a generated set, sides, a set of nodes
*Node
1, 0., 0., 0.
2, 1., 0., 0.
3, 0., 1., 0.
5, 0., 0., 1.
6, 1., 1., 1.
*Element, type=C3D4, elset=Tumor
10, 1, 2, 3, 5
*Element, type=C3D4
20, 2, 3, 5, 6
*Elset, elset="all of it", generate
10, 20, 10
*Elset, elset=Copy
Tumor
*Nset, nset=Floor
1, 2,
3
*Surface, type=ELEMENT, name=Wall
Tumor, S2
*Material, name=soft
*End Step
"""


def test_an_abaqus_file_by_hand_keeps_its_sets(tmp_path: Path) -> None:
    (tmp_path / "a.inp").write_text(ABAQUS, encoding="utf-8")
    found, notes = read_mesh(tmp_path / "a.inp")
    assert found.regions == ("Tumor", "all of it")
    assert found.region.tolist() == [0, 1]
    assert facets(found, "Floor") == {(0, 1, 2)}
    assert facets(found, "Wall") == {(0, 1, 3)}, "side S2 of Abaqus: nodes 1, 4, 2"
    told = " ".join(notes)
    assert "'Copy' holds only what smaller sets hold" in told
    assert "'all of it' is what smaller sets leave of it: 1 tetrahedra" in told
    assert "set of points 'Floor'" in told


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("C3D4\n20, 2, 3, 5, 6", "C3D8\n20, 2, 3, 5, 6, 1, 1, 1, 1"), "has 1 elements of type C3D8"),
        (("*Material", "*Include, input=more.inp\n*Material"), "includes more.inp; put both into one file"),
        (("20, 2, 3, 5, 6", "20, 2, 3, 5, 7"), "has a point that the file does not hold"),
        (("20, 2, 3, 5, 6", "20, 2, 3, 5, 1"), "tetrahedra overlap|have no volume"),
        (("20, 2, 3, 5, 6", "20, 2, 3, 5"), "words where numbers are due, or is cut off"),
        (("6, 1., 1., 1.", "5, 1., 1., 1."), "number their nodes alike"),
        (("6, 1., 1., 1.", "6, 1., 1., x"), "words where numbers are due"),
        (("6, 1., 1., 1.", "6, nan, 1., 1."), "coordinates that are not a number"),
    ],
)
def test_an_abaqus_file_that_can_not_be_is_refused(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    assert change[0] in ABAQUS
    (tmp_path / "a.inp").write_text(ABAQUS.replace(*change), encoding="utf-8")
    with pytest.raises(TurgorError, match=complaint):
        read_mesh(tmp_path / "a.inp")


GMSH = """
import json, sys
import gmsh
folder, volumes, areas = sys.argv[1], {}, {}
gmsh.initialize(interruptible=False)
gmsh.option.setNumber("General.Verbosity", 0)
occ, model, option = gmsh.model.occ, gmsh.model, gmsh.option.setNumber
box, ball = occ.addBox(0, 0, 0, 4, 3, 2), occ.addSphere(2, 1.5, 1, 0.7)
occ.fragment([(3, box)], [(3, ball)])
occ.synchronize()
for tag in (1, 2):
    model.addPhysicalGroup(3, [model.getEntities(3)[tag - 1][1]], 10 * tag)
skin = [tag for _, tag in model.getBoundary(model.getEntities(3), oriented=False)]
model.addPhysicalGroup(2, skin[:2], 7, name="tumor")
model.addPhysicalGroup(2, skin[1:3], 8, name="second and third")
model.addPhysicalGroup(2, skin[3:4], 9)
model.setPhysicalName(3, 10, "tumor")
model.setPhysicalName(3, 20, "organ")
option("Mesh.MeshSizeMax", 0.9)
option("Mesh.Renumber", 0)
model.mesh.generate(3)
for version in (2.2, 4.1):
    for binary in (0, 1):
        for every in (0, 1):
            option("Mesh.MshFileVersion", version), option("Mesh.Binary", binary), option("Mesh.SaveAll", every)
            gmsh.write(f"{folder}/{version}-{binary}-{every}.msh")
option("Mesh.SaveAll", 0), option("Mesh.Binary", 0), option("Mesh.MshFileVersion", 4.0)
gmsh.write(f"{folder}/old.msh")
option("Mesh.MshFileVersion", 4.1)
sizes = {model.getPhysicalName(3, g): sum(occ.getMass(3, t) for t in model.getEntitiesForPhysicalGroup(3, g))
         for g in (10, 20)}
model.mesh.setOrder(2)
gmsh.write(f"{folder}/second.msh")
gmsh.finalize()
print(json.dumps(sizes))
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """Return a folder with meshes that gmsh itself wrote, and the volumes of its regions."""
    folder = tmp_path_factory.mktemp("gmsh")
    done = subprocess.run(
        [sys.executable, "-c", GMSH, str(folder)], capture_output=True, text=True, check=True, timeout=120
    )
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["2.2-0-0", "2.2-1-0", "4.1-0-0", "4.1-1-0", "4.1-0-1", "4.1-1-1"])
def test_what_gmsh_writes_is_read_with_every_name(own: tuple[Path, dict[str, float]], name: str) -> None:
    """Volume and surface may share a name; a facet may be in two surfaces; the ball is flattened by at most 20 %."""
    folder, sizes = own
    found = read_msh(folder / f"{name}.msh")
    assert set(found.regions) == set(sizes)
    cells = volumes(found.points, found.cells)
    assert (cells > 0).all()
    assert cells.sum() == pytest.approx(24, rel=1e-12)
    ball = cells[found.region == found.regions.index("tumor")].sum()
    assert 0.8 * sizes["tumor"] < ball < sizes["tumor"]
    kinds = {surface.name: surface.kind for surface in found.surfaces}
    assert kinds == {
        **dict.fromkeys(["tumor", "second and third"], "named"),
        "organ|outside": "outside",
        "|".join(found.regions): "interface",
    }
    size = {name: areas(found.points, np.array(sorted(facets(found, name)))).sum() for name in kinds}
    assert size["organ|outside"] == pytest.approx(2 * (12 + 8 + 6), rel=1e-12)
    assert len(facets(found, "tumor") & facets(found, "second and third")) > 0


def test_the_four_kinds_of_file_of_gmsh_give_one_mesh(own: tuple[Path, dict[str, float]]) -> None:
    first, *others = [read_msh(own[0] / f"{version}-{b}-0.msh") for version in ("4.1", "2.2") for b in (0, 1)]
    for other in others:
        assert other.regions == first.regions
        assert (other.cells == first.cells).all()
        assert other.points == pytest.approx(first.points, abs=1e-14)
        assert all(facets(other, s.name) == facets(first, s.name) for s in first.surfaces)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("2.2-1-1.msh", r"tetrahedra are in no physical volume with a name; .* Mesh.SaveAll = 1 drops them"),
        ("old.msh", r"version 4 of gmsh's format|version 4.0 of gmsh's format"),
        ("second.msh", r"has \d+ second-order .*; turgor takes linear tetrahedra only"),
    ],
)
def test_what_is_no_mesh_of_linear_tetrahedra_with_names_is_refused(
    own: tuple[Path, dict[str, float]], name: str, complaint: str
) -> None:
    with pytest.raises(SegmentationError, match=complaint):
        read_msh(own[0] / name)


def test_a_volume_without_a_name_is_refused_by_mesh_and_numbered_by_convert(tmp_path: Path) -> None:
    write_msh(tmp_path / "a.msh", organ())
    data = (tmp_path / "a.msh").read_bytes()
    (tmp_path / "a.msh").write_bytes(data.replace(b'3 2 "tumor"', b'1 2 "tumor"'))
    with pytest.raises(SegmentationError, match="tetrahedra are in no physical volume with a name"):
        mesh(MeshSpec.model_validate({"file": "a.msh"}, context={"base": tmp_path}))
    assert read_mesh(tmp_path / "a.msh")[0].regions == ("white matter", "volume_2")


def test_inverted_cells_are_turned_and_unused_points_left_out(tmp_path: Path) -> None:
    whole = organ()
    points = np.concatenate([[[9.0, 9.0, 9.0]], whole.points])
    bent = Tetrahedra(
        points, whole.cells[:, [1, 0, 2, 3]] + 1, whole.region, whole.regions,
        whole.facets + 1, whole.facet_surface, whole.surfaces, whole.piece,
    )  # fmt: skip
    write_msh(tmp_path / "a.msh", bent)
    again = read_msh(tmp_path / "a.msh")
    assert (volumes(again.points, again.cells) > 0).all()
    assert (again.points == whole.points).all()
    assert again.surfaces == whole.surfaces


def said_of(file: Path) -> str:
    """Return the sentence that refuses a file; nothing when it is read."""
    try:
        read_mesh(file)
    except TurgorError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("ending", [".h5", *ENDINGS, "2.2-0-0.msh", "4.1-0-0.msh", "4.1-1-0.msh"])
def test_a_garbled_file_is_read_or_refused_in_one_silent_sentence(
    made: Path,
    own: tuple[Path, dict[str, float]],
    tmp_path: Path,
    ending: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source = made / f"organ{ending}" if ending.startswith(".") else own[0] / ending
    data, chance = source.read_bytes(), random.Random(ending)
    file = tmp_path / f"a{Path(ending).suffix or ending}"
    for attempt in range(16):
        at = chance.randrange(len(data))
        bent = bytearray(data[:at] if attempt % 4 == 0 else data)
        if attempt % 4 == 1:
            del bent[at : at + chance.randrange(1, 99)]
        for _ in range(chance.randrange(1, 20) if attempt % 4 > 1 and bent else 0):
            bent[chance.randrange(len(bent) if attempt % 4 == 2 else 400)] = chance.randrange(256)
        file.write_bytes(bytes(bent))
        assert "\n" not in said_of(file)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", [".med", ".vtu", ".mesh", ".e", ".inp", ".bdf", ".msh", ".h5", ".xdmf", ".vtk"])
def test_an_empty_file_is_refused(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"a{ending}").write_bytes(b"")
    with pytest.raises(SegmentationError):
        read_mesh(tmp_path / f"a{ending}")


def test_other_cells_than_tetrahedra_are_counted_and_refused(tmp_path: Path) -> None:
    points = np.array([[x, y, z] for z in (0.0, 1.0) for y in (0.0, 1.0) for x in (0.0, 1.0)])
    brick = meshio.Mesh(points, [("hexahedron", [[0, 1, 3, 2, 4, 5, 7, 6]]), ("tetra", [[0, 1, 2, 4]])])
    for ending in (".vtu", ".med", ".mesh", ".bdf", ".vtk"):
        meshio.write(tmp_path / f"a{ending}", brick)
        with pytest.raises(SegmentationError, match="has 1 cells of type hexahedron; turgor takes linear tetrahedra"):
            read_mesh(tmp_path / f"a{ending}")


def test_cell_data_of_another_program_become_regions(tmp_path: Path) -> None:
    cube = organ()
    cells = [("tetra", cube.cells)]
    meshio.write(tmp_path / "a.vtu", meshio.Mesh(cube.points, cells, cell_data={"label": [5 * cube.region]}))
    found, notes = read_mesh(tmp_path / "a.vtu")
    assert found.regions == ("volume_0", "volume_5")
    assert notes == ["regions are taken from the cell data 'label'"]
    meshio.write(tmp_path / "b.vtu", meshio.Mesh(cube.points, cells))
    found, notes = read_mesh(tmp_path / "b.vtu")
    assert len(found.regions) == 1
    assert "are in no set" in notes[0]
