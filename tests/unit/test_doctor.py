"""The doctor tests each part in a program of its own and says how to mend what is wrong."""

from __future__ import annotations

import dataclasses

import pytest

from turgor import doctor, launch
from turgor.doctor import Part, examine, examined
from turgor.materials.errors import SetupError

GOOD = Part("good", ("-c", "print('fine')"), 0, "nothing to mend")


def test_a_part_that_answers_is_well() -> None:
    assert examined(GOOD) == (True, "fine")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; print('first'); print('no library', file=sys.stderr); sys.exit(1)", "no library"),
        ("import os; os.abort()", "without a word"),
        ("raise ImportError('libGLU.so.1: cannot open')", "libGLU.so.1"),
    ],
)
def test_a_part_that_fails_or_crashes_is_wrong_with_its_last_words(code: str, said: str) -> None:
    well, words = examined(Part("bad", ("-c", code), 0, "mend it"))
    assert not well
    assert said in words


def test_a_part_that_hangs_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIMIT", 0.2)
    well, words = examined(Part("slow", ("-c", "import time; time.sleep(30)"), 0, "mend it"))
    assert not well
    assert "no answer" in words


def test_two_programs_of_one_rank_are_not_two_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = dataclasses.replace(GOOD, words=("-c", "print('1 ranks')"), expect="2 ranks")
    assert not examined(alone)[0]


def test_a_missing_mpirun_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise SetupError("there is no mpirun")

    monkeypatch.setattr(launch, "mpirun", missing)
    assert examined(dataclasses.replace(GOOD, ranks=2)) == (False, "there is no mpirun")


def test_the_doctor_ends_with_1_when_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(doctor, "PARTS", (GOOD, Part("bad", ("-c", "raise SystemExit(3)"), 0, "buy another")))
    assert examine(said.append) == 1
    assert any(line.startswith("WRONG bad") for line in said)
    assert any("buy another" in line for line in said)


def test_this_machine_is_well() -> None:
    said: list[str] = []
    assert examine(said.append) == 0, "\n".join(said)
    assert any("dolfinx" in line for line in said)
