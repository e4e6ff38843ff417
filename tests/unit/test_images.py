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
from turgor.meshing import ImageSpec, label_counts, label_names, not_finite, read_labels, read_map
from turgor.meshing.images import read_image
from turgor.meshing.segmentation import Segmentation, read_segmentation
from turgor.meshing.tables import table

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


def test_the_same_voxels_lie_at_the_same_place_in_every_format(tmp_path: Path) -> None:
    places = []
    for name, write in WRITERS.items():
        write(tmp_path / name, labels(), OBLIQUE)
        values, affine = read_labels(tmp_path / name)
        places.append(affine[:3, :3] @ np.argwhere(values).mean(axis=0) + affine[:3, 3])
    # voxels (3, 0, 1) and (0, 4, 5): their mean is (1.5, 2, 3)
    expected = OBLIQUE[:3] @ [1.5, 2.0, 3.0, 1.0]
    assert np.array(places) == pytest.approx(np.tile(expected, (len(places), 1)), abs=1e-5)


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


def write_two_frames(path: Path, shift: float = 5.0) -> None:
    image = nibabel.Nifti1Image(labels(), np.eye(4))
    moved = np.eye(4)
    moved[0, 3] = shift
    image.set_sform(np.eye(4), code=1)
    image.set_qform(moved, code=1)
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


def case(**said: object) -> ImageSpec:
    return ImageSpec.model_validate(said)


def regions(found: Segmentation) -> dict[str, NDArray[np.bool_]]:
    return {name: np.isin(found.values, numbers) for name, numbers in found.spec.numbers.items()}


def stack() -> NDArray[np.uint8]:
    """Return three masks: a block, a smaller one that reaches out of it by a slice, and one apart."""
    masks = np.zeros((8, 7, 6, 3), dtype=np.uint8)
    masks[1:5, 1:5, 1:5, 0] = 1
    masks[2:4, 2:4, 2:6, 1] = 1
    masks[6, 6, 1, 2] = 1
    return masks


def write_meta_stack(path: Path, masks: NDArray[np.uint8], affine: NDArray[np.float64]) -> None:
    write_meta(path, masks[..., 0], affine)
    head, _, _ = path.read_bytes().partition(b"ElementDataFile")
    words = head.replace(b"CompressedData = True", b"CompressedData = False")
    words += b"ElementNumberOfChannels = %d\nElementDataFile = LOCAL\n" % masks.shape[3]
    path.write_bytes(words + np.moveaxis(masks, -1, 0).tobytes(order="F"))


def write_nrrd_stack(path: Path, masks: NDArray[np.uint8], affine: NDArray[np.float64], **more: str) -> None:
    header = {
        "space": "left-posterior-superior",
        "kinds": ["list", "domain", "domain", "domain"],
        "space directions": np.vstack([np.full(3, np.nan), (FLIP @ affine[:3, :3]).T]),
        "space origin": FLIP @ affine[:3, 3],
        **more,
    }
    nrrd.write(str(path), np.moveaxis(masks, -1, 0), header)


STACKS = {"a.nii.gz": write_nifti, "a.nrrd": write_nrrd_stack, "a.mha": write_meta_stack}


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_of_masks_is_joined_by_priority_in_every_format(tmp_path: Path, name: str) -> None:
    STACKS[name](tmp_path / name, stack(), OBLIQUE)
    found = read_segmentation(
        case(file=tmp_path / name, labels={"organ": 1, "tumor": 2, "node": 3}, priority=["tumor"])
    )
    masks = stack() > 0
    assert found.affine == pytest.approx(OBLIQUE, abs=1e-5)
    assert (regions(found)["tumor"] == masks[..., 1]).all()
    assert (regions(found)["organ"] == (masks[..., 0] & ~masks[..., 1])).all()
    assert (regions(found)["node"] == masks[..., 2]).all()
    # the smaller block lies in the larger one with 2 x 2 x 3 of its voxels, out of 4 x 4 x 4
    assert found.notes == ("organ: 12 of its 64 voxels lie in tumor, too, and went to it by priority",)


