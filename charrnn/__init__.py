"""Character-level recurrent networks, written once for NumPy and CuPy.

    import charrnn
    model = charrnn.train(files=["shakespeare.txt"], out="runs/shakespeare")
    print(model.sample("ROMEO:", length=300))

See `charrnn.api` for `train` and `load`, `charrnn.trained` for `Model`, `charrnn.tools.compare` for `compare`,
`charrnn.tools.torch_weights` for `to_torch` and `from_torch`; DESIGN.md beside this file for how it is built.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from charrnn.errors import CharrnnError

if TYPE_CHECKING:
    from charrnn.api import load, train
    from charrnn.evaluation.dynamic import Dynamic
    from charrnn.tools.compare import compare
    from charrnn.tools.torch_weights import from_torch, to_torch
    from charrnn.trained import Model

__version__ = "0.1.0"
__all__ = ["CharrnnError", "Dynamic", "Model", "__version__", "compare", "from_torch", "load", "to_torch", "train"]

HOMES = {
    **dict.fromkeys(("load", "train"), "charrnn.api"),
    **dict.fromkeys(("from_torch", "to_torch"), "charrnn.tools.torch_weights"),
    "Model": "charrnn.trained",
    "compare": "charrnn.tools.compare",
    "Dynamic": "charrnn.evaluation.dynamic",
}
"""Where each name of the API lives."""


def __getattr__(name: str) -> Any:
    """Import the API at its first use: `import charrnn` alone stays quick."""
    if name not in HOMES:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    """What completion offers."""
    return sorted(__all__)
