"""The physics of a case, made live in the order in which they need each other."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from turgor.case import Case
from turgor.fem.coefficients import Coefficients
from turgor.fem.domain import Domain
from turgor.fem.problem import Problem
from turgor.fem.spec import PhysicsSpec
from turgor.materials.errors import CaseError


def ordered(physics: Mapping[str, PhysicsSpec]) -> tuple[PhysicsSpec, ...]:
    """Return the physics so that each comes after those whose fields it takes.

    Raises:
        CaseError: They wait for each other.
    """
    waiting, done = dict(physics), list[PhysicsSpec]()
    while waiting:
        held = {field for spec in waiting.values() for field in spec.provides}
        ready = [spec for spec in waiting.values() if not held & (set(spec.takes) - set(spec.provides))]
        if not ready:
            raise CaseError(f"physics: {', '.join(waiting)} need fields of each other")
        for spec in ready:
            done.append(waiting.pop(spec.key))
    return tuple(done)


def live(spec: PhysicsSpec) -> type[Problem]:
    """Return the class that solves a physics."""
    module, _, name = spec.live.partition(":")
    found: type[Problem] = getattr(import_module(module), name)
    return found


def couple(case: Case, domain: Domain, coefficients: Coefficients) -> Mapping[str, Problem]:
    """Make every physics of a case live; collective."""
    problems: dict[str, Problem] = {}
    provided: dict[str, Any] = {}
    for spec in ordered(case.physics):
        problem = live(spec)(spec, domain, coefficients, provided, case)
        problems[spec.key] = problem
        provided.update(problem.provides())
    return problems
