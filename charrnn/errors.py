"""The errors that a user can see. Each is one line that says what happened and what to do."""


class CharrnnError(Exception):
    """The base class of every error for the user. `exit_status` is the exit status of the command."""

    exit_status = 2


class ConfigError(CharrnnError):
    """A configuration key, value, option or preset that does not exist or is not allowed."""


class TextError(CharrnnError):
    """A text that cannot be found, read, decoded, encoded or cached."""


class DeviceError(CharrnnError):
    """A requested device that cannot compute."""


class RanksError(CharrnnError):
    """Ranks of MPI that cannot train together."""


class CheckpointError(CharrnnError):
    """A checkpoint or run directory that is missing, damaged, not writable, or of another network."""


class OverflowingError(CheckpointError):
    """A network with finite parameters so large that its outputs are not finite."""

    def __init__(self, remedy: str = "use") -> None:
        super().__init__(
            f"the network overflows: its parameters are finite, but too large; {remedy} an earlier checkpoint"
        )


class DivergedError(CharrnnError):
    """Training that the guard stopped: the loss or gradient of too many steps in a row was not finite."""

    exit_status = 3
