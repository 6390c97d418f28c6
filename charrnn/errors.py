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


class DivergedError(CharrnnError):
    """Training stopped by the guard: too many steps in a row had a loss or gradient that is not finite."""

    exit_status = 3
