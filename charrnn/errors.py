"""The errors that a user can cause or meet. Each prints as one line that says what happened and what to do."""


class CharrnnError(Exception):
    """Base of every error raised on purpose; `exit_status` is what the command line ends with."""

    exit_status = 2


class ConfigError(CharrnnError):
    """A configuration key, value or preset that does not exist or does not fit."""


class TextError(CharrnnError):
    """Text that cannot be found, read, decoded or encoded."""


class DeviceError(CharrnnError):
    """A device that was asked for and cannot compute."""


class CheckpointError(CharrnnError):
    """A checkpoint or run directory that is missing, damaged or of another network."""


class OverflowingError(CheckpointError):
    """A network whose parameters are finite, but so large that what it makes of them is not."""

    def __init__(self, remedy: str = "take") -> None:
        super().__init__(
            f"the network overflows: its parameters are finite, but too large; {remedy} an earlier checkpoint"
        )


class DivergedError(CharrnnError):
    """Training stopped by the guard: too many steps in a row had a loss or gradient that is not finite."""

    exit_status = 3
