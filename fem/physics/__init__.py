"""The physics that turgor brings: one line each, in no particular order."""

from __future__ import annotations

from turgor.fem.physics.drug.spec import DrugSpec
from turgor.fem.physics.flow.spec import FlowSpec
from turgor.fem.spec import PhysicsSpec

PHYSICS: tuple[type[PhysicsSpec], ...] = (FlowSpec, DrugSpec)

__all__ = ["PHYSICS"]
