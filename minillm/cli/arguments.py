"""argparse with help that is easy to read, and errors of one line with a hint."""

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from minillm.errors import short
from minillm.mpi import launched_as


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Examples keep their lines, the usage is one line, and verbs stand in one column."""

    def __init__(self, prog: str, **options: Any):
        super().__init__(prog, **{"max_help_position": 28, **options})

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        """Where that takes several lines, options are not listed: they are explained below."""
        full = super()._format_usage(usage, actions, groups, prefix)
        if full.strip().count("\n") == 0:
            return full
        needed = [action for action in actions if action.required or not action.option_strings]
        return super()._format_usage(usage, needed, [], prefix).rstrip() + " [options]\n\n"

    def _format_action(self, action: argparse.Action) -> str:
        """Of subcommands only the list, without a line that says VERB."""
        if isinstance(action, argparse._SubParsersAction):
            return self._join_parts([self._format_action(a) for a in action._get_subactions()])
        return super()._format_action(action)


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser, but examples keep their lines and an error is one line with a hint."""

    def __init__(self, *args: Any, **options: Any):
        options.setdefault("formatter_class", HelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(*args, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but FILEs may also stand behind an option: ``eval DIR --json FILE``.

        What this parser does not know is its error, not one of the parser above it: that one
        does not know what it could be.
        """
        namespace, extras = super().parse_known_args(args, namespace)
        if "several_files" in namespace:
            files = [word for word in extras if word == "-" or not word.startswith("-")]
            namespace.files = [*getattr(namespace, "files", []), *files]
            if not namespace.files:
                del namespace.files
            extras = [word for word in extras if word not in files]
        if extras:
            self._refuse(extras[0])
        return namespace, extras

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            self.error(f"expected no further argument, found {short(word)}")
        name = word.partition("=")[0]
        options = [option for option in self._option_string_actions if option.startswith("--")]
        self.error(f"there is no option {short(name)}{did_you_mean(name, options)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Argparse's check of a choice, with the nearest spellings."""
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action,
                f"expected one of {', '.join(choices)}; found {short(value)}"
                f"{did_you_mean(str(value), choices)}",
            )

    def _print_message(self, message: str, file: Any = None) -> None:
        """Argparse's messages; of several ranks, which all have the same, rank 0 shows them."""
        if launched_as() in (None, 0):
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Exit status 2 and one line that also says where help is."""
        message = " ".join(message.removeprefix("argument ").splitlines())
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            message = f"expected {missing.replace(', ', ' and ')}, found none"
        self.exit(2, f"minillm: {message} (see {self.prog} --help)\n")


def add_run_folder(parser: argparse.ArgumentParser, help: str) -> None:
    """The folder of a run that is opened, and whether its weights may be other than finite."""
    parser.add_argument("run_folder", metavar="DIR", help=help)
    parser.add_argument(
        "--allow-nan",
        action="store_true",
        help="open weights that are not finite, too, to look at what has become of them",
    )


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint at the nearest spellings among ``known``, or nothing."""
    close = difflib.get_close_matches(word, known, 3, 0.6)
    return f"; did you mean {', '.join(close)}?" if close else ""
