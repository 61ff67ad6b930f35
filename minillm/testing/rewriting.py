"""Functions that run as they are written, and report the value of each statement.

A copy of a function is compiled from its source, with a hook in each statement:

    dq = dscores @ k.T          becomes          dq = hooks.value(7, dscores @ k.T)

The hook sees the value, and may put another one in its place.  Every expression passes through
a hook of its own, by which a forward is moved at one of its nodes.  A call goes through a
third hook, which makes such a copy of the function that is called, and of a backward that it
returns.  The functions themselves stay as they are.
"""

import ast
import functools
import inspect
import linecache
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple, cast

import numpy as np

_PATHS = [Path(sysconfig.get_paths()[name]) for name in ("stdlib", "purelib", "platlib")]
FOREIGN = (*map(str, _PATHS), *(str(path.resolve()) for path in _PATHS), "<frozen", "<__array")
OURS = str(Path(__file__).resolve().parent.parent)
# Between an op and its caller: they are walked through, and no line of theirs is accused.
DOORS = tuple(
    f"{OURS}/{name}" for name in ("checks.py", "_kernels/", "testing/", "errors.py", "option.py")
)
HOOKS = "_minillm_hooks"  # the only name that a copy has and its source does not


class CannotRewriteError(Exception):
    """A function whose source is not to be had, or cannot be compiled alone."""


class Statement(NamedTuple):
    """A statement whose value a hook sees."""

    file: str
    line: int
    end: int
    text: str  # its source, in one line
    targets: tuple[str, ...]  # the names that it assigns, if they are names
    passes: bool  # whether it hands on names, and computes nothing
    function: int  # the function around it, by number

    @property
    def returns(self) -> bool:
        """Whether it ends its function."""
        return self.text.startswith("return")

    def target(self, key: tuple[Any, ...]) -> str:
        """The variable that a value is assigned to, or nothing; the key ends with its place."""
        place = key[1] if len(key) > 1 and isinstance(key[1], int) else 0
        return self.targets[place] if place < len(self.targets) else ""


class Node(NamedTuple):
    """An expression of the forward, which a hook may move."""

    name: str  # of the variable that is read or set, or empty
    line: int
    function: int
    reads: int  # of a variable that is read: how often it was set before in the text; otherwise -1


