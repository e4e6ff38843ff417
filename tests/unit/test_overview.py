"""`turgor check` shows every value with its source, every surface with its condition, and how large the run will be."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest

from turgor.case import Case
from turgor.explain import SITUATIONS, markdown
from turgor.fem.physics.flow.spec import FlowSpec
from turgor.materials.errors import CaseError
from turgor.overview import conditions, explain, matching, read_mesh, show

ROOT = Path(__file__).parents[2]
SURFACES = ("tumor|organ", "organ|outside", "organ|cut")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Return a case whose mesh is one tetrahedron of organ on one of tumor."""
    corners = np.array([[0, 0, 0], [6, 0, 0], [0, 6, 0], [0, 0, 6], [0, 0, -6.0]])
    with h5py.File(tmp_path / "two.h5", "w") as h5:
        h5.attrs["regions"] = json.dumps(["tumor", "organ"])
        kinds = zip(SURFACES, ("interface", "outside", "cut"), strict=True)
        h5.attrs["surfaces"] = json.dumps([{"name": name, "kind": kind} for name, kind in kinds])
        h5["points"], h5["cells"], h5["region"] = corners, np.array([[0, 1, 2, 3], [0, 2, 1, 4]]), np.array([0, 1])
        h5["facets/vertices"] = np.array([[0, 1, 2], [0, 1, 4], [0, 2, 4]])
        h5["facets/surface"] = np.array([0, 1, 2])
    (tmp_path / "two.msh").touch()
    words = {
        "name": "two",
        "mesh": {"file": "two.msh"},
        "materials": {"tumor": {"like": "tumor", "vascular_pressure": "20 mmHg"}, "organ": {"like": "normal tissue"}},
        "physics": {"flow": {"conditions": [{"on": "outside|organ", "pressure": "1 mmHg"}]}},
    }
    return Case.of(words, folder=tmp_path)


def test_a_mesh_says_its_volumes_and_areas(case: Case) -> None:
    mesh = read_mesh(case.mesh.file.with_suffix(".h5"))
    assert (mesh.points, mesh.cells) == (5, 2)
    assert mesh.regions == pytest.approx({"tumor": 36.0, "organ": 36.0}), "6³/6 mm³ each"
    assert mesh.surfaces["organ|cut"] == ("cut", pytest.approx(18.0))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*|outside", ["organ|outside"]),
        ("organ|tumor", ["tumor|organ"]),
        ("organ|*", ["organ|outside", "organ|cut", "tumor|organ"]),
        ("tumor|outside", []),
    ],
)
def test_a_pattern_stands_for_surfaces_whichever_side_is_named_first(pattern: str, found: list[str]) -> None:
    assert matching(pattern, SURFACES) == found


def test_a_condition_on_no_surface_is_refused_with_the_nearest(case: Case) -> None:
    wrong = case.with_(physics__flow={"conditions": [{"on": "organ|outsid", "pressure": "1 mmHg"}]})
    with pytest.raises(CaseError, match=r"physics\.flow\.conditions\.0\.on.*organ\|outside"):
        conditions(wrong, {name: ("outside", 1.0) for name in SURFACES})


def test_everything_in_force_is_shown(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    show(case)
    said = capsys.readouterr().out
    lines = said.splitlines()
    given = next(line for line in lines if "vascular_pressure" in line)
    assert "20 mmHg" in given
    assert "this case" in given
    assert "baxter1989" in said
    assert any("organ|outside" in line and "pressure = 1 mmHg" in line for line in lines)
    assert any("organ|cut" in line and "sealed, not named" in line for line in lines)
    assert "cells: 2; points: 5" in said
    assert "flow 5" in said


def test_a_file_that_is_no_mesh_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mesh.h5").write_text("not a mesh")
    with pytest.raises(CaseError, match="not a mesh file of turgor"):
        read_mesh(tmp_path / "mesh.h5")


def test_every_situation_of_the_clinic_has_its_condition() -> None:
    asked = ("sealed capsule", "draining capsule", "skin", "bone or dura", "far tissue", "scan cut", "ventricle")
    assert [one.name for one in SITUATIONS][:8] == [*asked, "resection cavity"]
    assert {kind for one in SITUATIONS for kind in one.kinds} == {"outside", "cut", "cavity"}
    assert all(one.reason and one.effect and one.source for one in SITUATIONS)


@pytest.mark.parametrize("line", [one.line for one in SITUATIONS if one.line])
def test_the_lines_of_the_table_are_conditions_of_the_flow(line: str) -> None:
    (words,) = tomllib.loads(f"conditions = [ {line} ]")["conditions"]
    (condition,) = FlowSpec.model_validate({"conditions": [words]}).conditions
    assert len(condition.said()) == 1


def test_the_readme_shows_the_same_table() -> None:
    assert markdown() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_check_explains_the_conditions_and_what_the_surfaces_of_the_case_may_be(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    explain(case)
    said = capsys.readouterr().out
    cut = next(line for line in said.splitlines() if line.startswith("│ organ|cut"))
    assert "sealed, not named" in cut
    assert "scan cut" in cut
    assert all(one.name in said for one in SITUATIONS)
    assert "tumor|organ" not in said.partition("which condition?")[0], "an interface is no outer surface"
