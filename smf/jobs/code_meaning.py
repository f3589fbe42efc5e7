"""What Python code does, without how it is written: what a digest of code is made of.

Left out are comments, layout and positions; texts that stand alone, such as docstrings; and words: the texts given to
``raise``, ``assert``, log calls, and functions of modules that cannot change a result, with the values they fill in.
Everything else stays: conditions, types of errors, constants, defaults, decorators, and annotations, which dataclasses
read.
"""

import ast
from collections.abc import Callable
from typing import TypeGuard

_LOG_CALLS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
_EFFECTS = (ast.Call, ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
_PARTS_OF_TEXTS = (ast.BinOp, ast.IfExp, ast.BoolOp, ast.Starred, ast.Tuple, ast.keyword)


def meaning(tree: ast.Module, cannot_matter: Callable[[str], bool]) -> str:
    """One text for all ways to write a module that does the same.

    It is written from the tree's fields, not by ``ast.dump`` or ``ast.unparse``, whose texts differ from one version of
    Python to the next.

    Args:
        tree: The module.
        cannot_matter: Tells of a module's full name whether nothing in it changes a result.
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
            return f"Raise({self._raised(node.exc)})"  # what it is raised from is told, not used
        if isinstance(node, ast.Assert):
            return f"Assert({self.node(node.test)})"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self._harmless:
            return self._with_words(node)
        return self._of(node, self.node)

    def _of(self, node: ast.AST, write: Callable[[ast.AST], str]) -> str:
        """A node's type and fields, without empty ones, which differ between Pythons; ``write`` gives what is in it."""
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
        """One item of a list of nodes, or what it comes to: of a log line what is computed for it, if anything is."""
        if isinstance(item, ast.ImportFrom) and self._is_harmless_import(item):
            return []
        if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
            return []
        if within is ast.JoinedStr and isinstance(item, ast.Constant) and item.value == "":
            return []  # Python 3.12 puts some in
        if isinstance(item, ast.Expr) and _is_log_call(item.value):
            return [self.node(call) for call in _effects([*item.value.args, *item.value.keywords])]
        return [self._value(item, within, write)]

    def _with_words(self, node: ast.Call) -> str:
        """A call whose texts are words; what it is given beside texts counts, and what is computed for them."""
        given = [*node.args, *node.keywords]
        return f"Call({self.node(node.func)},{','.join(self._argument(argument) for argument in given)})"

    def _argument(self, node: ast.AST) -> str:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return f"words({','.join(map(self.node, _effects([node])))})"
        return self._of(node, self._argument) if isinstance(node, _PARTS_OF_TEXTS) else self.node(node)

    def _raised(self, node: ast.AST | None) -> str:
        """An error without its texts: nothing that is computed for them can matter, as the function ends here."""
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
    """Whether a value is surely a text: written there, put together of such, or made by a method of one."""
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _is_text(node.func.value)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _effects(nodes: list) -> list[ast.AST]:
    """What is computed for a text and might do more than that, the outermost calls."""
    found: list[ast.AST] = []
    for node in nodes:
        found += [node] if isinstance(node, _EFFECTS) else _effects(list(ast.iter_child_nodes(node)))
    return found