class Hooks:
    """The hooks that copies call.  A subclass says what happens at each."""

    def __init__(self, lean: set[tuple[str, int]] | None = None) -> None:
        self.lean = lean  # if given: files and lines of functions; only these have all hooks
        self.statements: list[Statement] = []
        self.sources: dict[int, ast.expr] = {}  # the expression of a statement, by its number
        self.nodes: list[Node] = []
        self._makers: dict[CodeType, Callable[..., FunctionType]] = {}
        self._copies: dict[FunctionType, FunctionType] = {}
        self._classes: dict[Any, Any] = {}
        self.opaque: list[str] = []  # why some functions have no copy
        # By the number of a function: the function that it stands in, and its file and line.
        self.around, self.places = [0], [("", 0)]

    def at(self, number: int) -> None:
        """A statement begins."""

    def value(self, number: int, value: Any) -> Any:
        """The value of a statement; what is returned is assigned instead."""
        return value

    def node(self, number: int, value: Any) -> Any:
        """The value of an expression."""
        return value

    def before(self, number: int, *values: Any) -> None:
        """A call for its effect comes next; these are its arrays."""

    def arrays(self, number: int, *values: Any) -> None:
        """A statement that may change arrays is done; these are its arrays."""

    def call(self, thing: Any) -> Any:
        """A copy of a function, or whatever else is called, as it is."""
        if isinstance(thing, FunctionType):
            if HOOKS in thing.__code__.co_freevars:  # a part of a copy
                return thing
            found = self._copies.get(thing)
            if found is None:
                found = self._copies[thing] = self._copy(thing)
            return found
        owner = getattr(thing, "__self__", None)
        if getattr(thing, "__name__", "") == "apply" and inspect.isclass(owner):
            return self._copy_of_class(owner).apply  # a torch.autograd.Function
        if isinstance(thing, MethodType):
            made = self.call(thing.__func__)
            return thing if made is thing.__func__ else MethodType(made, thing.__self__)
        if isinstance(thing, functools.partial):
            return functools.partial(self.call(thing.func), *thing.args, **thing.keywords)
        own = vars(type(thing)).get("__call__")
        if isinstance(own, FunctionType) and not inspect.isclass(thing):
            return MethodType(self.call(own), thing)
        return thing

    def _copy_of_class(self, owner: Any) -> Any:
        """A class whose static methods are copies."""
        if owner not in self._classes:
            names = [n for n in ("forward", "backward", "setup_context") if n in vars(owner)]
            methods = {n: staticmethod(self.call(getattr(owner, n))) for n in names}
            self._classes[owner] = type(owner.__name__, (owner,), methods)
        return self._classes[owner]

    def _copy(self, function: FunctionType) -> FunctionType:
        if function.__code__.co_filename.startswith(f"{OURS}/_kernels/"):
            original = getattr(function, "__wrapped__", None)
            return self.call(original) if original else function
        if is_foreign(function):
            return function
        try:
            return self.rewritten(function)
        except CannotRewriteError as error:
            self.opaque.append(str(error))
            return function

    def rewritten(self, function: FunctionType) -> FunctionType:
        """The copy of one function.  CannotRewriteError says why there is none."""
        code = function.__code__
        if code not in self._makers:
            self._makers[code] = self._maker(function)
        try:
            cells = [cell.cell_contents for cell in function.__closure__ or ()]
        except ValueError:
            raise CannotRewriteError(
                f"{function.__qualname__}: expected variables that are set, found one that is not"
            ) from None
        made = self._makers[code](self, *cells)
        made.__defaults__, made.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
        made.__dict__.update(function.__dict__)
        return made

    def _maker(self, function: FunctionType) -> Callable[..., FunctionType]:
        """A function that takes the hooks and the free variables, and returns the copy."""
        code, name = function.__code__, function.__qualname__
        tree = _definition(code)
        if tree is None:
            raise CannotRewriteError(f"{name}: expected its source, found none")
        outer = [n for part in ast.walk(tree) if isinstance(part, ast.Nonlocal) for n in part.names]
        if set(outer) & set(code.co_freevars):
            raise CannotRewriteError(
                f"{name}: expected variables of its own, found one that it changes around it"
            )
        passed = _Rewriting(self, code).whole(tree)
        maker = _function("_minillm_maker", *(HOOKS, *code.co_freevars))
        maker.body = [passed, ast.Return(_load(passed.name))]
        module = ast.fix_missing_locations(ast.Module([maker], []))
        made: dict[str, Any] = {}
        compiled = compile(module, code.co_filename, "exec", dont_inherit=True)
        exec(compiled, function.__globals__, made)
        return made["_minillm_maker"]


def is_foreign(function: FunctionType) -> bool:
    """Whether a function is Python's own, or a library's."""
    if function.__module__ and function.__module__.partition(".")[0] == "minillm":
        return False
    return function.__code__.co_filename.startswith(FOREIGN)


@functools.lru_cache(maxsize=64)
def _functions(file: str, source: str) -> dict[tuple[str, int], list[Any]]:
    """The trees of the functions and lambdas of a file, by name and first line."""
    found: dict[tuple[str, int], list[Any]] = {}
    for node in ast.walk(ast.parse(source, file)):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            decorators = getattr(node, "decorator_list", [])
            first = min(part.lineno for part in (node, *decorators))
            found.setdefault((getattr(node, "name", "<lambda>"), first), []).append(node)
    return found


def _definition(code: CodeType) -> Any:
    """A copy of the tree of a function or a lambda, or None."""
    linecache.checkcache(code.co_filename)
    module = sys.modules.get("__main__") if code.co_filename == "<stdin>" else None
    lines = linecache.getlines(code.co_filename, vars(module) if module else None)
    try:
        functions = _functions(code.co_filename, "".join(lines))
    except (SyntaxError, ValueError):
        return None
    found = functions.get((code.co_name, code.co_firstlineno), [])
    if len(found) > 1:  # lambdas of one line: the columns of their code tell them apart
        places = {(line, column) for line, _, column, _ in code.co_positions() if line and column}
        found = [n for n in found if (n.body.lineno, n.body.col_offset) in places]
    return _copied(found[0]) if len(found) == 1 else None


