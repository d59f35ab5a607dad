"""Code hash: what a module computes, as far as its source can tell.

The hash of a root module covers the modules of this package that it imports, directly or not, each as a syntax tree
without comments, docstrings, positions, type-checking imports and the `__main__` block. Formatting a file, or editing a
module that the root does not import, leaves the hash alone.
"""

import ast
import functools
from pathlib import Path
from typing import Any

import yaml

from gendistill.errors import SettingError
from gendistill.plan.canonical import digest
from gendistill.plan.paths import REFACTORINGS, SOURCE

PACKAGE = "gendistill"


def code_hash(root: str) -> str:
    """Hash of `root` (a dotted module name) and all it imports from the package.

    If `workflow/refactorings.yaml` says that this code gives the same results as older code, the older hash.
    """
    own = _own_hash(SOURCE, root)
    equal, seen = _refactorings(REFACTORINGS).get(root, {}), {own}
    while own in equal:
        own = equal[own]["same_as"]
        if own in seen:
            raise SettingError(f"{root}: {own} leads back to itself in workflow/{REFACTORINGS.name}")
        seen.add(own)
    return own


def module_hashes(root: str) -> dict[str, str]:
    """The hash of each module that the code hash of `root` covers, by its dotted name.

    Raises:
        FileNotFoundError: there is no such module.
    """
    return {module: own[:10] for module, own in sorted(_closure(SOURCE, root).items())}


def forget() -> None:
    """Read all code anew, should it have changed since this process began."""
    for known in (_own_hash, _read_module, _refactorings):
        known.cache_clear()


@functools.cache
def _own_hash(source: Path, root: str) -> str:
    """The hash of `root`, whatever older code it may be equal to; a plan of many steps asks for the same one thousands of times."""
    return digest(_closure(source, root))


def _closure(source: Path, root: str) -> dict[str, str]:
    """The full hashes of `root` and of all modules of the package that it imports, directly or not."""
    # Importing a.b.c runs the __init__ of a and of a.b too.
    parts = root.split(".")
    modules, waiting = {}, [".".join(parts[:i]) for i in range(1, len(parts) + 1)]
    while waiting:
        module = waiting.pop()
        if module not in modules:
            modules[module], imports = _read_module(source, module)
            waiting.extend(imports)
    return modules


@functools.cache
def _refactorings(path: Path) -> dict[str, dict[str, dict[str, str]]]:
    return (yaml.safe_load(path.read_text()) if path.exists() else None) or {}


@functools.cache
def _read_module(source: Path, module: str) -> tuple[str, frozenset[str]]:
    """The hash of one module's syntax tree, and the modules of the package that it imports."""
    path = _path(source, module)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not _is_left_out(node)]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names if name.split(".")[0] == PACKAGE]
    imports = {".".join(part[:i]) for part in parts for i in range(1, len(part) + 1)}
    return digest(_tree(tree), 64), frozenset(name for name in imports if _path(source, name).exists())


def _path(source: Path, module: str) -> Path:
    path = source.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _is_left_out(node: ast.stmt) -> bool:
    """Whether `node` is `if TYPE_CHECKING:` or `if __name__ == "__main__":`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")


def _tree(node: Any) -> Any:
    """A syntax tree as nested lists, without docstrings, and without fields that only some Pythons fill."""
    if isinstance(node, ast.AST):
        fields = dict(ast.iter_fields(node))
        documented = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            fields["body"] = node.body[1:]
        kept = [[key, _tree(v)] for key, v in fields.items() if v not in (None, []) and key not in ("kind", "type_comment")]
        return [type(node).__name__, kept]
    if isinstance(node, list):
        return [_tree(item) for item in node]
    return repr(node)
