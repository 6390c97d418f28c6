"""The command line. Every error that a user can cause is one line on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from charrnn import __version__
from charrnn.cli import foreign
from charrnn.cli.cache import cache_command
from charrnn.cli.compare import compare_command
from charrnn.cli.devices import devices_command
from charrnn.cli.eval import eval_command
from charrnn.cli.export import export_command
from charrnn.cli.gradcheck import gradcheck_command
from charrnn.cli.options import examples
from charrnn.cli.output import discard_output, print_line, print_notice
from charrnn.cli.report import report_command
from charrnn.cli.sample import sample_command
from charrnn.cli.score import score_command
from charrnn.cli.train import train_command
from charrnn.cli.tune import tune_command
from charrnn.errors import CharrnnError


class Commands(click.Group):
    """The group of all commands, listed in the order in which they are added.

    A closed pipe is handled here, because click would end with status 1.
    """

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Parse the command line, which prints help if it asks for it."""
        with closed_pipe_is_success():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with closed_pipe_is_success():
            return super().invoke(ctx)


@contextmanager
def closed_pipe_is_success() -> Iterator[None]:
    """End with status 0 if the reader of standard output closes it, as `head` does."""
    try:
        yield
    except BrokenPipeError:
        discard_output()
        raise click.exceptions.Exit(0) from None


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("charrnn train book.txt", "charrnn sample runs/book"),
)
@click.version_option(__version__, prog_name="charrnn")
def charrnn() -> None:
    """Train character-level recurrent networks and sample from them.

    Exit status: 0 success, 1 a check failed, 2 wrong input or a device that fails, 3 training diverged, 130 or 143
    interrupted.
    """


for command in (
    train_command,
    sample_command,
    eval_command,
    score_command,
    compare_command,
    report_command,
    export_command,
    tune_command,
    cache_command,
    devices_command,
    gradcheck_command,
):
    charrnn.add_command(command)


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    try:
        # On Windows click would replace patterns and variables in every option, as in --prompt "*" or --stop "$x".
        status = charrnn.main(prog_name="charrnn", standalone_mode=False, windows_expand_args=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print_line(error.format_message())
        status = 0
    except click.NoSuchOption as error:
        status = print_error(foreign.explanation(error, sys.argv[1:]) or error.format_message(), error.exit_code)
    except click.ClickException as error:
        status = print_error(error.format_message(), error.exit_code)
    except CharrnnError as error:
        status = print_error(str(error), error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        status = print_error("interrupted", 130)
    except OSError as error:
        if error.filename is None and not isinstance(error, FileNotFoundError):
            discard_output()  # standard output cannot be written
        status = print_error(os_error_message(error), 2)
    except MemoryError as error:
        reason = f" ({error})" if str(error) else ""
        status = print_error(f"out of memory{reason}: lower train.batch_size or model.hidden_size", 2)
    sys.exit(status if isinstance(status, int) else 0)


def os_error_message(error: OSError) -> str:
    """Return what the system reports, with the file name if there is one."""
    if error.filename is None and isinstance(error, FileNotFoundError):
        return "the current directory no longer exists: change to another directory"
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def print_error(message: str, status: int) -> int:
    """Print an error as one line on standard error and return `status`."""
    print_notice("charrnn: " + " ".join(message.split()))
    return status