def _copied(node: Any) -> Any:
    """A copy of a tree."""
    if isinstance(node, ast.AST):
        made = type(node)(**{name: _copied(part) for name, part in ast.iter_fields(node)})
        return ast.copy_location(made, node)
    return [_copied(part) for part in node] if isinstance(node, list) else node


def _function(name: str, *arguments: str) -> ast.FunctionDef:
    """An empty function."""
    return cast(ast.FunctionDef, ast.parse(f"def {name}({', '.join(arguments)}): pass").body[0])


def _load(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _loaded(target: ast.expr) -> ast.expr:
    """A copy of the target of an assignment, as an expression."""
    loaded = _copied(target)
    for part in ast.walk(loaded):
        if hasattr(part, "ctx"):
            part.ctx = ast.Load()
    return loaded


class _Rewriting(ast.NodeTransformer):
    """Puts the hooks into a function's tree."""

    def __init__(self, hooks: Hooks, code: CodeType) -> None:
        self.hooks, self.code, self.file = hooks, code, code.co_filename
        self.is_door, self.function = self.file.startswith(DOORS), 0
        self.light = self.is_door  # whether only values pass through hooks
        self.bound: list[tuple[int, str]] = []  # the variables that were set, with their functions
        self.class_name = next(
            (part for part in reversed(code.co_qualname.split(".")[:-1]) if part[0] != "<"), ""
        )

    def whole(self, tree: Any) -> ast.FunctionDef:
        """The function with its hooks, without decorators and defaults, which are known."""
        if isinstance(tree, ast.Lambda):
            made = ast.copy_location(_function("_minillm_lambda"), tree)
            made.args = tree.args
            made.body = [ast.copy_location(ast.Return(tree.body), tree.body)]
            tree = made
        tree.decorator_list = []
        # Only their number counts: the copy gets the values of the original.
        tree.args.defaults = [ast.Constant(None) for _ in tree.args.defaults]
        tree.args.kw_defaults = [d and ast.Constant(None) for d in tree.args.kw_defaults]
        return self.visit_FunctionDef(tree)

    # --- functions ------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        before = self.function, self.light
        self._enter(node)
        node.returns = None
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for argument in arguments:
            argument.annotation = None
        for rest in filter(None, (node.args.vararg, node.args.kwarg)):
            rest.annotation = None
        node.args.defaults = [self.visit(default) for default in node.args.defaults]
        entry = [] if self.light else [self._entry(node, argument) for argument in arguments]
        node.body = [*entry, *self._block(node.body)]
        self.function, self.light = before
        return node

    def _enter(self, node: Any) -> None:
        self.hooks.around.append(self.function)
        self.hooks.places.append((self.file, node.lineno))
        self.function = len(self.hooks.around) - 1
        lean = self.hooks.lean
        self.light = self.is_door or (lean is not None and (self.file, node.lineno) not in lean)

    def _entry(self, function: ast.FunctionDef, argument: ast.arg) -> ast.stmt:
        """A parameter is a node of the forward, too: x = hooks.node(3, x)."""
        loaded = ast.copy_location(_load(argument.arg), argument)
        value = self._node(loaded, argument.arg)
        stored = ast.Name(argument.arg, ast.Store())
        return ast.copy_location(ast.Assign([stored], value), argument)

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        for argument in (*node.args.posonlyargs, *node.args.args):
            argument.annotation = None
        returned = ast.copy_location(ast.Return(node.body), node.body)
        before = self.function, self.light
        self._enter(node)
        node.body = self._value(node.body, returned, ())
        self.function, self.light = before
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return node  # its methods are copied when they are called

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        return node

    # --- statements -----------------------------------------------------------------------

    def _block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        for statement in statements:
            if not self.light and not isinstance(statement, (ast.Global, ast.Nonlocal)):
                number = self._number(statement, (), False)
                begin = self._hook("at", ast.Constant(number))
                made.append(ast.copy_location(ast.Expr(begin), statement))
            changed = self.visit(statement)
            made.extend(changed if isinstance(changed, list) else [changed])
        return made

    def generic_visit(self, node: Any) -> Any:
        for name, part in ast.iter_fields(node):
            if isinstance(part, list) and part and isinstance(part[0], ast.stmt):
                setattr(node, name, self._block(part))
            elif isinstance(part, list):
                setattr(node, name, [self.visit(p) if isinstance(p, ast.AST) else p for p in part])
            elif isinstance(part, ast.AST):
                setattr(node, name, self.visit(part))
        return node

    def visit_Assign(self, node: ast.Assign) -> Any:
        targets = tuple(_names(node.targets[0]))
        self._mangle(node.targets)
        node.value = self._value(node.value, node, targets)
        self.bound += [(self.function, name) for t in node.targets for name in _names(t)]
        return self._stored(node, node.targets)

    def _stored(self, node: Any, targets: list[ast.expr]) -> Any:
        """After a[:, t] = value, the whole of a is a value of the statement as well."""
        bases = [t.value for t in targets if isinstance(t, ast.Subscript)]
        if self.is_door or not bases:
            return node
        number = self._number(node, (), False)
        after = self._hook("arrays", ast.Constant(number), *map(_loaded, bases))
        return [node, ast.copy_location(ast.Expr(after), node)]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return node
        made = ast.copy_location(ast.Assign([node.target], node.value), node)
        return self.visit_Assign(made)

    def visit_Return(self, node: ast.Return) -> Any:
        if node.value is not None:
            node.value = self._value(node.value, node, ())
        return node

    def visit_NamedExpr(self, node: ast.NamedExpr) -> Any:
        node.value = self._value(node.value, node, (node.target.id,))
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        """x += value is done as it is; then x is a value as well."""
        targets = tuple(_names(node.target))
        self._mangle([node.target])
        after = None if self.is_door else self._number(node, targets, False)
        self.bound += [(self.function, name) for name in targets]
        additive = isinstance(node.op, (ast.Add, ast.Sub))
        node.value = self._value(node.value, node, ()) if additive else self.visit(node.value)
        if after is None:
            return node
        if isinstance(node.target, ast.Subscript):
            return self._stored(node, [node.target])
        total = self._hook("value", ast.Constant(after), _loaded(node.target))
        return [node, ast.copy_location(ast.Assign([_copied(node.target)], total), node)]

    def visit_Expr(self, node: ast.Expr) -> Any:
        """A call for its effect: the arrays that it is given may change."""
        if not isinstance(node.value, ast.Call) or self.is_door:
            return self.generic_visit(node)
        number = self._number(node, (), False)
        names = sorted({n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)})
        function = node.value.func
        roots = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
        given = [n for n in names if n not in roots or isinstance(function, ast.Attribute)]
        node.value.args = [
            a if isinstance(a, (ast.Name, ast.Constant, ast.Starred)) else self._value(a, node, ())
            for a in node.value.args
        ]
        node.value.func = self._called(function)
        node.value.keywords = [self.visit(keyword) for keyword in node.value.keywords]
        before, after = (
            ast.copy_location(
                ast.Expr(self._hook(hook, ast.Constant(number), *map(_load, given))), node
            )
            for hook in ("before", "arrays")
        )
        return [before, node, after]

    # --- expressions ----------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id in ("super", "locals", "globals"):
            return node
        node.func = self._called(node.func)
        node.args = [self.visit(argument) for argument in node.args]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        return self._node(node)

    def _called(self, function: ast.expr) -> ast.expr:
        if isinstance(function, ast.Attribute):
            function.value = self.visit(function.value)
            function.attr = self._mangled(function.attr)
        elif not isinstance(function, ast.Name):
            function = self.visit(function)
        return ast.copy_location(self._hook("call", function), function)

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        node.attr = self._mangled(node.attr)
        node.value = self.visit(node.value)
        return self._node(node) if isinstance(node.ctx, ast.Load) else node

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        node.value, node.slice = self.visit(node.value), self.visit(node.slice)
        return self._node(node) if isinstance(node.ctx, ast.Load) else node

    def visit_Name(self, node: ast.Name) -> Any:
        if isinstance(node.ctx, ast.Store):  # of a loop
            self.bound.append((self.function, node.id))
        return self._node(node) if isinstance(node.ctx, ast.Load) else node

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        node.left, node.right = self.visit(node.left), self.visit(node.right)
        return self._node(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        node.operand = self.visit(node.operand)
        return node if isinstance(node.operand, ast.Constant) else self._node(node)

    def _node(self, expression: ast.expr, name: str = "") -> ast.expr:
        if self.light:
            return expression
        reads = -1
        if not name and isinstance(expression, ast.Name):
            name = expression.id
            reads = self.bound.count((self.function, name))
        self.hooks.nodes.append(Node(name, expression.lineno, self.function, reads))
        number = ast.Constant(len(self.hooks.nodes) - 1)
        return ast.copy_location(self._hook("node", number, expression), expression)

    def _value(self, value: ast.expr, statement: Any, targets: tuple[str, ...]) -> ast.expr:
        if self.is_door:
            return self.visit(value)
        parts = value.elts if isinstance(value, ast.Tuple) else [value]
        passes = all(isinstance(part, (ast.Name, ast.Constant)) for part in parts)
        number = self._number(statement, targets, passes)
        self.hooks.sources[number] = _copied(value)
        made = self.visit(value)
        if made is not value and len(targets) == 1 and targets[0]:  # a node that has a name
            self.hooks.nodes[-1] = self.hooks.nodes[-1]._replace(name=targets[0], reads=-1)
        return ast.copy_location(self._hook("value", ast.Constant(number), made), value)

    def _number(self, node: Any, targets: tuple[str, ...], passes: bool) -> int:
        lines = linecache.getlines(self.file)[node.lineno - 1 : node.end_lineno]
        is_block = isinstance(node, ast.Match) or isinstance(getattr(node, "body", None), list)
        lines = lines[:1] if is_block else lines
        text, end = " ".join(line.strip() for line in lines), node.lineno + max(0, len(lines) - 1)
        statement = Statement(self.file, node.lineno, end, text, targets, passes, self.function)
        self.hooks.statements.append(statement)
        return len(self.hooks.statements) - 1

    def _hook(self, name: str, *arguments: ast.expr) -> ast.Call:
        hooks = ast.Name(HOOKS, ast.Load())
        return ast.Call(ast.Attribute(hooks, name, ast.Load()), list(arguments), [])

    def _mangle(self, targets: list[ast.expr]) -> None:
        for part in (part for target in targets for part in ast.walk(target)):
            if isinstance(part, ast.Attribute):
                part.attr = self._mangled(part.attr)

    def _mangled(self, name: str) -> str:
        """A private name, such as ``self.__W``, as Python writes it in a class."""
        if name.startswith("__") and not name.endswith("__") and self.class_name:
            return f"_{self.class_name.lstrip('_')}{name}"
        return name


def _names(target: ast.expr) -> list[str]:
    """The names that are assigned, in order: of a[:, t], a."""
    if isinstance(target, (ast.Tuple, ast.List)):
        return [name for part in target.elts for name in _names(part)]
    while isinstance(target, (ast.Subscript, ast.Starred)):
        target = target.value
    if isinstance(target, ast.Attribute):
        return [target.attr]
    return [target.id] if isinstance(target, ast.Name) else [""]


def as_array(value: Any) -> Any:
    """An array or number of floats or truths, or a tensor of PyTorch, as an array; else None."""
    if isinstance(value, float):
        return np.asarray(value)
    if is_tensor(value):
        value = value.detach().numpy()
    known = isinstance(value, (np.ndarray, np.floating)) and value.dtype.kind in "fb"
    return np.asarray(value) if known else None


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of PyTorch."""
    return type(value).__module__ == "torch" and type(value).__name__ in ("Tensor", "Parameter")
