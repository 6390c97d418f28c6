"""`charrnn gradcheck`."""

from __future__ import annotations

import click

from charrnn.cli.options import device_option, examples, fallback_option, kernels_option
from charrnn.cli.output import print_line, print_notice

MOST_LAYERS = 4
"""The time grows with the square of the number of layers, and more layers run no other code."""


@click.command(
    "gradcheck",
    short_help="Compare the gradients with finite differences.",
    epilog=examples("charrnn gradcheck", "charrnn gradcheck --cell lstm --embedding --device cuda"),
)
@device_option
@fallback_option
@kernels_option
@click.option("--cell", default="rnn", show_default=True, help="Check the rnn, gru or lstm cell.")
@click.option("--layers", type=click.IntRange(1, MOST_LAYERS), default=2, show_default=True, help="Number of layers.")
@click.option("--embedding", is_flag=True, help="Check a network with an embedding of the characters.")
@click.option("--tie-weights", is_flag=True, help="Check an embedding whose table the output layer uses, too.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the network and its text.")
@click.option(
    "--tolerance", type=float, default=1e-6, show_default=True, help="The largest relative error that passes."
)
def gradcheck_command(
    device: str,
    no_fallback: bool,
    kernels: str | None,
    cell: str,
    layers: int,
    embedding: bool,
    tie_weights: bool,
    seed: int,
    tolerance: float,
) -> int:
    """Compare the gradients of backpropagation with finite differences, for each parameter of a small network.

    The exit status is 1 if an error is above the tolerance.
    """
    from charrnn import backend, config, model, seeds

    shape = {"cell": cell, "num_layers": layers, "tie_weights": tie_weights}
    shape["embedding_size"] = int(embedding or tie_weights)  # the sizes are those of `model.gradcheck`
    table = config.checked({"train": {"device": device}, "model": shape}, "gradcheck")
    settings = config.build(table)
    choice = backend.choose(settings.train.device, fallback=not no_fallback, kernels=kernels or "auto")
    print_notice(choice.reason)
    with backend.computing(choice.backend):
        errors = model.gradcheck(settings.model, choice.backend, seeds.stream(seed, "gradcheck"))
    for name, error in errors.items():
        mark = "" if error <= tolerance else "  ABOVE THE TOLERANCE"
        print_line(f"{name:16} worst relative error {error:.1e}{mark}")
    return 0 if all(error <= tolerance for error in errors.values()) else 1  # NaN is not <= tolerance
