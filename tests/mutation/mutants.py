"""Mutants of a module: every small change of its syntax tree that a test should notice.

What is changed is what decides: conditions, operators, constants, what a function gives back, statements with an
effect, entries of tables. Not changed are messages, annotations, decorators and imports. A condition is not
negated but set to True and to False, which asks for more: a case for each branch, not one for both.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SWAPS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_FUNCTIONS: Final = {"any": "all", "all": "any", "startswith": "endswith", "endswith": "startswith"}
_PASSING: Final = {"lower", "strip", "removeprefix", "removesuffix"}
"""Methods whose receiver may stand for their answer."""
_ON_TEXT: Final = {
    "startswith",
    "endswith",
    "partition",
    "rpartition",
    "split",
    "removeprefix",
    "removesuffix",
}
_UNTOUCHED: Final = {"annotation", "returns", "decorator_list", "bases"}
_BOOLEAN: Final = (ast.Compare, ast.BoolOp)
GONE: Final = "nothing"
Key = tuple[str, str, str]
"""What names a mutant: file, place, change."""


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change of one module.

    Attributes:
        file: the module's path below the package.
        where: the function, class or table that it is in.
        was: the changed source; `becomes` what stands there instead.
        nth: which of several such places in `where`, from 1.
    """

    file: str
    where: str
    was: str
    becomes: str
    nth: int
    tree: ast.Module
    parent: ast.AST
    field: str
    index: int | None
    replacement: ast.AST

    @property
    def key(self) -> Key:
        """What names the mutant as long as its source stays."""
        again = f" ({self.nth})" if self.nth > 1 else ""
        return self.file, self.where, f"{self.was} -> {self.becomes}{again}"

    def __str__(self) -> str:
        return ": ".join(self.key)

    def apply(self) -> ast.Module:
        """Change the tree, for good: a process that did so tries no other mutant of it."""
        if self.index is None:
            setattr(self.parent, self.field, self.replacement)
        else:
            getattr(self.parent, self.field)[self.index] = self.replacement
        return ast.fix_missing_locations(self.tree)


@dataclass(frozen=True)
class _Change:
    was: str
    becomes: str
    replacement: ast.AST


def mutants(path: Path, file: str) -> list[Mutant]:
    """List the mutants of a module, in the order of its source."""
    tree = ast.parse(path.read_text())
    _Marking().visit(tree)
    seen: Counter[tuple[str, str, str]] = Counter()
    found: list[Mutant] = []
    for where, parent, field, index, change in _walk(tree, ()):
        key = (where, change.was, change.becomes)
        seen[key] += 1
        found.append(
            Mutant(file, *key, seen[key], tree, parent, field, index, change.replacement),
        )
    return found


class _Answer(ast.Return):
    """What a function that says yes or no gives back."""


class _Marking(ast.NodeTransformer):
    """Tells the returns of functions that say yes or no from others."""

    def __init__(self) -> None:
        self._boolean = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        outer, self._boolean = self._boolean, node.returns is not None and ast.unparse(node.returns) == "bool"
        self.generic_visit(node)
        self._boolean = outer
        return node

    def visit_Return(self, node: ast.Return) -> ast.Return:
        return ast.copy_location(_Answer(node.value), node) if self._boolean else node


Place = tuple[str, ast.AST, str, int | None, _Change]


def _walk(node: ast.AST, scope: tuple[str, ...]) -> Iterator[Place]:
    for field, index, child in _children(node):
        inner = _scope(child, scope)
        for change in _changes(node, field, child, scope):
            yield ".".join(inner or ("module",)), node, field, index, change
        yield from _walk(child, inner)


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    for field, value in ast.iter_fields(node):
        if field in _UNTOUCHED or (isinstance(node, ast.ClassDef) and field == "keywords"):
            continue
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in items:
            if isinstance(child, ast.AST) and not _is_still(child):
                yield field, index, child


