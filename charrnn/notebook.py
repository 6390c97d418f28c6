"""What a notebook or an interactive Python shows: the progress of a training, and a table of facts."""

from __future__ import annotations

import html
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from charrnn.run.session import Session
from charrnn.training.events import Evaluated, Event, Trained

SHOWN = 60
"""Characters of a long text that a table shows."""


def is_interactive() -> bool:
    """Return whether a user types the commands: in a notebook, or at a prompt of Python or IPython."""
    return hasattr(sys, "ps1")


@contextmanager
def progress_bar(session: Session, *, visible: bool) -> Iterator[Callable[[Event], None]]:
    """Show a progress bar of the steps, with the losses beside it. Yield the function that gets every event."""
    if not visible or session.finished or not session.config.train.steps:
        yield lambda _: None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without ipywidgets: the bar is then one of text
        from tqdm.auto import tqdm

    losses: dict[str, str] = {}
    with tqdm(total=session.config.train.steps, initial=session.loop.trainer.done, unit="step") as bar:

        def show(event: Event) -> None:
            if isinstance(event, Trained):
                losses["loss"] = f"{event.smooth_loss:.3f}"
            elif isinstance(event, Evaluated):
                losses["validation"] = f"{event.val_loss:.3f}"
            bar.set_postfix(losses, refresh=False)
            bar.update(event.at.step - bar.n)

        yield show


def shortened(text: str) -> str:
    """Return the beginning of a text as a Python string, in which no character is invisible."""
    return ascii(text) if len(text) <= SHOWN else f"{text[:SHOWN]!a} ..."


def html_table(title: str, rows: Mapping[str, str]) -> str:
    """Return a table of names and values as HTML, without empty values. Everything in it is escaped."""
    cells = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows.items() if value
    )
    return f"<table><caption>{html.escape(title)}</caption>{cells}</table>"
