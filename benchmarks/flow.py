"""What the flow costs, and what peers take for the same: one command, one table, one picture.

    python benchmarks/flow.py [--largest 1M] [--peers PYTHON] [--into FOLDER]

A ball in a ball, meshed once by gmsh, is solved from 50 thousand cells on. PYTHON is that of an environment with the
peers (see peers_ngsolve.py); without it they are left out. All contestants run on one thread, one after the other, to
the same true relative residual; times are user and system seconds of the process, the least of some rounds, forms and
loops compiled before. Meshes of 8 million cells and more are solved on two ranks. The table and FOLDER/flow.png are
written from FOLDER/flow.json, also by `--again`, which measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flow_mesh import KEPT, Mesh, sphere
from flow_picture import picture
from flow_table import table

HERE = Path(__file__).resolve().parent
SIZES = {"50k": 50_000, "200k": 200_000, "1M": 1_000_000, "4M": 4_000_000, "10M": 10_000_000}
COMPARED = ("50k", "200k", "1M")
"""Sizes that the peers solve, too, and where conductivities are varied."""

VALUES = [[10.0, 1.0], [20.0, 5.0], [20.0, 0.5]]
"""K, a and f of the tumor and of the host."""

NEW = [
    [[5.0, 1.0], [30.0, 5.0], [20.0, 0.5]],
    [[20.0, 2.0], [10.0, 2.0], [25.0, 0.5]],
    [[12.0, 1.0], [15.0, 6.0], [15.0, 1.0]],
]
JUMPS = [1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6]
TOLERANCE = 1e-8
FEW = 300_000
"""Cells up to which the peer's own hybridized flux is solved: without multigrid it takes long."""
PEERS = ("peers_skfem.py", "peers_ngsolve.py")


def run(command: Sequence[str], job: Mapping[str, Any]) -> dict[str, Any] | None:
    """Run a worker on one thread and return its result; None, and why in words, when it fails."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "job.json"
        file.write_text(json.dumps(job))
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        done = subprocess.run(
            [*command, str(file)], env={**os.environ, **threads}, capture_output=True, text=True, check=False
        )
    if done.returncode:
        print(f"{' '.join(command)}: {done.stderr.strip()[-600:]}", file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def turgor(name: str, mesh: Mesh) -> dict[str, Any] | None:
    """Measure turgor on a mesh."""
    parts = ["sizes", "limit", "jumps", "first", "again"] if name in COMPARED else ["sizes"]
    job = {"case": str(mesh.case), "values": VALUES, "tolerance": TOLERANCE, "parts": parts, "jumps": JUMPS}
    job |= {"rounds": 3 if name in COMPARED else 1, "again": NEW}
    ranks = [] if mesh.cells < 8_000_000 else [_mpiexec(), "-n", "2"]
    return run([*ranks, sys.executable, str(HERE / "flow_turgor.py")], job)


def peers(python: str, mesh: Mesh) -> dict[str, Any]:
    """Measure the peers on a mesh."""
    job = {"mesh": str(mesh.arrays), "values": VALUES, "tolerance": TOLERANCE, "rounds": 3, "again": NEW}
    job["flux"] = mesh.cells < FEW
    found: dict[str, Any] = {"first": {}, "again": {}, "versions": []}
    for script in PEERS:
        result = run([python, str(HERE / script)], job)
        if result is not None:
            found["first"] |= result["first"]
            found["again"] |= result["again"]
            found["versions"].append(result["versions"])
    return found


def _mpiexec() -> str:
    """Return the launcher beside this Python, or the one on the path."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.is_file() else shutil.which("mpiexec") or "mpiexec"


def measured(largest: str, python: str) -> dict[str, Any]:
    """Measure everything."""
    found: dict[str, Any] = {"tolerance": TOLERANCE, "cores": os.cpu_count(), "sizes": {}}
    loads = [os.getloadavg()[0]]
    for name, cells in SIZES.items():
        if cells > SIZES[largest]:
            break
        print(f"{name} cells ...", file=sys.stderr)
        mesh = sphere(cells)
        ours = turgor(name, mesh)
        if ours is None:
            continue
        theirs = peers(python, mesh) if python and name in COMPARED else {"first": {}, "again": {}, "versions": []}
        for part in ("first", "again"):
            ours[part] = {**ours.get(part, {}), **theirs[part]}
        loads.append(os.getloadavg()[0])
        found["sizes"][name] = {"cells": mesh.cells, **ours, "versions": theirs["versions"]}
    return {**found, "load": [min(loads), max(loads)]}


def readme(text: str) -> None:
    """Put the table between its marks."""
    file, begin, end = HERE / "README.md", "<!-- measured -->", "<!-- end -->"
    before, _, rest = file.read_text().partition(begin)
    after = rest.partition(end)[2]
    file.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def main() -> None:
    """Measure, or take what was measured; print the table and draw the picture."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--largest", choices=SIZES, default="1M")
    reader.add_argument("--peers", default=os.environ.get("TURGOR_PEERS", ""), metavar="PYTHON")
    reader.add_argument("--into", type=Path, default=KEPT)
    reader.add_argument("--again", action="store_true", help="only the table and the picture of the last run")
    reader.add_argument("--readme", action="store_true", help="put the table into README.md, too")
    said = reader.parse_args()
    if not (said.peers or said.again):
        print(f"peers are left out: no --peers PYTHON; see {PEERS[1]} for how to make one", file=sys.stderr)
    said.into.mkdir(parents=True, exist_ok=True)
    kept = said.into / "flow.json"
    if not said.again:
        kept.write_text(json.dumps(measured(said.largest, said.peers), indent=1))
    found = json.loads(kept.read_text())
    print(table(found))
    if said.readme:
        readme(table(found))
    picture(found, said.into / "flow.png")


if __name__ == "__main__":
    main()
