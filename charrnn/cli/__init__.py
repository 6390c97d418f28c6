"""The command line: parse, build, print. Every error that a user can cause is one line on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from charrnn import __version__
from charrnn.cli.cache import cache_command
from charrnn.cli.check import devices_command, gradcheck_command
from charrnn.cli.compare import compare_command
from charrnn.cli.read import eval_command, sample_command, score_command
from charrnn.cli.terminal import abandon_output, note, say
from charrnn.cli.train import train_command
from charrnn.cli.tune import tune_command
from charrnn.errors import CharrnnError


class Commands(click.Group):
    """The commands, with a closed pipe caught below click, which would end with status 1."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the command line, which may ask for help."""
        with unread():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with unread():
            return super().invoke(ctx)


@contextmanager
def unread() -> Iterator[None]:
    """That whoever reads has had enough, as in `| head`, is no error."""
    try:
        yield
    except BrokenPipeError:
        abandon_output()
        raise click.exceptions.Exit(0) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="charrnn")
def charrnn() -> None:
    """Train character-level recurrent networks and sample from them.

    Exit status: 0 done, 1 a check failed, 2 a user's mistake, 3 stopped by the guard, 130/143 interrupted.
    """


for command in (
    train_command,
    sample_command,
    eval_command,
    score_command,
    compare_command,
    cache_command,
    tune_command,
    devices_command,
    gradcheck_command,
):
    charrnn.add_command(command)


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    try:
        status = charrnn.main(prog_name="charrnn", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        status = 0
    except click.ClickException as error:
        status = fail(error.format_message(), error.exit_code)
    except CharrnnError as error:
        status = fail(str(error), error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        status = fail("interrupted", 130)
    except OSError as error:
        status = fail(refused(error), 2)
    except MemoryError as error:
        why = f" ({error})" if str(error) else ""
        status = fail(f"out of memory{why}: lower train.batch_size or model.hidden_size", 2)
    sys.exit(status if isinstance(status, int) else 0)


def refused(error: OSError) -> str:
    """What the system refused: a name that is too long; nameless, a current directory, or room for standard output."""
    if error.filename is None and isinstance(error, FileNotFoundError):
        return "the current directory is gone: change to one that is there"
    if error.filename is None:
        abandon_output()
    return f"{error.filename}: " * bool(error.filename) + (error.strerror or str(error))


def fail(message: str, status: int) -> int:
    """Print an error as one line; return the exit status."""
    note("charrnn: " + " ".join(message.split()))
    return status
