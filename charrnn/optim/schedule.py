"""The learning rate of each step, from the configuration alone: counted in steps of the planned total."""

from __future__ import annotations

from math import cos, pi

from charrnn.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: int, total: int, decays: int = 0) -> float:
    """The planned learning rate of update number `step` + 1, of `total`; the guard's scale comes on top.

    It rises linearly over the first `warmup` of the total, then follows `schedule`: `constant`; `cosine` (Loshchilov &
    Hutter, 2017) from the whole rate down to `final_rate` of it; `step`, times `decay` after every `decay_every` of the
    total; `plateau`, times `decay` once for each of the `decays`, when evaluations stopped improving.
    """
    warm = config.warmup * total
    if step < warm:
        return config.learning_rate * (step + 1) / (warm + 1)
    factor = 1.0
    if config.schedule == "cosine":
        done = min(1.0, (step - warm) / max(1.0, total - warm))
        factor = config.final_rate + (1 - config.final_rate) * (1 + cos(pi * done)) / 2
    elif config.schedule == "step":
        factor = config.decay ** int(step / max(1.0, config.decay_every * total) + 1e-9)  # 0.07 · 100 is above 7
    elif config.schedule == "plateau":
        factor = config.decay**decays
    return config.learning_rate * factor
