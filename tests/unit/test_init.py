"""`turgor init` writes a case for any label image, states its guesses, and the case is valid as it stands."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
from numpy.typing import NDArray

from turgor.case import Case
from turgor.init import CELLS, CELLS_PER_CUBE, edge_lengths, plan, write_case
from turgor.materials.errors import CaseError, SegmentationError

type Labels = NDArray[np.int32]


def ball(shape: tuple[int, int, int], center: tuple[float, float, float], radius: float) -> NDArray[np.bool_]:
    """Return the voxels inside a ball, in voxel units."""
    grid = np.indices(shape).astype(float) - np.asarray(center)[:, None, None, None]
    return np.linalg.norm(grid, axis=0) <= radius


@pytest.fixture
def organ() -> Labels:
    """Return an organ (7) with a tumor (4) in it, a vessel (2) at its edge, and a bone (9) far away."""
    shape = (48, 40, 36)
    labels = np.zeros(shape, dtype=np.int32)
    labels[ball(shape, (20, 20, 18), 15)] = 7
    labels[ball(shape, (23, 20, 18), 5)] = 4
    labels[6, 20, 6:34] = 2
    labels[44:47, 3:36, 3:33] = 9
    return labels


def written(labels: Labels, path: Path) -> Path:
    """Write a label image with voxels of 2 mm."""
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), np.diag([2.0, 2.0, 2.0, 1.0])), path)  # type: ignore[no-untyped-call]
    return path


def test_the_tumor_is_the_smallest_label_that_others_enclose(organ: Labels) -> None:
    draft = plan(organ, np.eye(4))
    assert draft.tumor.value == 4, "the vessel is smaller, but sticks out of the organ"
    assert draft.tumor.enclosed == 1.0
    assert "smallest label that others enclose" in draft.why


def test_what_the_image_calls_a_tumor_is_the_tumor(organ: Labels) -> None:
    draft = plan(organ, np.eye(4), {7: "Liver", 4: "cyst", 2: "Primary tumour, left"})
    assert (draft.tumor.value, draft.tumor.name) == (2, "primary_tumour_left")
    assert [label.name for label in draft.labels] == ["liver", "cyst", "primary_tumour_left"]


def test_only_what_is_joined_to_the_tumor_is_meshed(organ: Labels) -> None:
    draft = plan(organ, np.eye(4))
    assert sorted(label.value for label in draft.labels) == [2, 4, 7]
    assert [label.value for label in draft.ignored] == [9]


@pytest.mark.parametrize(("crop", "cut"), [(slice(None), False), (slice(0, 20), True)])
def test_a_body_that_the_image_cuts_has_a_cut_surface(organ: Labels, crop: slice, cut: bool) -> None:
    assert plan(organ[:, :, crop], np.eye(4)).cut is cut


def test_a_lone_label_is_the_tumor() -> None:
    draft = plan(ball((20, 20, 20), (10, 10, 10), 6).astype(np.int32) * 3, np.eye(4))
    assert [label.name for label in draft.labels] == ["tumor"]


def test_equal_names_are_told_apart(organ: Labels) -> None:
    draft = plan(organ, np.eye(4), {7: "Segment", 4: "Segment", 2: "outside"})
    assert [label.name for label in draft.labels] == ["segment_2", "label_2", "tumor"]


def test_the_edge_lengths_fill_the_volume_with_the_cells_wanted(organ: Labels) -> None:
    draft = plan(organ, np.diag([2.0, 2.0, 2.0, 1.0]))
    lengths = edge_lengths(draft)
    cells = sum(CELLS_PER_CUBE * label.volume / lengths[label.name] ** 3 for label in draft.labels)
    assert cells == pytest.approx(CELLS, rel=1e-12), "the rule is its own definition, whatever the volumes"
    assert lengths["tumor"] < lengths["label_7"]


def test_the_case_is_valid_as_it_is_written_from_any_folder(
    organ: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bärs größte bilder"
    folder.mkdir()
    image = written(organ, folder / "müller leber.nii.gz")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    told = write_case(image, None)
    (path,) = work.iterdir()
    case = Case.read(path)
    assert case.mesh.regions() == ("label_7", "label_2", "tumor")
    assert case.mesh.image is not None
    assert case.mesh.image.file.samefile(image)
    assert case.mesh.image.ignore == (9,)
    assert set(case.physics) == {"flow", "drug"}
    assert any("guessed" in line for line in told)
    assert path.read_text(encoding="utf-8").count("GUESS") >= 6


def test_an_existing_case_is_not_overwritten(organ: Labels, tmp_path: Path) -> None:
    image = written(organ, tmp_path / "organ.nii.gz")
    target = tmp_path / "organ.toml"
    target.write_text("mine")
    with pytest.raises(CaseError, match="exists and is not overwritten"):
        write_case(image, target)
    assert target.read_text() == "mine"


def test_an_image_without_labels_is_refused(tmp_path: Path) -> None:
    image = written(np.zeros((4, 4, 4), dtype=np.int32), tmp_path / "empty.nii.gz")
    with pytest.raises(SegmentationError, match="no label"):
        write_case(image, tmp_path / "empty.toml")
    assert not (tmp_path / "empty.toml").exists()


def segmented(organ: Labels, path: Path) -> Path:
    """Write an organ and its tumor as segments of 3D Slicer that overlap, and one that is empty."""
    whole = np.isin(organ, (7, 4))
    layers = np.stack([whole, organ == 4]).astype(np.uint8)
    header = {
        "space": "left-posterior-superior",
        "kinds": ["list", "domain", "domain", "domain"],
        "space directions": np.vstack([np.full(3, np.nan), np.diag([-2.0, -2.0, 2.0])]),
        "space origin": np.zeros(3),
    }
    for index, (name, layer) in enumerate((("Left liver", 0), ("Primary tumor", 1), ("Nothing", 1))):
        header |= {f"Segment{index}_Name": name, f"Segment{index}_Layer": str(layer)}
        header |= {f"Segment{index}_LabelValue": str(1 + index // 2), f"Segment{index}_Color": "1 0 0.2"}
    nrrd.write(str(path), layers, header)
    return path


def test_segments_that_overlap_fill_the_case_with_names_and_priority(organ: Labels, tmp_path: Path) -> None:
    target = tmp_path / "first.toml"
    told = write_case(segmented(organ, tmp_path / "a.seg.nrrd"), target)
    case = Case.read(target)
    assert case.mesh.image is not None
    assert dict(case.mesh.image.labels) == {"left_liver": ("Left liver",), "primary_tumor": ("Primary tumor",)}
    assert case.mesh.image.priority == ("primary_tumor", "left_liver")
    assert "left out: Nothing: it is empty" in told
    assert "color #ff0033" in target.read_text(encoding="utf-8")


def test_a_stack_of_masks_fills_the_case_with_channels(organ: Labels, tmp_path: Path) -> None:
    masks = np.stack([np.isin(organ, (7, 4)), organ == 4], axis=-1).astype(np.uint8)
    nib.save(nib.Nifti1Image(masks, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "a.nii.gz")  # type: ignore[no-untyped-call]
    write_case(tmp_path / "a.nii.gz", tmp_path / "first.toml")
    image = Case.read(tmp_path / "first.toml").mesh.image
    assert image is not None
    assert dict(image.labels) == {"label_1": (1,), "tumor": (2,)}
    assert image.priority == ("tumor", "label_1")


def test_values_of_a_known_table_are_hinted_at(organ: Labels, tmp_path: Path) -> None:
    brats = np.select([organ == 7, organ == 4, organ == 2], [2, 4, 1]).astype(np.int32)
    told = write_case(written(brats, tmp_path / "a.nii.gz"), tmp_path / "first.toml")
    assert any('table = "brats2017"' in line for line in told)


def test_an_image_of_intensities_is_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(12**3, dtype=np.int16).reshape(12, 12, 12), np.eye(4))  # type: ignore[no-untyped-call]
    nib.save(image, tmp_path / "ct.nii.gz")  # type: ignore[no-untyped-call]
    with pytest.raises(SegmentationError, match="1727 different values"):
        write_case(tmp_path / "ct.nii.gz", tmp_path / "first.toml")
