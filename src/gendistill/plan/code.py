"""Code hash: what a module computes, as far as its source can tell.

The hash of a root module covers the modules of this package that it imports, directly or not, each as a syntax tree
without comments, docstrings, positions, type-checking imports and the `__main__` block. Formatting a file, or editing a
module that the root does not import, leaves the hash alone.
"""

import ast
import functools
import hashlib
import platform
from pathlib import Path
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan import canonical
from gendistill.plan.cache import read_cache, write_cache
from gendistill.plan.canonical import digest
from gendistill.plan.paths import CACHE, REFACTORINGS, SOURCE
from gendistill.yaml_text import read_yaml

PACKAGE = "gendistill"
# What is kept is that of this code, as it was imported, and of this Python.
_ALGORITHM = Path(__file__).read_bytes() + Path(canonical.__file__).read_bytes() + platform.python_version().encode()
CACHE_FILE = CACHE / f"code-{hashlib.sha256(_ALGORITHM).hexdigest()[:16]}.json"


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
    known = len(_modules_known())
    own = digest(_closure(source, root))
    if len(_modules_known()) > known:
        write_cache(CACHE_FILE, _modules_known())
    return own


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
    return (read_yaml(path.read_text()) if path.exists() else None) or {}


@functools.cache
def _read_module(source: Path, module: str) -> tuple[str, frozenset[str]]:
    """The hash of one module's syntax tree, and the modules of the package that it imports."""
    path = _path(source, module)
    content = path.read_bytes()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    key = hashlib.sha256(f"{package}\0".encode() + content).hexdigest()[:20]
    if key not in _modules_known():
        _modules_known()[key] = _parse(content, package)
    own, names = _modules_known()[key]
    return own, frozenset(name for name in names if _path(source, name).exists())


@functools.cache
def _modules_known() -> dict[str, tuple[str, list[str]]]:
    """What `_parse` found, by content: parsing all modules takes most of the time of a small plan."""
    found = read_cache(CACHE_FILE)
    entries = found.items() if isinstance(found, dict) else ()
    return {key: tuple(value) for key, value in entries if isinstance(value, list) and list(map(type, value)) == [str, list]}


def _parse(content: bytes, package: str) -> tuple[str, list[str]]:
    """The hash of a module's syntax tree, and the names in the package that it may import."""
    tree = ast.parse(content)
    tree.body = [node for node in tree.body if not _is_left_out(node)]
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
    return digest(_tree(tree), 64), sorted({".".join(part[:i]) for part in parts for i in range(1, len(part) + 1)})


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
