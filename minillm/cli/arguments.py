"""The command line: verbs, their arguments and their help, on top of argparse.

A verb is a function.  Its docstring is its help page: a title, a description, and examples.  Its
parameters are its arguments, declared like settings, and it returns the exit status:

    def tokens(
        folder: str = argument("a run with a vocabulary", "DIR"),
        length: int = option(500, "show N tokens", "N", least=1),
        sampling: Given = given(Sampling),
    ) -> int:
        ...

A verb with other words below it, such as ``train KIND``, has one parameter, ``parser``, and
declares a parser for each of these words.
"""

import argparse
import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, field, make_dataclass
from functools import partial
from types import ModuleType
from typing import Any, NoReturn, get_type_hints

import minillm
from minillm import cli
from minillm.cli import process
from minillm.errors import did_you_mean, one_line, short
from minillm.option import Option, option, option_of, types_of

# The verbs and their titles.
VERBS = {
    "analogy": 'Answer "a is to b as c is to what?" with word vectors',
    "answer": "Answer questions from a text",
    "chat": "Talk to a model that answers",
    "classify": "Label texts, line by line",
    "compress": "Compress a file with a language model",
    "decompress": "Restore a file from an archive of minillm compress",
    "embed": "Write a vector for each line of text",
    "eval": "Measure a model on held-out data",
    "exercise": "Do an exercise of the book, and have it checked",
    "export": "Write a model in the format of another program",
    "fill": "Fill in the gaps of a text",
    "finetune": "Fine-tune a trained model to label texts, or to answer",
    "generate": "Generate text with a language model",
    "gradcheck": "Check gradients against central differences: every op's, or your own",
    "grade": "Grade the exercises of a class",
    "import": "Read a model that another program wrote",
    "info": "Show which kernels run, on how many threads, and why",
    "look": "Look inside a model as it reads a text",
    "merge": "Merge LoRA's updates into the weights that they update",
    "plot": "Plot loss curves, word maps or attention",
    "quantise": "Store the weights of a Llama in fewer bits",
    "serve": "Serve a model with OpenAI's interface and a page, or an encoder's vectors",
    "similar": "Find the words most similar to a word, or the texts most similar to a text",
    "summarise": "Summarise texts",
    "tokenize": "Turn a text into shards of token ids, for texts larger than memory",
    "tokens": "Show the tokens of a text",
    "train": "Train a model",
    "translate": "Translate texts, line by line, with an encoder-decoder",
}


# The modules that have several verbs; any other has the name of its verb.
MODULES = {
    "compress": ("compress", "decompress"),
    "files": ("export", "import", "merge", "quantise"),
    "exercises": ("exercise", "grade"),
    "texts": ("answer", "classify", "embed", "summarise", "translate"),
    "train": ("train", "finetune"),
    "words": ("analogy", "fill", "similar"),
}

# Of options, in the order of a help page.
GROUPS = (
    *("the folder", "the text", "the model", "the run", "gradient descent", "fine-tuning"),
    "sampling",
)

