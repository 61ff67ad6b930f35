"""The one exception that users are meant to see."""


class InputError(ValueError):
    """Bad input: a file, a line or an argument that is not what was expected.

    Its message is one line that names the place, what was expected and what
    was found.  The command line prints it and exits with status 2.
    """
