"""From the start to the end in time: steps of a given length, or adapted to the local error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from turgor.fem.problem import Problem
from turgor.fem.spec import OutputSpec, TimeSpec
from turgor.materials.errors import NotConverged

FIRST = 1e-3
"""First step, and first step after a jump, as a part of the way to the next time that must be hit."""

SMALLEST = 1e-12
"""Smallest step, as a part of the whole time."""

DEFAULT = 1e-3
"""Tolerance where the case gives neither a tolerance nor a step."""

SNAPSHOTS = 24
"""How many fields are written over the whole time when the case does not say."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step that was accepted.

    Attributes:
        time: Its end [s].
        length: Its length [s]; 0 at the start.
        output: Whether fields are written.
        ahead: A good length for the next step [s]; 0 when none is known.
    """

    time: float
    length: float
    output: bool
    ahead: float = 0.0


def rounded(length: float) -> float:
    """Return a step with two significant digits.

    Lengths then do not depend on rounding, which differs with the number of ranks.
    """
    return float(f"{length:.1e}")


def march(
    problems: Mapping[str, Problem], time: TimeSpec | None, output: OutputSpec, after: Stepped | None = None
) -> Iterator[Stepped]:
    """Start the problems and advance them together; collective. Without a time there is one row, t = 0.

    Args:
        problems: Name -> physics, each after those that it takes something from.
        time: Until when, and in which steps.
        output: How often fields are written.
        after: The step after which to go on; the problems have been given the state at its end.

    Raises:
        NotConverged: The step became too small.
    """
    if after is None:
        for problem in problems.values():
            problem.start()
        after = Stepped(0.0, 0.0, True)
        yield after
    if time is None:
        return
    end = time.end.value
    snapshots = _snapshots(output, time)
    jumps = {event for problem in problems.values() for event in problem.events() if event < end}
    bends = {bend for problem in problems.values() for bend in problem.bends() if bend < end}
    joined = _joined(jumps | bends | snapshots, SMALLEST * end)
    jumps, snapshots = ({joined[time] for time in times} for times in (jumps, snapshots))
    now, length = after.time, after.ahead
    hits = sorted({hit for hit in joined.values() if hit > now})
    for hit in hits:
        if now in jumps or now == 0.0:
            length = 0.0
            for problem in problems.values():
                problem.restart()
        while now < hit:
            if time.step is not None:
                length = time.step.value
            elif length == 0.0:
                shortest = min(problem.first_step(time.tolerance or DEFAULT) for problem in problems.values())
                length = rounded(min(FIRST * (hit - now), shortest))
            begin = now
            now, length = _advance(problems, time, now, hit, length)
            yield Stepped(now, now - begin, now in snapshots or now >= end, length)


def _joined(times: set[float], slack: float) -> Mapping[float, float]:
    """Return each time with the last of those that differ by rounding only, so that no step lies between them."""
    found: dict[float, float] = {}
    last = float("inf")
    for time in sorted(times, reverse=True):
        last = time if last - time > slack else last
        found[time] = last
    return found


def _snapshots(output: OutputSpec, time: TimeSpec) -> set[float]:
    """Return the times at which fields are written: every so often, and at the stops."""
    end = time.end.value
    every = output.every.value if output.every else end / SNAPSHOTS
    count = int(end / every * (1 + 1e-12))
    return {*(min(every * i, end) for i in range(1, count + 1)), *(stop.value for stop in time.stops), end}


def _advance(
    problems: Mapping[str, Problem], time: TimeSpec, now: float, hit: float, length: float
) -> tuple[float, float]:
    """Make one accepted step towards `hit`; return where it ends, and a good length for the next."""
    while True:
        left = hit - now
        arrives = length >= left * (1 - 1e-9)
        if not arrives and time.step is None:
            length = min(length, rounded(left / 2)) if length > left / 2 else length
        then = hit if arrives else now + length
        used = then - now
        errors = [problem.advance(now, then) for problem in problems.values()]
        if time.step is not None:
            break
        worst = max(errors) / (time.tolerance or DEFAULT)
        factor = min(2.0, max(0.2, 0.9 / max(worst, 1e-12) ** 0.5))
        if worst <= 1.0:
            _accept(problems.values())
            return then, max(length, rounded(used * factor)) if arrives else rounded(used * factor)
        length = rounded(used * min(factor, 0.9))
        if length < SMALLEST * time.end.value:
            raise NotConverged(f"time: at t = {now:g} s the step fell below {SMALLEST:g} of the whole time")
    _accept(problems.values())
    return then, length


def _accept(problems: Iterable[Problem]) -> None:
    for problem in problems:
        problem.accept()
