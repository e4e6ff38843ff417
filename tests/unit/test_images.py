"""Images in: the same voxel lies at the same place in every format, and broken files are refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from numpy.typing import NDArray

from turgor.materials.errors import SegmentationError
from turgor.meshing import label_counts, label_names, not_finite, read_labels, read_map

FLIP = np.diag([-1.0, -1.0, 1.0])
OBLIQUE = np.array([[0.9, -0.3, 0.1, -12.0], [0.2, 1.1, 0.2, 7.0], [0.0, -0.4, 3.0, 31.0], [0.0, 0.0, 0.0, 1.0]])
LEFT_HANDED = OBLIQUE @ np.diag([-1.0, 1.0, 1.0, 1.0])


def labels() -> NDArray[np.uint8]:
    values = np.zeros((4, 5, 6), dtype=np.uint8)
    values[3, 0, 1] = 2
    values[0, 4, 5] = 7
    return values


def write_nifti(path: Path, values: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def write_nrrd(path: Path, values: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    header = {
        "space": "left-posterior-superior",
        "space directions": (FLIP @ affine[:3, :3]).T,
        "space origin": FLIP @ affine[:3, 3],
    }
    nrrd.write(str(path), values, header)


def write_nrrd_ras(path: Path, values: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    header = {"space": "RAS", "space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    nrrd.write(str(path), values, header)


def write_meta(path: Path, values: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    axes = FLIP @ affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    words = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "CompressedData": "True",
        "TransformMatrix": " ".join(map(str, (axes / spacing).T.ravel())),
        "Offset": " ".join(map(str, FLIP @ affine[:3, 3])),
        "ElementSpacing": " ".join(map(str, spacing)),
        "DimSize": " ".join(map(str, values.shape)),
        "ElementType": "MET_UCHAR",
        "ElementDataFile": "LOCAL",
    }
    head = "".join(f"{key} = {value}\n" for key, value in words.items())
    path.write_bytes(head.encode() + zlib.compress(values.tobytes(order="F")))


WRITERS = {
    "a.nii.gz": write_nifti,
    "a.nii": write_nifti,
    "a.nrrd": write_nrrd,
    "b.nrrd": write_nrrd_ras,
    "a.mha": write_meta,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("affine", [OBLIQUE, LEFT_HANDED], ids=["right-handed", "left-handed"])
def test_left_stays_left_in_every_format(tmp_path: Path, name: str, affine: NDArray[np.float64]) -> None:
    path = tmp_path / "größe und ort" / name
    path.parent.mkdir()
    WRITERS[name](path, labels(), affine)
    values, found = read_labels(path)
    assert (values == labels()).all()
    # NIfTI stores its frame in single precision: 1e-7 of 50 mm
    assert found == pytest.approx(affine, abs=1e-5)


def test_labels_are_counted(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", labels(), OBLIQUE)
    assert label_counts(tmp_path / "a.nii") == {0: 118, 2: 1, 7: 1}


def test_names_of_segments_are_read(tmp_path: Path) -> None:
    header = {
        "space": "RAS",
        "space directions": np.eye(3),
        "space origin": np.zeros(3),
        "Segment0_Name": "liver",
        "Segment0_LabelValue": "7",
    }
    nrrd.write(str(tmp_path / "a.seg.nrrd"), labels(), header)
    assert label_names(tmp_path / "a.seg.nrrd") == {7: "liver"}


def test_whole_numbers_in_floats_are_labels(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", labels().astype(np.float32), OBLIQUE)
    assert (read_labels(tmp_path / "a.nii")[0] == labels()).all()


def test_meters_become_millimeters(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(labels(), np.diag([1e-3, 1e-3, 2e-3, 1.0]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "a.nii")
    assert read_labels(tmp_path / "a.nii")[1] == pytest.approx(np.diag([1.0, 1.0, 2.0, 1.0]), rel=1e-6)


def test_a_map_keeps_what_is_not_a_number_for_the_caller_to_judge(tmp_path: Path) -> None:
    values = np.ones((3, 3, 3), dtype=np.float32)
    values[1, 1, 1] = np.nan
    write_nifti(tmp_path / "k.nii", values, OBLIQUE)
    found, _ = read_map(tmp_path / "k.nii")
    assert not_finite(found) == 1


def write_absurd(path: Path) -> None:
    head = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 1000000 1000000 1000000\nspace: RAS\nencoding: raw\n"
    path.write_text(head + "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n\n")


def write_absurd_meta(path: Path) -> None:
    path.write_text("NDims = 3\nDimSize = 1000000 1000000 1000000\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n")


def write_truncated(path: Path) -> None:
    write_nifti(path, np.random.default_rng(0).integers(0, 9, (30, 30, 30)).astype(np.uint8), OBLIQUE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_without_space(path: Path) -> None:
    nrrd.write(str(path), labels(), {"spacings": [1.0, 1.0, 1.0]})


def write_two_frames(path: Path) -> None:
    image = nibabel.Nifti1Image(labels(), np.eye(4))
    image.set_sform(np.eye(4), code=1)
    image.set_qform(np.diag([-1.0, 1.0, 1.0, 1.0]), code=1)
    nibabel.save(image, path)


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("a.nrrd", write_absurd, "1e+18 voxels"),
        ("a.mha", write_absurd_meta, "1e+18 voxels"),
        ("a.nii.gz", write_truncated, "is it complete"),
        ("a.nii", write_truncated, "is it complete"),
        ("a.nii", lambda path: path.write_bytes(b"not an image"), "cannot be read"),
        ("a.mha", lambda path: path.write_bytes(b"\x00\xff" * 99), "cannot be read"),
        ("a.nrrd", lambda path: path.write_bytes(b"nonsense\n"), "cannot be read"),
        ("a.tif", lambda path: path.write_bytes(b""), "none of .nii"),
        ("a.nii", lambda path: write_nifti(path, np.zeros((3, 3, 3, 2), np.uint8), OBLIQUE), "3 x 3 x 3 x 2"),
        (
            "a.nii",
            lambda path: write_nifti(path, np.full((3, 3, 3), 0.5, np.float32), OBLIQUE),
            "between whole numbers",
        ),
        ("a.nii", lambda path: write_nifti(path, np.full((3, 3, 3), np.nan, np.float32), OBLIQUE), "not a number"),
        ("a.nrrd", write_without_space, "right and left are not known"),
        ("a.nii", write_two_frames, "two frames"),
        ("a.nrrd", lambda path: write_nrrd_ras(path, labels(), np.zeros((4, 4))), "voxels without size"),
    ],
)
def test_a_broken_image_is_refused_with_its_name(tmp_path: Path, name: str, write, words: str) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / name)
    with pytest.raises(SegmentationError, match=words.replace("+", r"\+")) as refusal:
        read_labels(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)
