"""Errors that a user can act on."""


class UserError(Exception):
    """A wrong input, setting or environment.

    The message is one line: it names the file or key, says what is wrong with it and gives the
    remedy. Command lines print it without a traceback and exit with status 2.
    """