Given = dict[str, Any]  # the settings that were given


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Examples keep their lines, the usage is one line, and verbs are in one column."""

    def __init__(self, prog: str, **options: Any):
        super().__init__(prog, **{"max_help_position": 28, **options})

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        """The usage on one line, without the options that may be omitted."""
        needed = [action for action in actions if action.required or not action.option_strings]
        more = " [options]\n\n" if len(needed) < len(actions) else ""
        return super()._format_usage(usage, needed, [], prefix).rstrip() + more

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
    more = ""  # the end of the help page

    def __init__(
        self, *args: Any, declare: "Callable[[ArgumentParser], None] | None" = None, **options: Any
    ):
        ours = {"formatter_class": HelpFormatter, "allow_abbrev": False, "add_help": False}
        super().__init__(*args, **{**ours, **options})
        self.color = False  # of Python 3.14: a terminal gets no control characters from us
        self.declare = declare
        self.add_argument("-h", "--help", "--help-all", action="help", help=argparse.SUPPRESS)

    def set_page(self, docstring: str) -> None:
        """Take the help page from a docstring; its examples are shown after the arguments."""
        self.description, found, examples = docstring.partition("\n\nexamples:\n")
        self.epilog = f"examples:\n{examples}" if found else None

    def add_words(
        self,
        title: str,
        metavar: str,
        words: Mapping[str, str],
        declare: "Callable[[str, ArgumentParser], None]",
        **details: Any,
    ) -> None:
        """Declare words with their titles; the parser of a word is declared when it is used."""
        parsers = self.add_subparsers(title=title, metavar=metavar, **details)
        for word, text in words.items():
            parsers.add_parser(word, help=text, declare=partial(declare, word))

    def hide(self, action: argparse.Action) -> None:
        """Leave a rare option out of ``--help``; ``--help-all`` shows it."""
        if "--help-all" not in self.words:
            action.help = argparse.SUPPRESS
            self.more = f"\nmore options, rarely needed: {self.prog} --help-all\n"

    def format_help(self) -> str:
        """The help page; its end mentions ``--help-all`` if it leaves out options."""
        return super().format_help() + self.more

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse like argparse, but let several arguments, such as FILEs, also follow an option.

        An unknown argument is refused here, because the parser above could not give a hint.
        """
        if self.declare:
            self.words = list(sys.argv[1:] if args is None else args)
            self.declare(self)
            self.declare = None
        namespace, extras = super().parse_known_args(args, namespace)
        if "flags" not in namespace:  # the innermost parser has the command's flags
            namespace.flags = tuple(self._option_string_actions)
        for action in self._get_positional_actions():
            if action.nargs in ("*", "+"):
                more = [word for word in extras if word == "-" or not word.startswith("-")]
                extras = [word for word in extras if word not in more]
                if more:
                    setattr(namespace, action.dest, [*getattr(namespace, action.dest, []), *more])
        if extras:
            self._refuse(extras[0])
        return namespace, extras

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            self.error(f"expected no further argument, found {short(word)}")
        name = word.partition("=")[0]
        files = [a.metavar for a in self._get_positional_actions() if a.nargs == "?" and a.metavar]
        hint = did_you_mean(name, [*self._known_options(), *map(str, files)])
        self.error(f"there is no option {short(name)}{hint}")

    def _known_options(self) -> list[str]:
        return [option for option in self._option_string_actions if option.startswith("--")]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Check a choice like argparse; the message has the nearest spellings."""
        if action.choices is not None and value not in action.choices:
            choices, hint = ", ".join(action.choices), did_you_mean(value, action.choices)
            raise argparse.ArgumentError(
                action, f"expected one of {choices}; found {short(value)}{hint}"
            )

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and one line, which also names the help."""
        message = one_line(message.removeprefix("argument "))
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            for word in self.words:  # the missing one may be there under another name
                if word[:2] == "--" != word and word.partition("=")[0] not in self._known_options():
                    self._refuse(word)
            message = f"expected {missing.replace(', ', ' and ')}, found none"
        process.say_once(f"{message} (see {self.prog} --help)")
        self.exit(2)


# --- the verbs --------------------------------------------------------------------------


def command_line() -> ArgumentParser:
    """The parser of all verbs; a verb's module is imported when the verb is used."""
    parser = ArgumentParser(
        prog="minillm",
        description="The history of language models, to train and to run on a plain CPU.",
        epilog="""\
a first session:
  minillm train lm --out runs/first --minutes 2    train on the text that comes with Python
  minillm generate runs/first                      read what the model writes
  minillm eval runs/first                          measure it on the text that was held out

minillm VERB --help explains a verb, with examples.
""",
    )
    version = f"minillm {minillm.__version__}"
    parser.add_argument("--version", action="version", version=version, help="show the version")
    parser.add_words("verbs", "VERB", VERBS, lambda n, p: declare(p, verb(n)), dest="verb")
    return parser


def verb(name: str) -> Callable[..., Any]:
    """The function of a verb, which has an underscore if Python has a word of that name."""
    module = next((module for module, verbs in MODULES.items() if name in verbs), name)
    found = vars(importlib.import_module(f"{cli.__name__}.{module}"))
    return found.get(name) or found[f"{name}_"]


def parser_of(program: ModuleType) -> ArgumentParser:
    """The parser of a module whose function ``run`` is a verb; its docstring is the help page."""
    name = program.__spec__.name if program.__spec__ else program.__name__
    parser = ArgumentParser(prog=f"python -m {name}")
    parser.set_defaults(verb=name)
    declare(parser, program.run)
    parser.set_page(program.__doc__ or "")
    return parser


