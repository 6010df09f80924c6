"""The house rules that neither ruff, mypy nor import-linter can say. Each takes a source text and names its faults.

A fault reads "line 12: what is wrong". test_house_rules.py holds every rule to the tree, and proves on a small bad
example that it bites.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60

BANNED_MODULES = frozenset(
    {
        *(
            "asyncio",
            "concurrent",
            "multiprocessing",
            "select",
            "selectors",
            "signal",
            "subprocess",
            "threading",
        ),
        *("datetime", "time"),
        *("random", "secrets", "uuid"),
        *("logging", "os", "socket", "ssl", "tempfile"),
    }
)
BANNED_CALLS = {
    "id": "an address differs from run to run",
    "hash": "a string's hash differs from process to process",
}
MUTABLE_CALLS = frozenset(
    {"dict", "list", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}
)
# What reads its argument in order; `sorted`, `len`, `min`, `sum` and the like do not mind.
ORDERED_READERS = frozenset(
    {"list", "tuple", "enumerate", "iter", "zip", "map", "filter", "reversed", "deque"}
)

Rule = Callable[[str], list[str]]


@lru_cache(maxsize=2_000)
def parsed(source: str) -> ast.Module:
    """Each file is read once, however many rules look at it; none of them changes what it reads."""
    return ast.parse(source)


def banned_imports(source: str) -> list[str]:
    """Unlike import-linter this also names the line, and sees an import that only types need."""
    faults = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        banned = [name for name in names if name.partition(".")[0] in BANNED_MODULES]
        faults += [f"line {node.lineno}: imports {name}" for name in banned]
    return faults


def coroutines(source: str) -> list[str]:
    """What decides never waits."""
    return [
        f"line {node.lineno}: waits"
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await)
    ]


def unstable_calls(source: str) -> list[str]:
    return [
        f"line {node.lineno}: calls {name}(): {BANNED_CALLS[name]}"
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Call) and (name := _name(node.func)) in BANNED_CALLS
    ]


def set_iteration(source: str) -> list[str]:
    """The order of a set of strings depends on PYTHONHASHSEED; sort it first."""
    faults = []
    for node in ast.walk(parsed(source)):
        read: list[ast.expr] = []
        if isinstance(node, ast.For | ast.comprehension):
            read = [node.iter]
        elif isinstance(node, ast.Starred):
            read = [node.value]
        elif isinstance(node, ast.Call):
            joins = isinstance(node.func, ast.Attribute) and node.func.attr in {"join", "extend"}
            if joins or _name(node.func) in ORDERED_READERS:
                read = node.args
        faults += [f"line {found.lineno}: reads a set in its own order" for found in read if _is_set(found)]
    return faults


def unbounded_deques(source: str) -> list[str]:
    """Every deque has a maxlen, or a `# bounded:` comment (on its line or just above) that says what bounds it."""
    lines = source.splitlines()
    return [
        f"line {node.lineno}: a deque without maxlen and without a `# bounded:` comment"
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Call)
        and _last_name(node.func) == "deque"
        and len(node.args) < 2
        and not any(keyword.arg == "maxlen" for keyword in node.keywords)
        and not any("# bounded:" in line for line in lines[max(node.lineno - 2, 0) : node.end_lineno])
    ]


def module_state(source: str) -> list[str]:
    """A module-level container is a constant: ALL_CAPS, and annotated Final, Mapping, Sequence or the like.

    `global` is refused everywhere.
    """
    tree = parsed(source)
    faults = [f"line {node.lineno}: global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets, annotation = node.targets, ""
        elif isinstance(node, ast.AnnAssign):
            targets, annotation = [node.target], ast.unparse(node.annotation)
        else:
            continue
        name = ast.unparse(targets[0])
        if name == "__all__" or node.value is None or not _is_mutable(node.value):
            continue
        frozen = re.search(r"\b(Final|Mapping|Sequence|Collection|AbstractSet|Set)\b", annotation)
        if not (re.fullmatch(r"_?[A-Z][A-Z0-9_]*", name) and frozen):
            faults.append(
                f"line {node.lineno}: {name} is mutable module state; constants are NAME: Final = ..."
            )
    return faults


def long_file(source: str) -> list[str]:
    """Docstrings and tables are not counted: they are read, not followed."""
    count = len(source.splitlines()) - _uncounted(parsed(source))
    return [f"line 1: {count} lines, more than {FILE_LINES_MAX}"] if count > FILE_LINES_MAX else []


def long_functions(source: str) -> list[str]:
    faults = []
    for node in _functions(parsed(source)):
        count = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
        if count > FUNCTION_LINES_MAX:
            faults.append(
                f"line {node.lineno}: {node.name} has {count} lines, more than {FUNCTION_LINES_MAX}"
            )
    return faults


PURE_RULES: dict[str, Rule] = {
    "imports": banned_imports,
    "coroutines": coroutines,
    "unstable calls": unstable_calls,
    "set iteration": set_iteration,
    "deques": unbounded_deques,
}
SOURCE_RULES: dict[str, Rule] = {
    "module state": module_state,
    "file size": long_file,
    "function size": long_functions,
}


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else _name(node)


def _is_set(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
        return _is_set(node.left) or _is_set(node.right)
    if isinstance(node, ast.Call):
        return _name(node.func) in {"set", "frozenset"}
    return isinstance(node, ast.Set | ast.SetComp)


def _is_mutable(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return _last_name(node.func) in MUTABLE_CALLS
    return isinstance(node, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _uncounted(tree: ast.Module) -> int:
    documented = [node for node in ast.walk(tree) if isinstance(node, Function | ast.ClassDef | ast.Module)]
    tables = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return sum(map(_docstring_lines, documented)) + sum((t.end_lineno or t.lineno) - t.lineno for t in tables)


def _docstring_lines(node: Function | ast.ClassDef | ast.Module) -> int:
    if ast.get_docstring(node, clean=False) is None:
        return 0
    first = node.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1