def test_overlap_without_priority_is_refused_with_the_voxels(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", stack(), np.eye(4))
    with pytest.raises(SegmentationError, match=r"share 12 voxels, the first is voxel \(2, 2, 2\) at 2, 2, 2 mm") as no:
        read_segmentation(case(file=tmp_path / "a.nii", labels={"organ": 1, "tumor": 2, "node": 3}))
    assert 'priority = ["tumor", "organ"]' in str(no.value)


def test_channels_that_nobody_names_must_be_ignored(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", stack(), np.eye(4))
    with pytest.raises(SegmentationError, match=r"channel 3 \(1 voxels\), which no region claims"):
        read_segmentation(case(file=tmp_path / "a.nii", labels={"organ": [1, 2]}))
    found = read_segmentation(case(file=tmp_path / "a.nii", labels={"organ": [1, 2]}, ignore=[3]))
    # the union of 64 and 16 voxels that share 12
    assert np.count_nonzero(found.values) == 68


def test_a_region_that_others_cover_wholly_is_refused(tmp_path: Path) -> None:
    masks = np.ones((3, 3, 3, 2), dtype=np.uint8)
    write_nifti(tmp_path / "a.nii", masks, np.eye(4))
    with pytest.raises(SegmentationError, match="'b' is wholly covered"):
        read_segmentation(case(file=tmp_path / "a.nii", labels={"a": 1, "b": 2}, priority=["a"]))


def test_each_voxel_goes_to_its_largest_probability_above_the_threshold(tmp_path: Path) -> None:
    chance = np.zeros((3, 3, 3, 2), dtype=np.float32)
    chance[0] = [0.7, 0.3]
    chance[1] = [0.2, 0.8]
    chance[2] = [0.4, 0.5]
    write_nifti(tmp_path / "a.nii", chance, np.eye(4))
    with pytest.raises(SegmentationError, match=r"set threshold = 0\.5"):
        read_segmentation(case(file=tmp_path / "a.nii", labels={"a": 1, "b": 2}))
    found = read_segmentation(case(file=tmp_path / "a.nii", labels={"a": 1, "b": 2}, threshold=0.5))
    assert (found.values == np.array([1, 2, 0])[:, None, None]).all(), "0.5 does not exceed 0.5"


def test_a_probability_map_needs_a_threshold(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", np.linspace(0, 1, 27, dtype=np.float32).reshape(3, 3, 3), np.eye(4))
    found = read_segmentation(case(file=tmp_path / "a.nii", labels={"a": 1}, threshold=0.5))
    assert np.count_nonzero(found.values) == 13
    with pytest.raises(SegmentationError, match=r"threshold = 0\.5"):
        read_segmentation(case(file=tmp_path / "a.nii", labels={"a": 1}))


def test_time_and_vectors_are_no_masks(tmp_path: Path) -> None:
    series = np.random.default_rng(0).integers(0, 900, (3, 3, 3, 4)).astype(np.int16)
    image = nibabel.Nifti1Image(series, np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((1, 1, 1, 2.5))
    nibabel.save(image, tmp_path / "time.nii")
    nibabel.save(nibabel.Nifti1Image(series[:, :, :, None, :3], np.eye(4)), tmp_path / "vector.nii")
    write_nifti(tmp_path / "other.nii", series, np.eye(4))
    for name, words in (("time", "is time"), ("vector", "holds vectors"), ("other", "neither masks nor probabil")):
        with pytest.raises(SegmentationError, match=words):
            read_segmentation(case(file=tmp_path / f"{name}.nii", labels={"a": 1}))


SLICER = {
    "Segment0_ID": "Segment_1",
    "Segment0_Name": "Liver",
    "Segment0_Layer": "0",
    "Segment0_LabelValue": "1",
    "Segment0_Color": "1 0.5 0",
    "Segment0_Extent": "0 7 0 6 0 5",
    "Segment1_ID": "Segment_2",
    "Segment1_Name": "Tumor Bed",
    "Segment1_Layer": "1",
    "Segment1_LabelValue": "1",
    "Segment1_Color": "0 0 1",
    "Segment2_ID": "Segment_3",
    "Segment2_Name": "Node",
    "Segment2_Layer": "0",
    "Segment2_LabelValue": "2",
}


def layered() -> NDArray[np.uint8]:
    """Return the masks of `stack` in two layers, as 3D Slicer writes segments that overlap."""
    masks = stack()
    return np.stack([masks[..., 0] + 2 * masks[..., 2], masks[..., 1]], axis=-1)


def test_overlapping_segments_of_slicer_are_regions_by_name(tmp_path: Path) -> None:
    write_nrrd_stack(tmp_path / "a.seg.nrrd", layered(), LEFT_HANDED, **SLICER)
    found = read_segmentation(
        case(
            file=tmp_path / "a.seg.nrrd",
            labels={"liver": "liver", "tumor": "tumor_bed", "node": "Node"},
            priority=["tumor", "liver"],
        )
    )
    assert found.affine == pytest.approx(LEFT_HANDED, abs=1e-12)
    assert [int(mask.sum()) for mask in regions(found).values()] == [52, 16, 1]
    assert found.colors == {"liver": (255, 128, 0), "tumor": (0, 0, 255)}


def test_a_misspelled_segment_is_refused_with_the_nearest(tmp_path: Path) -> None:
    write_nrrd_stack(tmp_path / "a.seg.nrrd", layered(), OBLIQUE, **SLICER)
    with pytest.raises(SegmentationError, match=r"labels\.a: .*'Tumor Bad'.*Did you mean 'Tumor Bed'"):
        read_segmentation(case(file=tmp_path / "a.seg.nrrd", labels={"a": "Tumor Bad"}))


def test_old_segmentations_of_slicer_have_a_layer_for_each_segment(tmp_path: Path) -> None:
    names = {f"Segment{i}_Name": name for i, name in enumerate(("Liver", "Tumor", "Node"))}
    write_nrrd_stack(tmp_path / "a.seg.nrrd", stack(), OBLIQUE, **names)
    spec = case(file=tmp_path / "a.seg.nrrd", labels={"node": "Node"}, ignore=["liver", "Tumor"])
    assert np.argwhere(read_segmentation(spec).values).tolist() == [[6, 6, 1]]


def test_names_of_segments_stand_for_values_of_one_layer(tmp_path: Path) -> None:
    header = {f"Segment{i}_{key}": SLICER[f"Segment{i}_{key}"] for i in (0, 2) for key in ("Name", "LabelValue")}
    write_nrrd_stack(tmp_path / "a.seg.nrrd", layered()[..., :1], OBLIQUE, **header)
    found = read_segmentation(case(file=tmp_path / "a.seg.nrrd", labels={"a": "Liver", "b": "Node"}))
    assert found.spec.numbers == {"a": (1,), "b": (2,)}


@pytest.mark.parametrize(
    ("name", "present", "label", "value"),
    [
        ("brats", {1, 2, 4}, "enhancing tumor", 4),
        ("brats", {1, 2, 3}, "Enhancing_Tumor", 3),
        ("brats2024", {1, 2, 3, 4}, "resection cavity", 4),
        ("totalsegmentator", {5, 117}, "liver", 5),
        ("totalsegmentator", {5, 117}, "costal cartilages", 117),
        ("freesurfer", {10, 49}, "Left-Thalamus-Proper", 10),
        ("freesurfer", {10, 49}, "right thalamus", 49),
    ],
)
def test_tables_name_label_values(tmp_path: Path, name: str, present: set[int], label: str, value: int) -> None:
    values = np.zeros((4, 4, 4), dtype=np.uint8)
    values[0, 0, : len(present)] = sorted(present)
    write_nifti(tmp_path / "a.nii", values, np.eye(4))
    found = read_segmentation(case(file=tmp_path / "a.nii", table=name, labels={"it": label}))
    assert found.spec.numbers == {"it": (value,)}


def test_brats_with_three_and_four_needs_its_year() -> None:
    with pytest.raises(SegmentationError, match=r"brats2024.*brats2013"):
        table("brats", {1, 2, 3, 4})


def test_a_name_of_a_table_that_the_image_does_not_hold_is_refused(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", labels(), np.eye(4))
    with pytest.raises(SegmentationError, match=r"'liver' is label 5, which is not in a\.nii; it holds 2, 7"):
        read_segmentation(case(file=tmp_path / "a.nii", table="totalsegmentator", labels={"a": "liver"}))


def test_two_frames_are_told_apart_by_the_case(tmp_path: Path) -> None:
    write_two_frames(tmp_path / "a.nii")
    for frame, place in (("qform", 5.0), ("sform", 0.0)):
        found = read_segmentation(case(file=tmp_path / "a.nii", labels={"a": [2, 7]}, frame=frame))
        assert found.affine[0, 3] == pytest.approx(place)
        assert frame in found.notes[0]


def test_frames_that_differ_by_rounding_are_one(tmp_path: Path) -> None:
    write_two_frames(tmp_path / "a.nii", 5e-4)
    assert read_labels(tmp_path / "a.nii")[1] == pytest.approx(np.eye(4))
    write_two_frames(tmp_path / "b.nii", 2e-3)
    with pytest.raises(SegmentationError, match=r"differ by 0\.002 voxels"):
        read_labels(tmp_path / "b.nii")


def test_a_header_without_a_frame_is_said_and_refused_when_strict(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(labels(), None), tmp_path / "a.nii")
    spec = case(file=tmp_path / "a.nii", labels={"a": [2, 7]})
    assert "right and left are not known" in read_segmentation(spec).repairs[0]
    with pytest.raises(SegmentationError, match=r"mesh\.strict"):
        read_segmentation(spec, strict=True)


def test_colors_become_labels_with_their_code_as_name(tmp_path: Path) -> None:
    colors = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colors[0, 0, 0] = (255, 0, 0)
    colors[2, 2, 1:] = (0, 0, 255)
    nibabel.save(nibabel.Nifti1Image(colors, np.eye(4)), tmp_path / "a.nii")
    found = read_segmentation(case(file=tmp_path / "a.nii", labels={"red": "#ff0000", "blue": 1}))
    assert np.argwhere(regions(found)["red"]).tolist() == [[0, 0, 0]]
    assert np.argwhere(regions(found)["blue"]).tolist() == [[2, 2, 1], [2, 2, 2]]
    assert "1 is #0000ff, 2 is #ff0000" in found.notes[0]


def test_label_values_beyond_a_byte_and_below_zero_are_labels(tmp_path: Path) -> None:
    values = np.zeros((3, 3, 3), dtype=np.int32)
    values[0, 0] = [-7, 1000, 70_000]
    write_nifti(tmp_path / "a.nii", values, np.eye(4))
    assert label_counts(tmp_path / "a.nii") == {-7: 1, 0: 24, 1000: 1, 70_000: 1}


def ball(shape: tuple[int, int, int], affine: NDArray[np.float64], radius: float) -> NDArray[np.uint8]:
    centers = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return (np.linalg.norm(centers, axis=-1) <= radius).astype(np.uint8)


def grid(spacing: float, half: float) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return a cube of voxels around the origin."""
    n = round(2 * half / spacing)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -half + spacing / 2
    return (n, n, n), affine


def test_masks_of_several_grids_are_brought_onto_the_finest(tmp_path: Path) -> None:
    (fine, near), (coarse, far) = grid(0.5, 8.0), grid(1.5, 12.0)
    write_nifti(tmp_path / "organ.nii", ball(coarse, far, 10.0), far)
    write_nifti(tmp_path / "tumor.nii", ball(fine, near, 5.0), near)
    masks = {"organ": tmp_path / "organ.nii", "tumor": tmp_path / "tumor.nii"}
    found = read_segmentation(case(masks=masks, priority=["tumor", "organ"]))
    # the grid of the tumor ends at 8 mm, that of the organ at 12 mm: 8 voxels of 0.5 mm more on each side
    assert found.values.shape == tuple(n + 16 for n in fine)
    assert (regions(found)["tumor"][8:-8, 8:-8, 8:-8] == ball(fine, near, 5.0)).all()
    assert (found.values > 0).sum() * 0.5**3 == ball(coarse, far, 10.0).sum() * 1.5**3
    assert "organ.nii: brought onto the grid of tumor.nii" in found.repairs[0]
    assert len(found.repairs) == 1
    reference = read_segmentation(case(masks=masks, priority=["tumor", "organ"], reference=tmp_path / "organ.nii"))
    assert reference.values.shape == coarse
    # 4/3 pi 5^3 = 523.6 mm^3 in voxels of 3.375 mm^3; a ball of three voxels radius counts to a few per cent
    assert 3.375 * regions(reference)["tumor"].sum() == pytest.approx(523.6, rel=0.05)
    assert float(reference.repairs[0].split()[-1]) > 0.85


def test_a_mask_that_reaches_beyond_the_reference_is_refused(tmp_path: Path) -> None:
    (small, near), (large, far) = grid(1.0, 6.0), grid(1.5, 12.0)
    write_nifti(tmp_path / "organ.nii", ball(large, far, 10.0), far)
    write_nifti(tmp_path / "tumor.nii", ball(small, near, 4.0), near)
    masks = {"organ": tmp_path / "organ.nii", "tumor": tmp_path / "tumor.nii"}
    spec = case(masks=masks, priority=["tumor", "organ"], reference=tmp_path / "tumor.nii")
    with pytest.raises(SegmentationError, match=r"voxels of organ\.nii lie outside of the grid of tumor\.nii"):
        read_segmentation(spec)


def test_a_mask_apart_from_all_others_is_refused(tmp_path: Path) -> None:
    (shape, affine), (other, far) = grid(1.0, 6.0), grid(0.5, 4.0)
    far[0, 3] += 300.0
    write_nifti(tmp_path / "a.nii", ball(shape, affine, 5.0), affine)
    write_nifti(tmp_path / "b.nii", np.ones(other, dtype=np.uint8), far)
    spec = case(masks={"a": tmp_path / "a.nii", "b": tmp_path / "b.nii"}, priority=["b"])
    with pytest.raises(SegmentationError, match=r"a\.nii lies apart from all other masks"):
        read_segmentation(spec)


def test_a_mask_of_the_same_size_elsewhere_is_refused(tmp_path: Path) -> None:
    shape, affine = grid(1.0, 6.0)
    write_nifti(tmp_path / "a.nii", ball(shape, affine, 5.0), affine)
    moved = affine.copy()
    moved[0, 3] += 2.0
    write_nifti(tmp_path / "b.nii", ball(shape, affine, 2.0), moved)
    spec = case(masks={"a": tmp_path / "a.nii", "b": tmp_path / "b.nii"}, priority=["b"])
    with pytest.raises(SegmentationError, match=r"b\.nii has as many voxels as a\.nii, but lies 2 mm apart"):
        read_segmentation(spec)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((3, 3, 3), np.uint8), "is empty"),
        (np.arange(27, dtype=np.uint8).reshape(3, 3, 3), "several labels"),
        (np.full((3, 3, 3), 0.4, np.float32), "threshold"),
        (np.full((3, 3, 3), np.nan, np.float32), "not a number"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, values: NDArray[np.generic], words: str) -> None:
    write_nifti(tmp_path / "a.nii", values, np.eye(4))
    with pytest.raises(SegmentationError, match=words):
        read_segmentation(case(masks={"a": tmp_path / "a.nii"}))


def test_a_data_file_may_have_a_header_of_unknown_length(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"some header" + labels().tobytes(order="F"))
    head = "NDims = 3\nDimSize = 4 5 6\nElementType = MET_UCHAR\nHeaderSize = -1\nElementDataFile = a.raw\n"
    (tmp_path / "a.mhd").write_text(head)
    assert (read_image(tmp_path / "a.mhd").values == labels()).all()


@pytest.mark.parametrize("spacing", [1e-3, 1e3])
def test_an_image_in_another_unit_than_millimeters_is_refused(tmp_path: Path, spacing: float) -> None:
    write_nifti(tmp_path / "a.nii", np.ones((12, 12, 12), dtype=np.uint8), np.diag([spacing, spacing, spacing, 1.0]))
    with pytest.raises(SegmentationError, match=r"mm across by its header, expected 0\.5 mm to 10000 mm"):
        read_labels(tmp_path / "a.nii")
