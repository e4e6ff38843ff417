"""The `[mesh]` table of a case."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from turgor.meshing import MeshSpec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    base = tmp_path / "über case"
    base.mkdir()
    (base / "labels.nii.gz").write_bytes(b"")
    (base / "organ.stl").write_bytes(b"")
    (base / "own.msh").write_bytes(b"")
    (base / "rt.dcm").write_bytes(b"")
    return base


def read(folder: Path, table: dict[str, object]) -> MeshSpec:
    return MeshSpec.model_validate(table, context={"base": folder})


def image(**changes: object) -> dict[str, object]:
    labels = {"brain": [1, 2], "tumor": 4, "csf": 6}
    return {"file": "a.msh", "image": {"file": "labels.nii.gz", "labels": labels, **changes}}


def test_the_regions_of_an_image_are_its_labels_without_the_cavities(folder: Path) -> None:
    spec = read(folder, {**image(), "cavities": ["csf"]})
    assert spec.regions() == ("brain", "tumor")
    assert spec.image is not None
    assert dict(spec.image.labels) == {"brain": (1, 2), "tumor": (4,), "csf": (6,)}


def test_the_regions_of_masks_are_their_names(folder: Path) -> None:
    spec = read(folder, {"file": "a.msh", "image": {"masks": {"brain": "labels.nii.gz", "tumor": "organ.stl"}}})
    assert spec.regions() == ("brain", "tumor")
    assert spec.image is not None
    assert spec.image.files == (folder / "labels.nii.gz", folder / "organ.stl")


def test_a_mesh_depends_on_every_slice_of_the_reference(folder: Path) -> None:
    series = folder / "series"
    series.mkdir()
    for name in ("1.dcm", "2.dcm", "IM3", ".hidden", "notes.txt"):
        (series / name).write_bytes(b"")
    spec = read(folder, {"file": "a.msh", "image": {"file": "rt.dcm", "labels": {"a": "A"}, "reference": "series"}})
    assert spec.image is not None
    assert [path.name for path in spec.image.files] == ["rt.dcm", "1.dcm", "2.dcm", "IM3"]


def test_a_tumor_is_protected_unless_the_case_says_otherwise(folder: Path) -> None:
    for said, expected in (({}, ("tumor",)), ({"protect": ["csf"]}, ("csf",)), ({"protect": []}, ())):
        spec = read(folder, image(**said))
        assert spec.image is not None
        assert spec.image.protected == expected


def test_paths_are_relative_to_the_folder_of_the_case(folder: Path) -> None:
    spec = read(folder, image())
    assert spec.file == folder / "a.msh"
    assert spec.image is not None
    assert spec.image.file == folder / "labels.nii.gz"


def test_a_mesh_of_ones_own_has_no_regions_until_it_is_read(folder: Path) -> None:
    assert read(folder, {"file": "own.msh", "unit": "m"}).regions() is None


def test_equal_tables_are_equal_and_hash_alike(folder: Path) -> None:
    one, two = (read(folder, {**image(), "size": {"tumor": "1 mm"}}) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)


def test_sizes_are_lengths_in_millimeters(folder: Path) -> None:
    spec = read(folder, {**image(), "size": {"tumor": "0.1 cm"}})
    assert spec.size != "auto"
    assert spec.size["tumor"].value == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({**image(), "size": {"tumor": "-1 mm"}}, ["tumor", "-1 mm", "larger than zero"]),
        ({**image(), "size": {"tumor": 1}}, ["tumor", "no unit"]),
        ({**image(), "size": {"tumor": "1 Pa"}}, ["tumor", "does not measure a length"]),
        ({**image(), "size": "fine"}, ["fine", "auto"]),
        ({**image(), "size": {"tumr": "1 mm"}}, ["tumr", "Did you mean 'tumor'"]),
        ({**image(), "size": {"csf": "1 mm"}, "cavities": ["csf"]}, ["csf", "cavity"]),
        ({**image(), "cavities": ["cfs"]}, ["cfs", "Did you mean 'csf'"]),
        ({**image(), "cavities": ["brain", "tumor", "csf"]}, ["every region is a cavity"]),
        ({**image(), "unit": "m"}, ["unit", "remove it"]),
        ({**image(), "file": "a.vtk"}, [".msh"]),
        (image(labels={"a": [1, 2], "b": 2}), ["'b'", "'a'", "value 2"]),
        (image(labels={"a": 0}), ["background"]),
        (image(labels={"a": 1.5}), ["1.5", "whole number"]),
        (image(labels={"a|b": 1}), ["a|b"]),
        (image(labels={"outside": 1}), ["outside"]),
        (image(labels={"a": 1}, ignore=[1]), ["ignore", "claims"]),
        (image(merge_below=-1), ["merge_below"]),
        (image(labels={"a": ""}), ["whole number", "segment"]),
        (image(labels={"a": "Liver", "b": "liver"}), ["'b'", "'a'", "value liver"]),
        (image(table="brat"), ["brat", "Did you mean 'brats'"]),
        (image(priority=["tumr"]), ["priority", "Did you mean 'tumor'"]),
        (image(priority=["tumor", "tumor"]), ["priority", "twice"]),
        (image(protect=["lesion"]), ["protect", "no region 'lesion'"]),
        (image(threshold=0), ["threshold", "greater than 0"]),
        (image(frame="both"), ["frame", "qform"]),
        (image(reference="organ.stl"), ["reference", "RT-STRUCT"]),
        (image(masks={"a": "labels.nii.gz"}), ["masks", "instead of file"]),
        ({"file": "a.msh", "image": {"masks": {"a": "label.nii.gz"}}}, ["no file", "Did you mean"]),
        ({"file": "a.msh", "image": {"masks": {"a": "labels.nii.gz"}, "table": "brats"}}, ["table", "masks"]),
        ({"file": "a.msh", "image": {"labels": {"a": 1}}}, ["file", "missing"]),
        ({"file": "a.msh", "image": {"file": "labels.nii.gz"}}, ["labels", "no region"]),
        ({"file": "a.msh", "image": {"file": "rt.dcm", "labels": {"a": "A"}, "frame": "qform"}}, ["frame", "NIfTI"]),
        ({"file": "a.msh", "image": {"file": "rt.dcm", "labels": {"a": "A"}, "threshold": 0.5}}, ["contours"]),
        (image(file="label.nii.gz"), ["no file", "Did you mean 'labels.nii.gz'"]),
        ({"file": "own.msh", "size": {"a": "1 mm"}}, ["mesh of your own"]),
        ({"file": "owm.msh"}, ["no file", "own.msh"]),
        ({"file": "a.msh", "surfaces": [{"file": "organ.stl", "region": "organ"}]}, ["unit"]),
        ({"file": "a.msh", "surfaces": [{"file": "organ.stl", "region": "organ", "unit": "s"}]}, ["length"]),
        ({**image(), "surfaces": [{"file": "organ.stl", "region": "organ", "unit": "mm"}]}, ["not from both"]),
    ],
)
def test_a_wrong_table_is_refused_with_a_sentence(folder: Path, table: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ValidationError) as refusal:
        read(folder, table)
    (complaint,) = refusal.value.errors()
    said = f"{complaint['loc']} {complaint['msg']}"
    for word in words:
        assert word in said
