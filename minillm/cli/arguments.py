"""argparse with examples that keep their lines, and errors of one line."""

import argparse
from typing import Any, NoReturn


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser, but examples keep their lines and an error is one line."""

    def __init__(self, *args: Any, **options: Any):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(*args, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but FILEs may also stand behind an option: ``eval DIR --json FILE``."""
        namespace, extras = super().parse_known_args(args, namespace)
        if "several_files" in namespace:
            files = [word for word in extras if word == "-" or not word.startswith("-")]
            namespace.files = [*getattr(namespace, "files", []), *files]
            if not namespace.files:
                del namespace.files
            extras = [word for word in extras if word not in files]
        return namespace, extras

    def error(self, message: str) -> NoReturn:
        """Exit status 2 and one line that also says where help is."""
        self.exit(2, f"minillm: {message} (see {self.prog} --help)\n")


def add_run_folder(parser: argparse.ArgumentParser, help: str) -> None:
    """The folder of a run that is opened, and whether its weights may be other than finite."""
    parser.add_argument("run_folder", metavar="DIR", help=help)
    parser.add_argument(
        "--allow-nan",
        action="store_true",
        help="open weights that are not finite, too, to look at what has become of them",
    )
