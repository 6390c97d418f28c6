"""Character-level recurrent networks, written once for NumPy and CuPy.

    import charrnn
    model = charrnn.train(files=["shakespeare.txt"], out="runs/shakespeare")
    print(model.sample("ROMEO:", length=300))

See `charrnn.api` for `train`, `load` and `Model`; DESIGN.md beside this file for how it is built.
"""

from typing import TYPE_CHECKING, Any

from charrnn.errors import CharrnnError

if TYPE_CHECKING:
    from charrnn.api import Model, from_torch, load, train

__version__ = "0.1.0"
__all__ = ["CharrnnError", "Model", "__version__", "from_torch", "load", "train"]


def __getattr__(name: str) -> Any:
    """Import the API at its first use: `import charrnn` alone stays quick."""
    if name in ("Model", "from_torch", "load", "train"):
        from charrnn import api

        return getattr(api, name)
    raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
