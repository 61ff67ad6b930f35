"""The list of verbs, and argparse with readable help and one-line errors."""

import argparse
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import minillm
from minillm import cli
from minillm.errors import did_you_mean, one_line, short
from minillm.mpi import launched_as
from minillm.option import name_here

# Verbs of other programs -> the verbs here that do the work, or a sentence.
VERBS_ELSEWHERE: dict[str, tuple[str, ...] | str] = {
    "complete": ("generate",),
    "convert": ("import", "export"),
    "download": "download a model by other means, and read it with minillm import",
    "encode": ("tokens", "embed"),
    "evaluate": ("eval",),
    "fit": ("train",),
    "help": "minillm --help lists the verbs, and minillm VERB --help explains one",
    "inspect": ("look", "tokens"),
    "list": "a run is a folder, the one that --out named",
    "ls": "a run is a folder, the one that --out named",
    "new": ("train",),
    "perplexity": ("eval",),
    "ppl": ("eval",),
    "predict": ("generate", "classify", "translate"),
    "pull": "download a model by other means, and read it with minillm import",
    "run": ("generate", "chat"),
    "sample": ("generate",),
    "score": ("eval",),
    "server": ("serve",),
    "show": ("look", "info"),
    "summarize": ("summarise",),
    "test": ("eval",),
    "tokenise": ("tokens", "tokenize"),
    "tune": ("finetune",),
    "validate": ("eval",),
    "version": "minillm --version shows the version",
    "visualise": ("plot", "look"),
    "visualize": ("plot", "look"),
    "write": ("generate",),
}


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Examples keep their lines, the usage is one line, and verbs are in one column."""

    def __init__(self, prog: str, **options: Any):
        super().__init__(prog, **{"max_help_position": 28, **options})

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        """The usage; one of several lines omits the options, which are explained below it.

        It omits exclusive groups, because argparse fails if some of their options are hidden.
        """
        full = super()._format_usage(usage, actions, [], prefix)
        if full.strip().count("\n") == 0:
            return full
        needed = [action for action in actions if action.required or not action.option_strings]
        return super()._format_usage(usage, needed, [], prefix).rstrip() + " [options]\n\n"

    def _format_action(self, action: argparse.Action) -> str:
        """Subcommands are a list without a line "VERB"."""
        if isinstance(action, argparse._SubParsersAction):
            return self._join_parts([self._format_action(a) for a in action._get_subactions()])
        return super()._format_action(action)


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser, with examples that keep their lines, and one-line errors with hints.

    ``declare(parser)`` is called when the parser is first used, because only one verb is.  It may
    look at ``words``, the arguments of the verb.
    """

    words: Sequence[str] = ()

    def __init__(
        self, *args: Any, declare: "Callable[[ArgumentParser], None] | None" = None, **options: Any
    ):
        ours = {"formatter_class": HelpFormatter, "allow_abbrev": False, "add_help": False}
        super().__init__(*args, **{**ours, **options})
        self.color = False  # of Python 3.14: a terminal gets no control characters from us
        self.declare = declare
        self.rare: dict[argparse.Action, str | None] = {}  # options that --help leaves out -> help
        self.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
        self.add_argument("--help-all", action=_HelpAll, help=argparse.SUPPRESS)

    def set_page(self, documented: Any) -> None:
        """Take the help page from the docstring of a verb or of a function.

        The part from the line "examples:" on is shown after the arguments.
        """
        docstring = inspect.getdoc(documented) or ""
        self.description, found, examples = docstring.partition("\n\nexamples:\n")
        self.epilog = f"examples:\n{examples}" if found else None

    def hide(self, action: argparse.Action) -> None:
        """Leave a rare option out of ``--help``; ``--help-all`` shows it."""
        self.rare[action], action.help = action.help, argparse.SUPPRESS

    def format_help(self) -> str:
        """The help page; its end mentions ``--help-all`` if it leaves out options."""
        hidden = any(action.help is argparse.SUPPRESS for action in self.rare)
        more = f"\nmore options, rarely needed: {self.prog} --help-all\n"
        return super().format_help() + more * hidden

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse like argparse, but allow FILEs after an option.

        An unknown argument is refused here, because the parser above could not give a hint.
        """
        if self.declare:
            self.words = list(sys.argv[1:] if args is None else args)
            self.declare(self)
            self.declare = None
        namespace, extras = super().parse_known_args(args, namespace)
        if "several_files" in namespace:
            files = [word for word in extras if word == "-" or not word.startswith("-")]
            extras = [word for word in extras if word not in files]
            if files:
                namespace.files = [*getattr(namespace, "files", []), *files]
        if extras:
            self._refuse(extras[0])
        return namespace, extras

    def _refuse(self, word: str) -> NoReturn:
        known = {a.dest: str(a.metavar) for a in self._actions if not a.option_strings}
        known |= {flag[2:].replace("-", "_"): flag for flag in self._known_options()}
        if not word.startswith("-"):
            hint = ": a text to continue is given as --prompt" if "prompt" in known else ""
            self.error(f"expected no further argument, found {short(word)}{hint}")
        name = word.partition("=")[0]
        hint = name_here(name, known)
        shown = name if hint.startswith(":") else short(name)
        self.error(f"there is no option {shown}{hint}")

    def _known_options(self) -> list[str]:
        return [option for option in self._option_string_actions if option.startswith("--")]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Check a choice like argparse; the message has the nearest spellings."""
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            if action.dest == "verb" and value in VERBS_ELSEWHERE:
                self.error(f"there is no verb {value}: {_verbs_here(VERBS_ELSEWHERE[value])}")
            if action.dest == "verb":  # the help lists them, with their titles
                guess = did_you_mean(str(value), choices)
                self.error(f"VERB: expected a verb, found {short(value)}{guess}")
            raise argparse.ArgumentError(
                action,
                f"expected one of {', '.join(choices)}; found {short(value)}"
                f"{did_you_mean(str(value), choices)}",
            )

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print a message, which is the same on all ranks, on rank 0 only."""
        if launched_as() in (None, 0):
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and one line, which also names the help."""
        message = one_line(message.removeprefix("argument "))
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            for word in self.words:  # the missing one may be there under another name
                if word[:2] == "--" != word and word.partition("=")[0] not in self._known_options():
                    self._refuse(word)
            message = f"expected {missing.replace(', ', ' and ')}, found none"
        self.exit(2, f"minillm: {message} (see {self.prog} --help)\n")


