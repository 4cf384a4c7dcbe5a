"""Errors that a user can act on."""


class UserError(Exception):
    """A wrong input, setting or environment.

    The message is one line: it names the file or key, says what is wrong with it and gives the
    remedy. Command lines print it without a traceback and exit with status 2.
    """


class SettingError(ValueError):
    """An argument of a class that is out of range.

    The message begins with the argument's name, before which command lines put the key that
    configures the class.
    """
