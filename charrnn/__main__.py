"""The entry point of `charrnn` and `python -m charrnn`."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; Ctrl-C during its import prints the same line as later."""
    try:
        from charrnn.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("charrnn: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