class _HelpAll(argparse.Action):
    """Show the help page with all options."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **{**options, "nargs": 0, "default": argparse.SUPPRESS})

    def __call__(self, parser: Any, *unused: Any) -> None:
        for action, text in parser.rare.items():
            action.help = text
        parser.print_help()
        parser.exit()


# --- the verbs --------------------------------------------------------------------------


def command_line() -> ArgumentParser:
    """The parser of all verbs; a verb's module is imported when the verb is used."""
    parser = ArgumentParser(
        prog="minillm",
        description="The history of language models, to train and to run on a plain CPU.",
        epilog="""\
a first session:
  minillm train lm --out runs/first --minutes 2    train on the text that Python brings along
  minillm generate runs/first                      read what the model writes
  minillm eval runs/first                          measure it on the text that was held out

minillm VERB --help explains a verb, with examples.
""",
    )
    version = f"minillm {minillm.__version__}"
    parser.add_argument("--version", action="version", version=version, help="show the version")
    choices = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    for module, title in verbs():

        def declare(verb_parser: ArgumentParser, module: str = module) -> None:
            verb = importlib.import_module(f"{cli.__name__}.{module}")
            verb_parser.set_page(verb)
            verb.add_arguments(verb_parser)
            verb_parser.set_defaults(run=verb.run)

        choices.add_parser(module.rstrip("_"), help=title, declare=declare)
    return parser


def verbs() -> Iterator[tuple[str, str]]:
    """The module and the title of each verb, read without importing anything."""
    for finder, name, _ in pkgutil.iter_modules(cli.__path__):
        source = Path(finder.path, f"{name}.py").read_text("utf-8")  # type: ignore[union-attr]
        if "\ndef run(" in source or "\nadd_arguments, run = " in source:
            yield name, title_of(source.removeprefix('"""'))


def _verbs_here(here: tuple[str, ...] | str) -> str:
    """The verbs here for a verb of another program, with their titles."""
    if isinstance(here, str):
        return here
    titles = {module.rstrip("_"): title for module, title in verbs()}
    return "here it is " + " or ".join(f'{verb} ("{titles[verb]}")' for verb in here)


def title_of(docstring: str) -> str:
    """The first line, without its full stop."""
    return docstring.partition("\n")[0].rstrip('."')
