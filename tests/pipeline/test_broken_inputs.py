"""A broken input is exit 2 and one message that names the place and the mend; nothing is written."""

from __future__ import annotations

import gzip
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from turgor.cli import main

CASE = """
name = "broken"
[patient]
body_surface = "1.8 m^2"
[mesh]
file = "organ.msh"
size = { organ = "6 mm", tumor = "4 mm" }
[mesh.image]
file = "organ.nii.gz"
labels = { organ = 1, tumor = 2 }
[materials]
organ = { like = "normal tissue" }
tumor = { like = "tumor" }
[physics.flow]
conditions = [ { on = "*|outside", pressure = "0 mmHg" } ]
[physics.drug]
agent = "doxorubicin"
plasma = { dose = "50 mg/m^2", kind = "bolus" }
[time]
end = "1 h"
step = "10 min"
"""


def save(values: np.ndarray, path: Path, *, shift: float = 0.0) -> None:
    """Write an image with voxels of 2 mm, moved by `shift` [mm]."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = shift
    nib.save(nib.Nifti1Image(values, affine), path)  # type: ignore[no-untyped-call]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with spaces and umlauts that holds a sound case, its image and maps; it is the current one."""
    place = tmp_path / "Öl und Wäsche"
    place.mkdir()
    distance = np.linalg.norm(np.indices((16, 16, 16)) - 7.5, axis=0)
    save(np.where(distance < 3, 2, np.where(distance < 7, 1, 0)).astype(np.uint8), place / "organ.nii.gz")
    save(np.ones((16, 16, 16), np.float32), place / "map.nii.gz")
    save(np.ones((16, 16, 16), np.float32), place / "elsewhere.nii.gz", shift=500.0)
    save(np.where(distance < 2, np.nan, 1.0).astype(np.float32), place / "holes.nii.gz")
    (place / "case.toml").write_text(CASE, encoding="utf-8")
    monkeypatch.chdir(place)
    return place


def written(folder: Path) -> set[str]:
    """Return what lies in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the message of a run that must be refused and leave nothing new but a finished mesh."""
    before = written(folder)
    assert main(["run", "case.toml", *words]) == 2
    message = capsys.readouterr().err
    assert message.startswith("turgor: ")
    assert "Traceback" not in message
    mesh = {"organ.msh", "organ.h5", "organ.certificate.json"}
    new = written(folder) - before
    assert new in (set(), mesh), "a mesh is whole or not there"
    return message


def replaced(old: str, new: str) -> Callable[[str], str]:
    """Return the change of a case file that puts new words for old."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


MAP = 'tumor = { like = "tumor", vessel_surface_density = { image = "map.nii.gz", unit = "1/cm", as = "relative" } }'
WITH_MAP = replaced('tumor = { like = "tumor" }', MAP)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replaced("[physics.flow]", "[physics.flwo]"), ["physics.flwo", "'flow'"]),
        (replaced("size =", "sizes ="), ["mesh.sizes", "'size'"]),
        (replaced('"1 h"', '"1"'), ["time.end", "no unit"]),
        (replaced('"1 h"', "1"), ["time.end"]),
        (replaced('"1 h"', '"1 mm"'), ["time.end", "a time"]),
        (replaced('"1 h"', '"-1 h"'), ["time.end", "larger than zero"]),
        (replaced("0 mmHg", "0 mm"), ["physics.flow.conditions.0.pressure", "pressure"]),
        (replaced('tumor = { like = "tumor" }\n', ""), ["materials.tumor", "no material"]),
        (replaced('like = "tumor"', 'like = "tumour"'), ["materials.tumor.like", "'tumor'"]),
        (replaced('"doxorubicin"', '"doxorubicine"'), ["physics.drug.agent", "'doxorubicin'"]),
        (replaced("organ.nii.gz", "organs.nii.gz"), ["organs.nii.gz", "'organ.nii.gz'"]),
        (replaced("*|outside", "organ|outsid"), ["physics.flow.conditions.0.on", "organ|outside"]),
        (replaced("*|outside", "tumor|outside"), ["physics.flow.conditions.0.on", "tumor|outside"]),
        (replaced('"4 mm"', '"-4 mm"'), ["mesh.size", "tumor", "larger than zero"]),
        (replaced("tumor = 2", "tumor = 3"), ["mesh.image", "3"]),
        (replaced(", tumor = 2", ", tumor = 1"), ["tumor", "organ", "1"]),
        (replaced('body_surface = "1.8 m^2"', ""), ["patient.body_surface"]),
        (lambda text: WITH_MAP(text).replace("map.nii.gz", "elsewhere.nii.gz"), ["tumor", "elsewhere.nii.gz"]),
        (lambda text: WITH_MAP(text).replace("map.nii.gz", "holes.nii.gz"), ["tumor", "holes.nii.gz"]),
        (lambda text: WITH_MAP(text).replace("map.nii.gz", "nomap.nii.gz"), ["nomap.nii.gz"]),
        (lambda text: text + "[", ["case.toml", "TOML"]),
    ],
)
def test_a_broken_case_is_refused_at_its_place(
    change: Callable[[str], str], words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "case.toml").write_text(change(CASE), encoding="utf-8")
    message = refused(folder, capsys)
    assert all(word in message for word in words), message


def test_all_complaints_come_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = CASE.replace('"1 h"', '"1"').replace("0 mmHg", "0 mm").replace('like = "tumor"', 'like = "tumour"')
    (folder / "case.toml").write_text(text, encoding="utf-8")
    message = refused(folder, capsys)
    assert all(place in message for place in ("time.end", "physics.flow", "materials.tumor.like"))


@pytest.mark.parametrize("content", [b"", b"no image", gzip.compress(b"no image")])
def test_an_unreadable_image_is_refused(content: bytes, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "organ.nii.gz").write_bytes(content)
    assert "organ.nii.gz" in refused(folder, capsys)


def test_a_header_that_claims_more_voxels_than_can_be_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = bytearray(544)
    struct.pack_into("<i8s", raw, 0, 540, b"n+2\0\r\n\x1a\n")
    struct.pack_into("<hh8q", raw, 12, 2, 8, 3, 10**6, 10**6, 10**6, 1, 1, 1, 1)
    struct.pack_into("<8d", raw, 104, *8 * [1.0])
    struct.pack_into("<q", raw, 168, 544)
    (folder / "organ.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    began = time.monotonic()
    message = refused(folder, capsys)
    assert "organ.nii.gz" in message
    assert re.search("voxel|large", message)
    assert time.monotonic() - began < 10


def test_a_wrong_setting_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "time.ende" in refused(folder, capsys, "--set", 'time.ende="2 h"')
    assert "--set" in refused(folder, capsys, "--set", "time.end")


def test_of_two_runs_into_one_folder_one_is_refused(folder: Path) -> None:
    command = [sys.executable, "-P", "-m", "turgor", "run", "case.toml", "--set", 'time.step="1 s"']
    assert main(["mesh", "case.toml"]) == 0
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 60
        while not list(folder.glob("results/*/quantities.csv")):
            assert first.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.1)
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    assert "Traceback" not in second.stderr
    assert "is being written by process" in second.stderr


def test_a_sound_case_in_such_a_folder_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "case.toml"]) == 0
    assert list(folder.glob("results/*/report.html"))
