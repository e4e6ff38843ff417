"""The run folder has one writer, holds complete files only, and says how its run ended."""

from __future__ import annotations

import json
import logging
import os
import platform
import queue
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from turgor.fem.problem import BalanceRow
from turgor.fem.record import Balance, Quantities, Table
from turgor.fem.runfolder import Identity, RunFolder, agree, find_run, status
from turgor.materials.errors import CaseError, NotConverged, SetupError

CASE = Identity("breast", "Ein Tumor in der Brust", "3f9a21" + 58 * "0", "0.1.0")


@dataclass(frozen=True)
class Rank:
    """One of several ranks that are threads of this process."""

    rank: int
    size: int
    mail: queue.Queue[object]

    def bcast(self, obj: object, root: int = 0) -> object:
        """Hand the object of rank 0 to all."""
        if self.rank != root:
            return self.mail.get(timeout=30)
        for _ in range(self.size - 1):
            self.mail.put(obj)
        return obj


ALONE = Rank(0, 1, queue.Queue())


def on_two_ranks(action: Callable[[Rank], object]) -> list[BaseException | None]:
    """Run something on two ranks; return what each raised."""
    mail: queue.Queue[object] = queue.Queue()
    with ThreadPoolExecutor(2) as pool:
        return [done.exception() for done in [pool.submit(action, Rank(rank, 2, mail)) for rank in range(2)]]


def said(folder: Path) -> dict[str, object]:
    """Return run.json."""
    return dict(json.loads((folder / "run.json").read_text(encoding="utf-8")))


def dead_process() -> int:
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def open_here(path: Path) -> RunFolder:
    """Open a run folder on one rank."""
    return RunFolder(path, CASE, ALONE)


def test_a_run_folder_is_named_by_case_and_hash(tmp_path: Path) -> None:
    place = find_run(tmp_path / "results", CASE, ALONE)
    assert place.path == tmp_path / "results" / "breast-3f9a21"
    assert place.status == "new"
    assert not place.path.parent.exists()


def test_a_finished_run_is_found_again(tmp_path: Path) -> None:
    place = find_run(tmp_path, CASE, ALONE)
    with open_here(place.path):
        assert find_run(tmp_path, CASE, ALONE).status == "running"
    assert find_run(tmp_path, CASE, ALONE).status == "finished"
    assert not (place.path / "run.lock").exists()


def test_another_case_with_the_same_six_digits_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    other = Identity("breast", "", "3f9a21" + 58 * "f", "0.1.0")
    with open_here(find_run(tmp_path, CASE, ALONE).path):
        pass
    assert find_run(tmp_path, other, ALONE).path.name == "breast-3f9a21ffffff"
    assert find_run(tmp_path, other, ALONE).status == "new"


def test_a_second_run_into_one_folder_is_refused_with_the_process_that_writes(tmp_path: Path) -> None:
    with open_here(tmp_path / "run") as first:
        first.write("case.toml", "name = 'breast'")
        with pytest.raises(CaseError, match=rf"process {os.getpid()} on {platform.node()}"):
            open_here(tmp_path / "run")
        assert (tmp_path / "run" / "case.toml").exists()
    assert said(tmp_path / "run")["status"] == "finished"


