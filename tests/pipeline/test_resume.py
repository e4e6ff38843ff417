"""A run that was killed or interrupted goes on by itself, on other ranks, to the tables of an undisturbed run."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.meshes import box, write

from turgor.launch import mpirun

AGREE = 1e-8
"""Relative difference allowed to an undisturbed run; the linear solvers stop well below it."""

TABLES = ("quantities.csv", "balance.csv", "regions.csv", "plasma.csv")
WORDS = ("physics", "region", "surface", "unit")
OUTPUT = 900.0
"""Every so many seconds of the case fields are written, and with them a checkpoint."""

CASE = """
name = "box"
[mesh]
file = "mesh.msh"
[patient]
body_surface = "1.8 m^2"
[materials]
tumor = { like = "tumor" }
normal = { like = "normal tissue" }
[physics.flow]
conditions = [{ on = "*|outside", pressure = "0 mmHg" }]
[physics.drug]
agent = "doxorubicin"
plasma = { dose = "50 mg/m^2", kind = "infusion", duration = "20 min" }
[time]
end = "1 h"
tolerance = 1e-2
[output]
every = "900 s"
[output.measures]
mean = { of = "concentration", in = "tumor", as = "mean" }
exposure = { of = "concentration", in = "tumor", as = "mean", over = "AUC" }
peak = { of = "concentration", in = "tumor", as = "mean", over = "Cmax" }
peak_time = { of = "concentration", in = "tumor", as = "mean", over = "Tmax" }
"""

STOPPED = """
import os, signal, sys
from turgor import cli
from turgor.fem import checkpoint, study

number, at, checkpoint.EVERY = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
write = study.Recorder.write

def write_and_stop(self, step):
    write(self, step)
    if step.time >= at:
        os.kill(os.getpid(), number)

study.Recorder.write = write_and_stop
sys.exit(cli.main(sys.argv[4:]))
"""
"""`turgor` that sends itself a signal as soon as it has written the tables of a step, before its checkpoint."""


def program(ranks: int, words: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a Python program on some ranks."""
    command = [*([mpirun(), "-n", str(ranks)] if ranks > 1 else []), sys.executable, "-P", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False, env=environment)


def solve(folder: Path, into: Path, ranks: int = 1) -> tuple[Path, str]:
    """Solve the case; return the run folder and what was told."""
    done = program(ranks, ["-m", "turgor", "solve", "case.toml", "--into", str(into)], folder)
    assert done.returncode == 0, done.stderr
    (found,) = into.iterdir()
    return found, done.stdout


