"""The command line: what can be said, and who does it. Heavy imports wait inside the commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from turgor.progress import rank

os.environ.setdefault("OMP_NUM_THREADS", "1")  # ranks share the cores; threads of the linear algebra would fight them

COMMANDS = {
    "run": "mesh, solve and report a case; what is up to date is skipped",
    "mesh": "turn the segmentation of a case into tetrahedra with names, and a certificate",
    "solve": "solve a case on its mesh; under mpirun -n N, too",
    "report": "write the report of a run",
    "render": "draw the pictures of a run",
    "check": "read a case, tell every complaint and every value in force; solves nothing",
    "library": "show the tissues and agents that turgor knows, with units and sources",
    "init": "write a commented case for a label image",
    "convert": "turn a mesh into another format",
    "schema": "print the JSON schema of the case file, for editors",
    "doctor": "test what a run needs on this machine",
}


def _ranks(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of ranks, expected for example 2")
    cores = os.cpu_count() or 1
    if int(text) > max(8, 4 * cores):
        raise argparse.ArgumentTypeError(f"{text} ranks are too many for the {cores} cores of this machine")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Return what the command line understands."""
    top = argparse.ArgumentParser(
        prog="turgor",
        description="Finite elements for tumor biophysics: from a segmentation to flow, drug transport and a report.",
        epilog="Exit 0: done. 2: the input is wrong, and the message says where. 1: the computation failed.",
    )
    top.add_argument("--version", action="store_true", help="print the version")
    found = top.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    made = {name: found.add_parser(name, help=text, description=f"{name}: {text}.") for name, text in COMMANDS.items()}
    for name in ("run", "mesh", "solve", "check"):
        made[name].add_argument("case", type=Path, metavar="CASE", help="the case file, for example case.toml")
        made[name].add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help='change the case, for example --set time.end="2 h"; may be repeated',
        )
        made[name].add_argument(
            "--into",
            type=Path,
            default=Path("results"),
            metavar="DIR",
            help="where run folders are made (default: results)",
        )
    made["run"].add_argument("-n", dest="ranks", type=_ranks, default=1, metavar="RANKS", help="processes that solve")
    made["run"].add_argument(
        "--error-bar",
        action="store_true",
        help="solve on a mesh twice as coarse, too, and tell each error",
    )
    made["check"].add_argument(
        "--explain", action="store_true", help="tell which condition fits which situation, and what it does"
    )
    made["solve"].add_argument("--piped", action="store_true", help=argparse.SUPPRESS)
    for name in ("report", "render"):
        made[name].add_argument("run", type=Path, metavar="RUN", help="the run folder")
    made["render"].add_argument("--scene", type=Path, metavar="FILE", help="what to draw, a TOML file")
    made["library"].add_argument("name", nargs="?", metavar="NAME", help="one tissue or agent, with every value")
    made["init"].add_argument("segmentation", type=Path, metavar="SEGMENTATION", help="the label image")
    made["init"].add_argument("-o", "--output", type=Path, metavar="CASE", help="the case file to write")
    _of_convert(made["convert"])
    return top


def _of_convert(made: argparse.ArgumentParser) -> None:
    made.add_argument("source", type=Path, metavar="IN", help="the mesh to read")
    made.add_argument("target", type=Path, metavar="OUT", help="the mesh to write, by its ending")
    made.add_argument(
        "--unit", metavar="UNIT", help="unit of the coordinates of IN, for example m (default: mm); OUT is in mm"
    )


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    top = parser()
    said = top.parse_args(words)
    if said.version:
        from importlib.metadata import version

        print(f"turgor {version('turgor')}")
        return 0
    if said.command is None:
        top.print_help()
        return 0
    from turgor import commands
    from turgor.materials.errors import TurgorError

    try:
        return commands.ACTIONS[said.command](said)
    except TurgorError as error:
        if str(error) and rank() == 0:
            print(f"turgor: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if rank() == 0:
            print("turgor: interrupted; what was written so far can be read", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"turgor: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 1