def test_a_lock_held_by_another_process_is_respected_and_falls_with_it(tmp_path: Path) -> None:
    code = (
        "import fcntl, json, os, platform, sys\n"
        "lock = open(sys.argv[1], 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "lock.write(json.dumps({'pid': os.getpid(), 'host': platform.node()}))\n"
        "lock.flush()\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    lock = tmp_path / "run.lock"
    command = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(CaseError, match=f"process {other.pid}"):
            open_here(tmp_path)
        other.kill()
    with open_here(tmp_path):
        pass
    assert f"the lock of process {other.pid}" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_the_lock_of_a_living_process_on_another_host_is_respected(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text(json.dumps({"pid": 1, "host": "elsewhere"}), encoding="utf-8")
    with pytest.raises(CaseError, match="process 1 on elsewhere"):
        open_here(tmp_path)


def test_a_killed_run_is_recognized_and_started_anew(tmp_path: Path) -> None:
    open_lock = {"pid": dead_process(), "host": platform.node()}
    (tmp_path / "run.lock").write_text(json.dumps(open_lock), encoding="utf-8")
    (tmp_path / "run.json").write_text('{"status": "running"}', encoding="utf-8")
    (tmp_path / "plasma.csv").write_text("old", encoding="utf-8")
    (tmp_path / ".fields.vtkhdf.tmp").write_text("old", encoding="utf-8")
    (tmp_path / "my notes.txt").write_text("mine", encoding="utf-8")
    assert status(tmp_path) == "killed"
    with open_here(tmp_path):
        assert status(tmp_path) == "running"
        assert not (tmp_path / "plasma.csv").exists()
        assert not (tmp_path / ".fields.vtkhdf.tmp").exists()
        assert (tmp_path / "my notes.txt").read_text(encoding="utf-8") == "mine"
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "an earlier run in this folder was killed; its outputs are replaced, this one starts anew" in log


def test_a_failed_run_keeps_its_reason_in_words(tmp_path: Path) -> None:
    with pytest.raises(NotConverged), open_here(tmp_path):
        raise NotConverged("flow: 500 iterations did not reach 1e-10")
    assert said(tmp_path)["status"] == "failed"
    assert said(tmp_path)["reason"] == "flow: 500 iterations did not reach 1e-10"
    assert status(tmp_path) == "failed"


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_here(tmp_path):
        raise KeyboardInterrupt
    assert said(tmp_path)["reason"] == "stopped by the user"


def test_a_place_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file", encoding="utf-8")
    assert find_run(tmp_path / "results", CASE, ALONE).status == "new"
    with pytest.raises(CaseError, match=r"cannot be written: Not a directory\. Choose another place with --into"):
        open_here(tmp_path / "results" / "breast-3f9a21")


def test_paths_and_words_with_spaces_and_umlauts_survive(tmp_path: Path) -> None:
    path = tmp_path / "Ergebnisse für Müller" / "Brust ö"
    with open_here(path) as run:
        run.write_json("resolved.json", {"Gewebe": "Fett, weiß"})
        logging.getLogger("turgor.flow").info("Druck: 10 mmHg, größter Fehler 1e-9")
    assert "weiß" in (path / "resolved.json").read_text(encoding="utf-8")
    assert "größter" in (path / "log.txt").read_text(encoding="utf-8")


def test_the_log_ends_with_the_run(tmp_path: Path) -> None:
    before = logging.getLogger("turgor").level
    with open_here(tmp_path):
        pass
    logging.getLogger("turgor").error("after the end")
    assert "after the end" not in (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert logging.getLogger("turgor").level == before


def test_run_json_tells_the_identity_and_gathers_notes_and_stages(tmp_path: Path) -> None:
    with open_here(tmp_path) as run:
        with run.stage("read"):
            run.note({"regions": ["breast", "tumor"]})
        assert said(tmp_path)["status"] == "running"
    now = said(tmp_path)
    assert (now["name"], now["title"], now["case_hash"]) == (CASE.name, CASE.title, CASE.case_hash)
    assert now["regions"] == ["breast", "tumor"]
    assert isinstance(now["stages"], dict)
    assert set(now["stages"]) == {"read"}
    assert now["finished"]


def test_a_number_that_is_not_finite_is_refused_by_its_key(tmp_path: Path) -> None:
    with open_here(tmp_path) as run, pytest.raises(ValueError, match=r"verification\.h_alpha\.tumor\|brain = nan"):
        run.note({"verification": {"h_alpha": {"tumor|brain": float("nan")}}})
    assert said(tmp_path)["status"] == "finished"


def test_tables_have_units_in_the_header_and_thirteen_digits(tmp_path: Path) -> None:
    with open_here(tmp_path) as run:
        table = Quantities(run, {"dose": "mol/m^3", "rim": "mm^3/s"})
        table.write(0.0, {"rim": 2.0 / 3.0, "dose": 0.1})
        lines = (tmp_path / "quantities.csv").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "t [s],dose [mol/m^3],rim [mm^3/s]",
        "0.000000000000e+00,1.000000000000e-01,6.666666666667e-01",
    ]


def test_a_surface_in_the_balance_has_only_in_and_out(tmp_path: Path) -> None:
    with open_here(tmp_path) as run:
        row = BalanceRow("tumor", "tumor|outside, left", entered=0.0, left=1.5)
        Balance(run).write(60.0, "flow", "mm^3/s", [row])
        lines = (tmp_path / "balance.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "t [s],physics,region,surface,in,out,made,lost,stored,residual,unit"
    assert lines[1].endswith(',flow,tumor,"tumor|outside, left",0.000000000000e+00,1.500000000000e+00,,,,,mm^3/s')


def test_a_row_must_fit_its_header(tmp_path: Path) -> None:
    with open_here(tmp_path) as run:
        table = Table(run, "plasma.csv", ["t [s]", "concentration [mol/m^3]"])
        with pytest.raises(ValueError, match=r"plasma\.csv"):
            table.append([(0.0,)])


def test_all_ranks_raise_what_went_wrong_on_the_first() -> None:
    def act(rank: Rank) -> object:
        return agree(rank, lambda: Path("/absent/file").write_bytes(b""))

    for error in on_two_ranks(act):
        assert isinstance(error, SetupError)
        assert str(error) == "/absent/file: No such file or directory"


def test_all_ranks_are_refused_together(tmp_path: Path) -> None:
    with open_here(tmp_path):
        errors = on_two_ranks(lambda rank: RunFolder(tmp_path, CASE, rank))
    assert [type(error) for error in errors] == [CaseError, CaseError]
    assert str(errors[0]) == str(errors[1])


def test_two_ranks_write_one_folder(tmp_path: Path) -> None:
    def act(rank: Rank) -> None:
        with RunFolder(tmp_path, CASE, rank) as run:
            table = Quantities(run, {"dose": "mol/m^3"})
            for t in (0.0, 1.0, 2.0):
                table.write(t, {"dose": t})

    assert on_two_ranks(act) == [None, None]
    assert len((tmp_path / "quantities.csv").read_text(encoding="utf-8").splitlines()) == 4
    assert said(tmp_path)["ranks"] == 2