def stop(
    folder: Path, into: Path, at: float, *, by: int = signal.SIGKILL, ranks: int = 1, every: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Solve the case until a time [s] is reached; `every`: wall time [s] between checkpoints."""
    (folder / "stopped.py").write_text(STOPPED, encoding="utf-8")
    words = ["stopped.py", str(int(by)), str(at), str(every), "solve", "case.toml", "--into", str(into)]
    done = program(ranks, words, folder)
    assert done.returncode != 0, done.stdout
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a case and its mesh."""
    folder = tmp_path_factory.mktemp("box")
    ticks = np.linspace(0, 6, 5)
    mesh = box(3 * [ticks], lambda x: (np.linalg.norm(x - 3, axis=1) > 2).astype(np.int64), ("tumor", "normal"))
    write(mesh, folder)
    (folder / "case.toml").write_text(CASE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Path:
    """Return the run folder of a run that nobody stopped."""
    return solve(folder, folder / "undisturbed")[0]


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same_tables(run: Path, undisturbed: Path) -> None:
    """Compare all tables: times and words as text, numbers in a row to what is allowed."""
    for table in TABLES:
        expected, found = rows(undisturbed / table), rows(run / table)
        assert [row["t [s]"] for row in found] == [row["t [s]"] for row in expected], table
        for left, right in zip(expected, found, strict=True):
            assert all(left[key] == right[key] for key in WORDS if key in left)
            numbers = [key for key in left if key not in WORDS and left[key]]
            a, b = (np.array([float(row[key]) for key in numbers]) for row in (left, right))
            scale = np.abs(a).max() if table == "balance.csv" else np.abs(a)
            assert np.all(np.abs(a - b) <= AGREE * scale), (table, left, right)


def times(run: Path) -> list[float]:
    """Return the times of the fields [s]."""
    with h5py.File(run / "fields.vtkhdf") as file:
        return [float(time) for time in file["VTKHDF/Steps/Values"]]


def assert_same_fields(run: Path, undisturbed: Path) -> None:
    """Compare the times, and the concentrations at each."""
    import pyvista as pv

    assert times(run) == times(undisturbed)
    readers = [pv.HDFReader(str(path / "fields.vtkhdf")) for path in (undisturbed, run)]
    counts = [reader.reader.GetNumberOfSteps() for reader in readers]
    assert counts[0] == counts[1] > 2
    for step in range(counts[0]):
        seen = []
        for reader in readers:
            reader.reader.SetStep(step)
            seen.append(reader.read().point_data["concentration"].copy())
        expected, found = seen
        np.testing.assert_allclose(found, expected, rtol=AGREE, atol=AGREE * expected.max())


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_killed_run_goes_on_at_its_last_checkpoint_on_other_ranks(
    before: int, after: int, folder: Path, undisturbed: Path, tmp_path: Path
) -> None:
    stop(folder, tmp_path, at=2 * OUTPUT, ranks=before)
    (left,) = tmp_path.iterdir()
    assert json.loads((left / "run.json").read_text())["status"] == "running"
    assert float(rows(left / "quantities.csv")[-1]["t [s]"]) == 2 * OUTPUT, "rows that must be cut off"
    run, told = solve(folder, tmp_path, ranks=after)
    assert told.count("resuming at t = 900 s\n") == 1
    said = json.loads((run / "run.json").read_text())
    assert (said["status"], said["ranks"], said["resumed_at"]) == ("finished", after, [OUTPUT])
    assert_same_tables(run, undisturbed)
    assert_same_fields(run, undisturbed)


def test_checkpoints_between_outputs_serve_as_well_and_a_run_may_die_twice(
    folder: Path, undisturbed: Path, tmp_path: Path
) -> None:
    stop(folder, tmp_path, at=20.0, every=0.0)
    stop(folder, tmp_path, at=1.5 * OUTPUT, every=0.0)
    run, told = solve(folder, tmp_path)
    first, second = json.loads((run / "run.json").read_text())["resumed_at"]
    assert 0 < first < 20
    assert OUTPUT < second < 1.5 * OUTPUT
    assert f"resuming at t = {second:g} s\n" in told
    assert_same_tables(run, undisturbed)
    assert_same_fields(run, undisturbed)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_stopped_by_ctrl_c_says_so_and_goes_on(
    ranks: int, folder: Path, undisturbed: Path, tmp_path: Path
) -> None:
    done = stop(folder, tmp_path, at=1.5 * OUTPUT, by=signal.SIGINT, ranks=ranks)
    assert done.returncode == 130
    assert "turgor: interrupted; what was written so far can be read\n" in done.stderr
    (left,) = tmp_path.iterdir()
    said = json.loads((left / "run.json").read_text())
    assert (said["status"], said["reason"]) == ("failed", "stopped by the user")
    run, told = solve(folder, tmp_path)
    assert "resuming at t = 900 s\n" in told
    assert_same_tables(run, undisturbed)
    assert_same_fields(run, undisturbed)


def flip(path: Path) -> None:
    """Change a byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        ("checkpoint/state.h5", "checkpoint/state.h5 is damaged"),
        ("regions.csv", "regions.csv is missing or damaged"),
        ("fields.vtkhdf", "fields.vtkhdf is missing or damaged"),
    ],
)
def test_what_does_not_fit_together_is_started_anew_and_says_why(
    spoiled: str, reason: str, folder: Path, undisturbed: Path, tmp_path: Path
) -> None:
    stop(folder, tmp_path, at=2 * OUTPUT)
    (left,) = tmp_path.iterdir()
    if "checkpoint" in spoiled:
        flip(left / spoiled)
    else:
        (left / spoiled).unlink()
    run, told = solve(folder, tmp_path)
    assert f"starting anew: {reason}\n" in told
    assert f"this one starts anew: {reason}\n" in (run / "log.txt").read_text(encoding="utf-8")
    assert "resumed_at" not in json.loads((run / "run.json").read_text())
    assert_same_tables(run, undisturbed)
