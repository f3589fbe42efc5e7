"""What Python code does, apart from how it is written: the input of the code digest.

Left out are comments, layout and positions; standalone strings, such as docstrings; and messages: the strings passed to
``raise``, ``assert``, log calls, and functions of modules that cannot change a result, with the values formatted into
them. Everything else stays: conditions, exception types, constants, defaults, decorators, and annotations, which
dataclasses read.
"""

import ast
from collections.abc import Callable
from typing import TypeGuard

_LOG_CALLS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
_EFFECTS = (ast.Call, ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
_PARTS_OF_TEXTS = (ast.BinOp, ast.IfExp, ast.BoolOp, ast.Starred, ast.Tuple, ast.keyword)


def meaning(tree: ast.Module, cannot_matter: Callable[[str], bool]) -> str:
    """Canonical text of a module, the same for all ways to write the same behaviour.

    It is built from the tree's fields, not by ``ast.dump`` or ``ast.unparse``, whose output differs between versions of
    Python.

    Args:
        tree: The module.
        cannot_matter: Takes a module's full name; true if nothing in the module can change a result.
    """
    return _Writer(tree, cannot_matter).node(tree)


class _Writer:
    def __init__(self, tree: ast.Module, cannot_matter: Callable[[str], bool]):
        self._cannot_matter = cannot_matter
        # Names that this module imports from modules that cannot matter.
        self._harmless = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and self._is_harmless_import(node)
            for alias in node.names
        }

    def node(self, node: ast.AST) -> str:
        """The text of a node."""
        if isinstance(node, ast.Raise):
            return f"Raise({self._raised(node.exc)})"  # the cause is only shown, never used
        if isinstance(node, ast.Assert):
            return f"Assert({self.node(node.test)})"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self._harmless:
            return self._with_words(node)
        return self._of(node, self.node)

    def _of(self, node: ast.AST, write: Callable[[ast.AST], str]) -> str:
        """A node's type and fields, rendered by ``write``; without empty fields, which differ between Pythons."""
        fields = [
            f"{name}={self._value(field, type(node), write)}"
            for name, field in ast.iter_fields(node)
            if name not in ("kind", "type_comment") and field is not None and field != []
        ]
        return f"{type(node).__name__}({','.join(fields)})"

    def _value(self, value: object, within: type, write: Callable[[ast.AST], str]) -> str:
        if isinstance(value, list):
            return f"[{','.join(text for item in value for text in self._item(item, within, write))}]"
        return write(value) if isinstance(value, ast.AST) else repr(value)

    def _item(self, item: object, within: type, write: Callable[[ast.AST], str]) -> list[str]:
        """One item of a list of nodes; of a log call, only the calls that compute its arguments."""
        if isinstance(item, ast.ImportFrom) and self._is_harmless_import(item):
            return []
        if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
            return []
        if within is ast.JoinedStr and isinstance(item, ast.Constant) and item.value == "":
            return []  # Python 3.12 inserts empty strings
        if isinstance(item, ast.Expr) and _is_log_call(item.value):
            return [self.node(call) for call in _effects([*item.value.args, *item.value.keywords])]
        return [self._value(item, within, write)]

    def _with_words(self, node: ast.Call) -> str:
        """A call whose strings are only messages; other arguments count, and so do calls inside the strings."""
        given = [*node.args, *node.keywords]
        return f"Call({self.node(node.func)},{','.join(self._argument(argument) for argument in given)})"

    def _argument(self, node: ast.AST) -> str:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return f"words({','.join(map(self.node, _effects([node])))})"
        return self._of(node, self._argument) if isinstance(node, _PARTS_OF_TEXTS) else self.node(node)

    def _raised(self, node: ast.AST | None) -> str:
        """An error without its message: nothing computed for the message can matter, as the function ends here."""
        if not isinstance(node, ast.Call):
            return "" if node is None else self.node(node)
        given = [argument for argument in [*node.args, *node.keywords] if not _is_text(argument)]
        return f"Call({self.node(node.func)},{','.join(map(self.node, given))})"

    def _is_harmless_import(self, node: ast.ImportFrom) -> bool:
        return not node.level and self._cannot_matter(node.module or "")


def _is_log_call(node: ast.AST) -> TypeGuard[ast.Call]:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("logger", "logging")
        and node.func.attr in _LOG_CALLS
    )


def _is_text(node: ast.AST) -> bool:
    """Whether a value is surely a string: a literal, an expression of literals, or the result of a method of one."""
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _is_text(node.func.value)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _effects(nodes: list) -> list[ast.AST]:
    """The outermost calls that compute parts of a message, as these may have side effects."""
    found: list[ast.AST] = []
    for node in nodes:
        found += [node] if isinstance(node, _EFFECTS) else _effects(list(ast.iter_child_nodes(node)))
    return found
