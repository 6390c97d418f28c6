"""Learning-rate schedules: a function of the step, the planned number of steps, and the configuration."""

from __future__ import annotations

from math import cos, pi

from charrnn.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: int, total: int, reductions: int = 0) -> float:
    """Return the learning rate of update number `step` + 1 of `total`, without the guard's scale.

    It rises linearly over the first `warmup` of the total and then follows `schedule`. `constant`: the same rate.
    `cosine` (Loshchilov & Hutter, 2017): from the full rate down to `final_rate` of it. `step`: times `decay` after
    each `decay_every` of the total. `plateau`: times `decay` for each of the `reductions`, which the loop counts when
    evaluations stop improving.
    """
    warm = config.warmup * total
    if step < warm:
        return config.learning_rate * (step + 1) / (warm + 1)
    factor = 1.0
    if config.schedule == "cosine":
        done = min(1.0, (step - warm) / max(1.0, total - warm))
        factor = config.final_rate + (1 - config.final_rate) * (1 + cos(pi * done)) / 2
    elif config.schedule == "step":
        factor = config.decay ** int(step / max(1.0, config.decay_every * total) + 1e-9)  # 0.07 * 100 is above 7
    elif config.schedule == "plateau":
        factor = config.decay**reductions
    return config.learning_rate * factor
