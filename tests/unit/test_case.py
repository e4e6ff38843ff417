"""The case as an object: read, varied, compared, written."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from turgor.case import Case
from turgor.materials.errors import CaseError
from turgor.words import toml

CASE = """
name = "ball"
[mesh]
file = "ball.msh"
size = { tumor = "1 mm" }
[mesh.image]
file = "ball.nii.gz"
labels = { tumor = [1, 2], "normal tissue" = 3 }
[materials]
tumor = { like = "tumor" }
"normal tissue" = { like = "normal tissue", lymph = "linear" }
[physics.flow]
conditions = [ { on = "*|outside", pressure = "0 mmHg" } ]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a case file whose image is there, though empty: only the mesher opens it."""
    (tmp_path / "ball.nii.gz").touch()
    path = tmp_path / "case.toml"
    path.write_text(CASE, encoding="utf-8")
    return path


def test_equal_cases_are_equal_and_hash_alike(file: Path) -> None:
    assert Case.read(file) == Case.read(file)
    assert hash(Case.read(file)) == hash(Case.read(file))


def test_a_variation_is_a_new_case(file: Path) -> None:
    case = Case.read(file)
    varied = case.with_(mesh__size__tumor="2 mm")
    assert varied != case
    assert case.words["mesh"]["size"]["tumor"] == "1 mm"
    assert varied == Case.read(file, set=['mesh.size.tumor="2 mm"']).with_()


def test_a_case_cannot_be_changed_in_place(file: Path) -> None:
    case = Case.read(file)
    with pytest.raises(ValueError, match="frozen"):
        case.name = "other"


def test_a_varied_case_is_written_as_it_could_have_been_read(file: Path) -> None:
    varied = Case.read(file).with_(name="varied", mesh__size__tumor="2 mm")
    assert tomllib.loads(varied.text) == varied.words
    assert Case.read(file).text == CASE


def test_words_of_every_kind_survive_the_writing() -> None:
    words = {"a": 'quote " and ü', "b": [1, 2.5e-3, True], "c": {"d e": {"f": ["x", {"g": 1}]}}}
    assert tomllib.loads(toml(words)) == words


def test_a_variation_is_checked_like_a_file(file: Path) -> None:
    with pytest.raises(CaseError, match=r"mesh\.size: tumor: .*no unit"):
        Case.read(file).with_(mesh__size__tumor="2")


def test_a_relative_map_without_a_value_to_scale_asks_for_its_mean(file: Path) -> None:
    value = '{ image = "ball.nii.gz", unit = "1/min", as = "relative" }'
    change = f"materials.tumor={{ vessel_surface_density = {value} }}"
    with pytest.raises(CaseError, match=r"materials\.tumor\.vessel_surface_density: a relative map.*mean"):
        Case.read(file, set=[change])


def test_a_section_that_is_wrong_is_not_called_missing(file: Path) -> None:
    drug = 'physics.drug={ agent = "doxorubicin", plasma = { dose = "50 mg/m^2", kind = "bolus" } }'
    with pytest.raises(CaseError) as told:
        Case.read(file, set=[drug, 'time.end="1"', 'patient.body_surface="1 kg"'])
    message = str(told.value)
    assert "time.end: '1' has no unit" in message
    assert "patient.body_surface: 'kg' does not measure an area" in message
    assert "is missing" not in message
    assert "needs a time" not in message


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ('physics.flow.conditions=[{ on = "*|outside", pressure = "0" }]', "'0' has no unit"),
        ('physics={ edema = { strain = "small" } }', "physics.edema: poroelastic edema is not in this version"),
        ('name="../x"', "name: '../x' may hold only letters, digits, - and _"),
    ],
)
def test_one_mistake_gives_one_complaint(file: Path, change: str, complaint: str) -> None:
    text = file.read_text(encoding="utf-8")
    measure = '[output.measures]\np = { of = "pressure", in = "tumor", as = "mean" }\n'
    file.write_text(text + measure, encoding="utf-8")
    with pytest.raises(CaseError) as told:
        Case.read(file, set=[change])
    assert complaint in str(told.value)
    assert "no physics of the case" not in str(told.value)


def test_a_file_in_another_encoding_is_told_to_be_saved_as_utf8(file: Path) -> None:
    file.write_bytes(file.read_bytes() + "# \xe4\n".encode("latin-1"))
    with pytest.raises(CaseError, match="is not UTF-8; save the file as UTF-8 text"):
        Case.read(file)
