"""Refuse a flow that has nowhere to go."""

from __future__ import annotations

import numpy as np

from turgor.fem.coefficients import Coefficients
from turgor.fem.conditions import OnSurface
from turgor.fem.domain import Domain
from turgor.fem.physics.flow.equations import Rates
from turgor.materials.errors import CaseError, listed


def require_sinks(domain: Domain, coefficients: Coefficients, rates: Rates, conditions: tuple[OnSurface, ...]) -> None:
    """Check every connected piece of the mesh; collective.

    Raises:
        CaseError: No conductivity, or a piece without a sink of fluid; names the piece by a region in it.
    """
    conductivity = coefficients.cells("hydraulic_conductivity")
    flat = np.unique(domain.region[conductivity <= 0])
    complaints = [
        f"materials.{domain.regions[index]}.hydraulic_conductivity: must be larger than zero"
        for index in sorted({int(i) for part in domain.comm.allgather(flat) for i in part})
    ]
    count = 1 + max(domain.comm.allgather(int(domain.piece.max(initial=-1))))
    drained = np.zeros(count, bool)
    drained[domain.piece[(rates.exchange > 0) & ~rates.no_reabsorption]] = True
    drained[domain.piece[rates.lymph > 0]] = True
    for on in conditions:
        if on.key in ("pressure", "exchange"):
            drained[domain.piece[on.surface.cells]] = True
            drained[domain.piece[on.surface.beyond]] = True
    drained = np.any(domain.comm.allgather(drained), axis=0)
    for piece in np.flatnonzero(~drained):
        local = {domain.regions[index] for index in domain.region[domain.piece == piece]}
        names = sorted(set().union(*domain.comm.allgather(local)))
        complaints.append(
            f"physics.flow: the connected piece of {', '.join(names)} has no sink of fluid; give it a pressure or an "
            f"exchange on one of its surfaces, lymph, or vessels that reabsorb"
        )
    if complaints:
        raise CaseError(listed(complaints))