def declare(
    parser: ArgumentParser, function: Callable[..., Any], without: Collection[str] = ()
) -> None:
    """Declare the arguments of a verb, and that the parser's result runs it."""
    parser.set_page(inspect.getdoc(function) or "")
    parameters, hints = inspect.signature(function).parameters, get_type_hints(function)
    if "parser" in parameters:
        function(parser)
        return
    own, classes = [], {}
    for name, parameter in parameters.items():
        details = dict(parameter.default.metadata)
        if "settings" in details:
            classes[name] = details.pop("settings"), details
        else:
            copied = field(default=parameter.default.default, metadata=details)
            own.append((name, hints[name], copied))
    values = make_dataclass("Values", own, kw_only=True)
    add_settings(parser, values, without)
    for settings, details in classes.values():
        add_settings(parser, settings, **details)

    def run(args: argparse.Namespace) -> int:
        groups = {
            name: given_settings(args, settings, details.get("without", ()))
            for name, (settings, details) in classes.items()
        }
        return function(**vars(values(**given_settings(args, values))), **groups)

    parser.set_defaults(run=run)


# --- declarations -----------------------------------------------------------------------


def argument(help: str, metavar: str, default: Any = MISSING) -> Any:  # noqa: A002
    """Declare an argument without a name, of a verb."""
    return option(default, help, metavar, positional=True)


def run_argument(text: str = "the folder of a run") -> Any:
    """The folder of a run, or the file of another program that is read in its place."""
    return argument(text, "DIR")


def given(settings: type, **details: Any) -> Any:
    """A parameter with the settings of a class that were given: see :func:`add_settings`."""
    return field(metadata={"settings": settings, **details})


OUT = option(MISSING, "the folder to make", "DIR")
OVERWRITE = option(False, "replace an earlier result")


def add_settings(
    parser: ArgumentParser, settings: type, without: Collection[str] = (), group: str = ""
) -> None:
    """Declare an argument for each other field; the result has only those that were given.

    ``group`` is the title of those that have none.
    """
    places = {title: parser.add_argument_group(title) for title in GROUPS}
    for name in types_of(settings):
        if name in without:
            continue
        declared = option_of(settings, name)
        place = places.get(declared.group or group, parser)
        action = add_argument(parser if declared.positional else place, settings, name)
        if declared.rare:
            parser.hide(action)


def given_settings(
    args: argparse.Namespace, settings: type, without: Collection[str] = ()
) -> Given:
    """The other fields that were given."""
    values = {name: getattr(args, name, None) for name in types_of(settings) if name not in without}
    return {name: value for name, value in values.items() if value is not None}


def add_argument(place: Any, settings: type, name: str) -> argparse.Action:
    """Declare an argument for a field; without it, the result has no such attribute."""
    declared = option_of(settings, name)
    default = settings.__dataclass_fields__[name].default  # type: ignore[attr-defined]
    type_, several, _ = types_of(settings)[name]
    text, choices = declared.help.replace("%", "%%"), declared.choices
    if len(choices) > 1 and not all(choice in text for choice in choices):
        text += f": {', '.join(choices[:-1])} or {choices[-1]}"
    shown = declared.default_help if declared.default_help is not None else _shown(default)
    if shown and not declared.positional:
        text += f" (default {shown})"
    details: dict[str, Any] = {"help": text}
    if type_ is bool:
        details["action"] = "store_true"
    else:
        details["metavar"] = declared.metavar
        if choices and not declared.positional:
            details["choices"], details["metavar"] = choices, declared.metavar or "NAME"
        else:
            details["type"] = parser_of_values(declared, type_)
    required = default is MISSING
    if declared.positional:
        if several:
            details |= {"nargs": "+" if required else "*", "default": argparse.SUPPRESS}
        elif not required:
            details["nargs"] = "?"
        return place.add_argument(name, **details)
    if several:
        details |= {"nargs": "+", "action": "extend"}
    flag = f"--{name.replace('_', '-')}"
    return place.add_argument(
        flag, dest=name, default=argparse.SUPPRESS, required=required, **details
    )


def _shown(default: Any) -> str:
    if default is MISSING or default is None or isinstance(default, bool | tuple):
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def parser_of_values(declared: Option, type_: type) -> Callable[[str], Any]:
    """A function that turns an argument into a value, and checks its bounds."""

    def parse(text: str) -> Any:
        value: Any = text
        with suppress(ValueError):
            value = type_(text)
        try:
            return declared.checked(value, type_)
        except ValueError:
            found = short(value if isinstance(value, int) else text)
            expected = declared.expected(type_)
            raise argparse.ArgumentTypeError(f"expected {expected}, found {found}") from None

    return parse
