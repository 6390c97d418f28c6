"""`charrnn devices` and `charrnn gradcheck`: is this machine, is this code, in order?"""

from __future__ import annotations

import click

from charrnn.cli.common import device_option, fallback_option
from charrnn.cli.terminal import note, say

MOST_LAYERS = 4
"""The time goes with their square, and more of them have no other code."""


@click.command("devices")
def devices_command() -> None:
    """Every device found, or why not; what `auto` picks; versions and memory."""
    from charrnn import backend

    for line in backend.report():
        say(line)


@click.command("gradcheck")
@device_option
@fallback_option
@click.option("--cell", default="rnn", show_default=True, help="rnn, gru or lstm.")
@click.option("--layers", type=click.IntRange(1, MOST_LAYERS), default=2, show_default=True, help="Number of layers.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the network and its text.")
@click.option(
    "--tolerance", type=float, default=1e-6, show_default=True, help="The largest relative error that passes."
)
def gradcheck_command(device: str, no_fallback: bool, cell: str, layers: int, seed: int, tolerance: float) -> int:
    """Finite differences against the hand-written gradients; exit status 1 above the tolerance."""
    from charrnn import backend, config, model, seeds

    table = config.checked({"train": {"device": device}, "model": {"cell": cell, "num_layers": layers}}, "gradcheck")
    settings = config.build(table)
    choice = backend.choose(settings.train.device, fallback=not no_fallback)
    note(choice.reason)
    errors = model.gradcheck(settings.model, choice.backend, seeds.stream(seed, "gradcheck"))
    for name, error in errors.items():
        say(f"{name:16} worst relative error {error:.1e}{'' if error <= tolerance else '  ABOVE THE TOLERANCE'}")
    return 0 if all(error <= tolerance for error in errors.values()) else 1  # a NaN is not <=
