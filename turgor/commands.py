"""What each command does, by calling the stages of the line; each imports what it needs when it is called."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from turgor.materials.errors import CaseError
from turgor.progress import duration, rank, tell

if TYPE_CHECKING:
    from turgor.case import Case


def _case(said: Namespace) -> Case:
    """Read the case file, with the changes of --set."""
    from turgor.case import Case

    return Case.read(said.case, set=said.set)


def _words(said: Namespace) -> list[str]:
    """Return the case and its changes as words of a command line."""
    return [str(said.case), "--into", str(said.into), *(f"--set={change}" for change in said.set)]


def _solvable(case: Case) -> None:
    """Refuse a case that only describes a mesh."""
    if not case.physics:
        raise CaseError(
            "physics: the case has none, so there is nothing to solve; "
            "add [physics.flow], or use `turgor mesh`, which needs no physics"
        )


def run(said: Namespace) -> int:
    """Mesh, solve and report."""
    case = _case(said)
    _solvable(case)
    if said.error_bar:
        from turgor import errorbar

        errorbar.refuse(case)
    began = time.monotonic()
    _make_mesh(case)
    before = time.time()
    folder = _solve_here(said) if said.ranks == 1 else _solve_on(said)
    if (folder / "run.json").stat().st_mtime < before:
        tell("the run is up to date")
    if said.error_bar:
        _make_bars(said, case, folder)
    _make_report(folder)
    _warn(folder)
    tell(f"done in {duration(time.monotonic() - began)}; open {folder / 'report.html'}")
    return 0


def _make_bars(said: Namespace, case: Case, folder: Path) -> None:
    """Do the case once more on a mesh twice as coarse, and tell what that says of its numbers."""
    from turgor import errorbar, line

    tell("the same on a mesh twice as coarse, for the error bars")
    coarser = case.with_(mesh__file=str(errorbar.coarse_file(case).resolve()))
    line.mesh(coarser, log=tell, coarser=errorbar.COARSER)
    other = Namespace(**{**vars(said), "set": [*said.set, errorbar.change(case)], "into": folder / errorbar.FOLDER})
    coarse = _solve_here(other) if said.ranks == 1 else _solve_on(other)
    if not errorbar.up_to_date(folder, coarse):
        errorbar.write(folder, coarse, case.output.measures)
    for sentence in errorbar.sentences(json.loads((folder / errorbar.FILE).read_text(encoding="utf-8"))):
        tell(sentence)


def mesh(said: Namespace) -> int:
    """Mesh."""
    _make_mesh(_case(said))
    return 0


def _make_mesh(case: Case) -> None:
    from turgor import line

    line.mesh(case, log=tell)


def solve(said: Namespace) -> int:
    """Solve on the ranks that mpirun started."""
    folder = _solve_here(said)
    if rank() == 0 and not said.piped:
        _warn(folder)
    return 0


def _solve_here(said: Namespace) -> Path:
    """Solve in this process, or in those that mpirun started; return the run folder."""
    case = _case(said)
    _solvable(case)
    from turgor.fem.startup import MPI, end_all_when_one_fails

    from turgor.fem.study import solve
    from turgor.launch import FOLDER
    from turgor.progress import Agreed, Pipe, shown, silent

    comm = MPI.COMM_WORLD
    end_all_when_one_fails(comm)
    tell(f"solving {case.name}" + (f" on {comm.size} ranks" if comm.size > 1 else ""))
    if comm.rank > 0:
        return solve(case, comm=comm, into=said.into, progress=Agreed(comm, silent), log=tell)
    if getattr(said, "piped", False):
        folder = solve(case, comm=comm, into=said.into, progress=Agreed(comm, Pipe(sys.stdout)), log=tell)
        print(f"{FOLDER}{folder}", flush=True)
        return folder
    with shown() as progress:
        watched = Agreed(comm, progress) if comm.size > 1 else progress
        folder = solve(case, comm=comm, into=said.into, progress=watched, log=tell)
    tell(f"run: {folder}")
    return folder


def _warn(folder: Path) -> None:
    """Tell what the run warns of, which stands in the report, too."""
    for sentence in json.loads((folder / "run.json").read_text(encoding="utf-8")).get("warnings", ()):
        tell(f"warning: {sentence}")


def _solve_on(said: Namespace) -> Path:
    """Solve on several ranks in programs of their own; return the run folder."""
    from turgor import launch
    from turgor.progress import shown

    with shown() as progress:
        folder = launch.solve(said.ranks, _words(said), progress)
    tell(f"run: {folder}")
    return folder


def report(said: Namespace) -> int:
    """Report."""
    _make_report(_run_folder(said.run), always=True)
    return 0


def _run_folder(path: Path) -> Path:
    if not (path / "run.json").is_file():
        raise CaseError(f"{path} is not a run folder: it has no run.json; `turgor run` makes one inside --into")
    return path


def _make_report(folder: Path, *, always: bool = False) -> None:
    page, inputs = folder / "report.html", [folder / name for name in ("run.json", "errorbar.json")]
    newest = max(path.stat().st_mtime for path in inputs if path.exists())
    if not always and page.exists() and page.stat().st_mtime >= newest:
        tell("the report is up to date")
        return
    from turgor import postprocess

    tell("writing the report")
    tell(f"report: {postprocess.report(folder)}")


def render(said: Namespace) -> int:
    """Draw."""
    from turgor import postprocess

    for picture in postprocess.render(_run_folder(said.run), scene=said.scene):
        tell(str(picture))
    return 0


def check(said: Namespace) -> int:
    """Check."""
    from turgor.overview import explain, show

    case = _case(said)
    show(case)
    if said.explain:
        explain(case)
    return 0


def library(said: Namespace) -> int:
    """Show the library."""
    from turgor.materials.show import render_library
    from turgor.overview import console

    console().print(render_library(said.name))
    return 0


def init(said: Namespace) -> int:
    """Write a first case."""
    from turgor.init import write_case

    for line in write_case(said.segmentation, said.output):
        tell(line)
    return 0


def convert(said: Namespace) -> int:
    """Convert a mesh."""
    from turgor.meshing import convert

    for line in convert(said.source, said.target, said.unit):
        tell(line)
    tell(f"wrote {said.target}")
    return 0


def schema(said: Namespace) -> int:
    """Print the JSON schema."""
    from turgor.case import Case

    print(json.dumps(Case.json_schema(), indent=1, ensure_ascii=False))
    return 0


def doctor(said: Namespace) -> int:
    """Test this machine."""
    from turgor.doctor import examine

    return examine(tell)


ACTIONS: Mapping[str, Callable[[Namespace], int]] = {
    "run": run,
    "mesh": mesh,
    "solve": solve,
    "report": report,
    "render": render,
    "check": check,
    "library": library,
    "init": init,
    "convert": convert,
    "schema": schema,
    "doctor": doctor,
}
"""Command -> what it does; returns the exit code."""
