"""`charrnn`, and `python -m charrnn`."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; Ctrl-C that comes while it is still being imported ends it as it does later."""
    try:
        from charrnn.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("charrnn: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
