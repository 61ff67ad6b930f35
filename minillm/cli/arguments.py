"""The list of verbs, and argparse with readable help and one-line errors."""

import argparse
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from keyword import iskeyword
from types import ModuleType
from typing import Any, NoReturn

import minillm
from minillm import cli
from minillm.cli import process
from minillm.errors import did_you_mean, one_line, short

# The verbs and their titles; the module of a verb has its name.
VERBS = {
    "analogy": 'Answer "a is to b as c is to what?" with word vectors',
    "answer": "Answer questions from a text",
    "chat": "Talk to a model that answers",
    "classify": "Label texts, line by line",
    "embed": "Write a vector for each line of text",
    "eval": "Measure a model on held-out data",
    "exercise": "Do an exercise of the book, and have it checked",
    "export": "Write a model in the format of another program",
    "fill": "Fill in the gaps of a text",
    "finetune": "Fine-tune a trained model to label texts, to answer, or to summarise",
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

    def set_page(self, documented: Any) -> None:
        """Take the help page from the docstring of a verb or of a function.

        The part from the line "examples:" on is shown after the arguments.
        """
        docstring = inspect.getdoc(documented) or ""
        self.description, found, examples = docstring.partition("\n\nexamples:\n")
        self.epilog = f"examples:\n{examples}" if found else None

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
        self.error(f"there is no option {short(name)}{did_you_mean(name, self._known_options())}")

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
  minillm train lm --out runs/first --minutes 2    train on the text that Python brings along
  minillm generate runs/first                      read what the model writes
  minillm eval runs/first                          measure it on the text that was held out

minillm VERB --help explains a verb, with examples.
""",
    )
    version = f"minillm {minillm.__version__}"
    parser.add_argument("--version", action="version", version=version, help="show the version")
    choices = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    for name, title in VERBS.items():

        def declare(verb_parser: ArgumentParser, name: str = name) -> None:
            module = f"{cli.__name__}.{name}{'_' * iskeyword(name)}"
            _declare(verb_parser, importlib.import_module(module))

        choices.add_parser(name, help=title, declare=declare)
    return parser


def parser_of(program: ModuleType) -> ArgumentParser:
    """The parser of a program in the form of a verb."""
    name = program.__spec__.name if program.__spec__ else program.__name__
    parser = ArgumentParser(prog=f"python -m {name}")
    parser.set_defaults(verb=name)
    _declare(parser, program)
    return parser


def _declare(parser: ArgumentParser, verb: ModuleType) -> None:
    parser.set_page(verb)
    verb.add_arguments(parser)
    parser.set_defaults(run=verb.run)


def title_of(docstring: str) -> str:
    """The first line, without its full stop."""
    return docstring.partition("\n")[0].rstrip('."')