def _is_still(node: ast.AST) -> bool:
    """Whether nothing in a node decides: imports, docstrings, messages, aliases of types."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp | ast.Subscript):
        return any(isinstance(target, ast.Name) and target.id[:1].isupper() for target in node.targets)
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    return isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr)


def _scope(node: ast.AST, scope: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return (*scope, node.name)
    if not scope and isinstance(node, ast.Assign | ast.AnnAssign):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        return (ast.unparse(target),)
    return scope


def _changes(parent: ast.AST, field: str, node: ast.AST, scope: tuple[str, ...]) -> Iterator[_Change]:
    if field in {"test", "ifs"} and not isinstance(node, ast.Constant):
        yield from (_swap(node, ast.Constant(value)) for value in (True, False))
    if field == "iter" and isinstance(parent, ast.For):
        yield _swap(node, ast.Tuple([], ast.Load()))
    if field == "body" and isinstance(parent, ast.Lambda):
        yield from _answers(node, boolean=isinstance(node, _BOOLEAN))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    match node:
        case ast.stmt():
            yield from _statements(node, scope)
        case ast.ExceptHandler():
            yield _Change(ast.unparse(node).partition("\n")[0], "raise", _handler(node))
        case ast.MatchOr():
            yield from (_without(node, "patterns", n) for n in range(len(node.patterns)))
        case ast.Constant():
            yield from _constants(parent, node)
        case ast.expr():
            yield from _expressions(parent, node)


def _swap(node: ast.AST, replacement: ast.AST) -> _Change:
    text = ast.unparse(ast.fix_missing_locations(ast.copy_location(replacement, node)))
    return _Change(ast.unparse(node), text, replacement)


def _handler(node: ast.ExceptHandler) -> ast.ExceptHandler:
    return ast.copy_location(ast.ExceptHandler(node.type, node.name, [ast.Raise()]), node)


def _answers(node: ast.AST, *, boolean: bool) -> Iterator[_Change]:
    if boolean:
        yield from (_swap(node, ast.Constant(value)) for value in (True, False))
    elif not isinstance(node, ast.Constant):
        yield _swap(node, ast.Constant(None))


def _statements(node: ast.stmt, scope: tuple[str, ...]) -> Iterator[_Change]:
    match node:
        case (
            ast.Return(value=None) | ast.Raise() | ast.Continue() | ast.Break() | ast.Expr() | ast.AugAssign()
        ):
            yield _swap(node, ast.Pass())
        case ast.Delete():
            yield _swap(node, ast.Pass())
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]) if scope[-1:] != ("__init__",):
            yield _swap(node, ast.Pass())
        case ast.Match():
            for number, case in enumerate(node.cases):
                fewer = [*node.cases[:number], *node.cases[number + 1 :]]
                if fewer:
                    yield _Change(f"case {ast.unparse(case.pattern)}", GONE, ast.Match(node.subject, fewer))


def _constants(parent: ast.AST, node: ast.Constant) -> Iterator[_Change]:
    value = node.value
    if isinstance(value, bool):
        yield _in(parent, node, ast.Constant(not value))
    elif isinstance(value, int | float):
        yield from (_in(parent, node, ast.Constant(value + step)) for step in (1, -1))
    elif isinstance(value, str) and _decides(parent):
        yield _in(parent, node, ast.Constant(f"§{value}"))


def _in(parent: ast.AST, node: ast.Constant, replacement: ast.Constant) -> _Change:
    """Name the parameter, too, where a constant is one."""
    change = _swap(node, replacement)
    if not isinstance(parent, ast.keyword):
        return change
    return _Change(f"{parent.arg}={change.was}", f"{parent.arg}={change.becomes}", replacement)


def _decides(parent: ast.AST) -> bool:
    """Whether a text's place is one where it is compared."""
    if isinstance(parent, ast.Call):
        return isinstance(parent.func, ast.Attribute) and parent.func.attr in _ON_TEXT
    return isinstance(parent, ast.Compare)


