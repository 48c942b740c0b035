"""The one exception a user is meant to read."""


class UserError(Exception):
    """A rule that was broken, the value received and the next step, in one line.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 2


class DeviceError(UserError):
    """The machine lacks the device that a runner promises (exit code 3)."""

    exit_code = 3
