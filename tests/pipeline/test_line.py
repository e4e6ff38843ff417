"""The whole line from a label image to a report: the same numbers on any number of ranks, and nothing done twice."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

AGREE = 1e-8
"""Relative difference allowed between runs on different numbers of ranks; the linear solvers stop well below it."""

COARSE = 'mesh.size={label_1="5 mm", tumor="3 mm"}'


def turgor(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as its own program."""
    command = [sys.executable, "-P", "-m", "turgor", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False)


def ellipsoid(half_axes: Sequence[float], center: Sequence[float]) -> np.ndarray:
    """Return the voxels inside an ellipsoid, in voxel units, shape (22, 20, 18)."""
    grid = np.indices((22, 20, 18)).astype(float) - np.asarray(center)[:, None, None, None]
    return np.asarray(((grid / np.asarray(half_axes)[:, None, None, None]) ** 2).sum(axis=0) <= 1)


@pytest.fixture(scope="module")
def organ(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a case made by `turgor init` for an organ of 40 mm with a tumor of 14 mm."""
    folder = tmp_path_factory.mktemp("eine Leber für alle")
    labels = ellipsoid((10, 9, 8), (10.5, 9.5, 8.5)).astype(np.uint8)
    labels[ellipsoid((3.5, 3.5, 3.5), (12, 10, 9))] = 2
    nib.save(nib.Nifti1Image(labels, np.diag([-2.0, -2.0, 2.0, 1.0])), folder / "organ.nii.gz")  # type: ignore[no-untyped-call]
    done = turgor("init", "organ.nii.gz", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def run(folder: Path, ranks: int, *changes: str) -> tuple[Path, str]:
    """Run the case on some ranks; return the run folder and what was told."""
    settings = [f"--set={change}" for change in (COARSE, 'time.end="1 h"', 'output.every="30 min"', *changes)]
    done = turgor("run", "organ.toml", "-n", str(ranks), "--into", f"on {ranks}", *settings, cwd=folder)
    assert done.returncode == 0, done.stderr
    (found,) = (folder / f"on {ranks}").iterdir()
    return found, done.stdout


@pytest.fixture(scope="module")
def alone(organ: Path) -> Path:
    """Return the run folder of the case on one rank."""
    return run(organ, 1)[0]


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_number_is_the_same_on_more_ranks(ranks: int, organ: Path, alone: Path) -> None:
    together, _ = run(organ, ranks)
    for table in ("quantities.csv", "balance.csv", "regions.csv"):
        one, many = rows(alone / table), rows(together / table)
        assert len(one) == len(many) > 1
        for left, right in zip(one, many, strict=True):
            words = [key for key in left if key in ("physics", "region", "surface", "unit")]
            assert [left[key] for key in words] == [right[key] for key in words]
            numbers = [key for key in left if key not in words and left[key]]
            a, b = (np.array([float(row[key]) for key in numbers]) for row in (left, right))
            scale = np.abs(a).max() if table == "balance.csv" else np.abs(a)
            assert np.all(np.abs(a - b) <= AGREE * scale), (table, left, right)


def test_what_is_up_to_date_is_not_done_again(organ: Path, alone: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in alone.rglob("*") if path.is_file()}
    again, told = run(organ, 1)
    assert again == alone
    assert told.count("up to date") == 3, "mesh, run and report"
    assert {path: path.stat().st_mtime_ns for path in alone.rglob("*") if path.is_file()} == before


def test_the_run_folder_holds_what_a_reader_needs(alone: Path) -> None:
    said = json.loads((alone / "run.json").read_text(encoding="utf-8"))
    assert said["status"] == "finished"
    assert said["tumor"] == ["tumor"]
    assert (alone / "case.toml").read_text(encoding="utf-8").startswith("# A first case for organ.nii.gz")
    names = {path.name for path in alone.iterdir()}
    assert {"resolved.json", "log.txt", "fields.vtkhdf", "references.bib", "report.html", "plasma.csv"} <= names


def test_the_fields_are_read_by_one_line_of_pyvista(alone: Path) -> None:
    import pyvista as pv

    grid = pv.read(alone / "fields.vtkhdf")
    assert {"pressure", "concentration"} <= set(grid.point_data)
    assert {"region", "velocity"} <= set(grid.cell_data)


@pytest.mark.parametrize("ranks", [1, 2])
def test_ctrl_c_leaves_files_that_can_be_read(ranks: int, organ: Path, tmp_path: Path) -> None:
    slow = '--set=time={end="24 h",step="5 s"}'
    words = ["run", "organ.toml", "-n", str(ranks), "--into", str(tmp_path), f"--set={COARSE}", slow]
    command = [sys.executable, "-P", "-m", "turgor", *words]
    running = subprocess.Popen(
        command, cwd=organ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    limit = time.monotonic() + 120
    while not (tables := list(tmp_path.glob("*/quantities.csv"))) or len(rows(tables[0])) < 3:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < limit
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert errors == "turgor: interrupted; what was written so far can be read\n"
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    assert all(len(row) == len(rows(folder / "quantities.csv")[0]) for row in rows(folder / "quantities.csv"))
    import pyvista as pv

    assert "pressure" in pv.read(folder / "fields.vtkhdf").point_data