def _expressions(parent: ast.AST, node: ast.expr) -> Iterator[_Change]:
    if isinstance(parent, ast.Return):
        yield from _returned(parent, node)
    match node:
        case ast.BoolOp():
            other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
            yield _swap(node, ast.BoolOp(other, node.values))
            yield from (_without(node, "values", n) for n in range(len(node.values)))
        case ast.UnaryOp(op=ast.Not()):
            yield _swap(node, node.operand)
        case ast.Compare():
            yield from _compared(node)
        case ast.BinOp():
            yield from _computed(node)
        case ast.Call():
            yield from _called(node)
        case ast.Dict():
            yield from _entries(node)
        case ast.Set() | ast.List() | ast.Tuple():
            if _is_table(parent, node):
                yield from (_without(node, "elts", n) for n in range(len(node.elts)))


def _entries(node: ast.Dict) -> Iterator[_Change]:
    for number, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
        text = f"{ast.unparse(key)}: {ast.unparse(value)}" if key else f"**{ast.unparse(value)}"
        keys, values = list(node.keys), list(node.values)
        del keys[number], values[number]
        yield _Change(text, GONE, ast.Dict(keys, values))


def _returned(parent: ast.Return, node: ast.expr) -> Iterator[_Change]:
    boolean = isinstance(parent, _Answer) or isinstance(node, _BOOLEAN)
    for change in _answers(node, boolean=boolean):
        yield _Change(f"return {change.was}", f"return {change.becomes}", change.replacement)


def _without(node: ast.AST, field: str, number: int) -> _Change:
    """Leave out one of several; where one is left of an operation, that one stands alone."""
    items = getattr(node, field)
    rest = [*items[:number], *items[number + 1 :]]
    copy = type(node)(**dict(ast.iter_fields(node)) | {field: rest})
    if isinstance(node, ast.Set) and not rest:
        copy = ast.Call(ast.Name("set", ast.Load()), [], [])
    alone = len(rest) == 1 and isinstance(node, ast.BoolOp | ast.MatchOr)
    whole = ast.unparse(node)
    was = ast.unparse(items[number])
    if isinstance(node, ast.BoolOp):
        return _Change(f"{was} in {whole}", GONE, rest[0] if alone else copy)
    return _Change(was, GONE, rest[0] if alone else copy)


def _compared(node: ast.Compare) -> Iterator[_Change]:
    for number, operation in enumerate(node.ops):
        for other in _SWAPS[type(operation)]:
            operations = [*node.ops[:number], other(), *node.ops[number + 1 :]]
            yield _swap(node, ast.Compare(node.left, operations, node.comparators))


def _computed(node: ast.BinOp) -> Iterator[_Change]:
    match node.op:
        case ast.BitOr() | ast.BitAnd():
            yield from (_swap(node, side) for side in (node.left, node.right))
        case ast.Sub():
            yield _swap(node, node.left)
            yield _swap(node, ast.BinOp(node.left, ast.Add(), node.right))
        case ast.Add():
            yield _swap(node, ast.BinOp(node.left, ast.Sub(), node.right))


def _called(node: ast.Call) -> Iterator[_Change]:
    match node.func:
        case ast.Name(id=name) if name in _FUNCTIONS:
            yield _swap(node, ast.Call(ast.Name(_FUNCTIONS[name], ast.Load()), node.args, node.keywords))
        case ast.Name(id="sorted"):
            yield _swap(node, node.args[0])
        case ast.Attribute(value=value, attr=name) if name in _FUNCTIONS:
            other = ast.Attribute(value, _FUNCTIONS[name], ast.Load())
            yield _swap(node, ast.Call(other, node.args, node.keywords))
        case ast.Attribute(value=value, attr=name) if name in _PASSING:
            yield _swap(node, value)


def _is_table(parent: ast.AST, node: ast.Set | ast.List | ast.Tuple) -> bool:
    """Whether leaving out an element leaves something of the same meaning: no pair, no target."""
    if not isinstance(node, ast.Tuple):
        return not isinstance(node, ast.List) or isinstance(node.ctx, ast.Load)
    return isinstance(node.ctx, ast.Load) and not isinstance(
        parent, ast.Return | ast.Assign | ast.Yield | ast.Subscript | ast.comprehension
    )
