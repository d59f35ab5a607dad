"""Errors that are shown to the user as one message, without a traceback."""


class UserError(Exception):
    """Something the user can mend: the message says what, and where."""


class SettingError(UserError):
    """A setting is unknown, of a wrong type, out of range, or impossible together with another."""


class DivergedError(UserError):
    """Training met a loss that is not finite."""


class InterruptedTraining(Exception):
    """Training was asked to stop, and has saved where it was."""
