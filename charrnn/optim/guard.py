"""The guard: a step whose loss or gradient norm is not finite changes nothing; three in a row stop the run.

It judges on the device, without a wait, so that what happens does not depend on how often anyone looks. After a bad
step the learning rate is halved for good. After three in a row the guard is shut: no later step changes anything until
the host has seen it and stopped.
"""

from __future__ import annotations

from charrnn.backend import Array, Backend

LIMIT = 3


class Guard:
    """Two 0-d arrays on the device.

    Attributes:
        scale: multiplies the learning rate.
        bad: bad steps in a row.
        limit: how many of them shut it.
    """

    limit = LIMIT

    def __init__(self, backend: Backend, dtype: str) -> None:
        self.backend = backend
        self.scale: Array = backend.zeros((), dtype) + 1.0
        self.bad: Array = backend.zeros((), dtype)

    def judge(self, loss: Array, norm: Array) -> Array:
        """Whether (0-d boolean) the step counts, from its loss and its gradient norm before clipping, both 0-d."""
        select, shut = self.backend.select, self.bad >= self.limit
        finite = self.backend.xp.isfinite(loss + norm)
        self.scale = select(finite | shut, self.scale, self.scale * 0.5)
        self.bad = select(shut, self.bad, select(finite, self.bad * 0.0, self.bad + 1.0))
        return finite & ~shut
