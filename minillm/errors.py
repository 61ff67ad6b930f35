"""The exceptions that users are meant to see."""


class InputError(ValueError):
    """Bad input: a file, a line or an argument that is not what was expected.

    Its message is one line that names the place, what was expected and what
    was found.  The command line prints it and exits with status 2.
    """


class DivergedError(RuntimeError):
    """A training whose loss or gradient is no longer a finite number.

    It is no bad input: the same data and model train with a lower learning rate.  The command
    line prints its message, one line, and exits with status 1.
    """
