"""Sources: kinds from outside the package: their files, the sha256 of their source, and where in them a fault lies.

A kind is one's own where its class is defined in an experiment file, in a module beside it, or in an installed package.
Packages name modules with kinds in the entry-point group `vision_attn.plugins`. JSON names a kind and no more: what is
not defined by the package, by a plugin or by the file that was loaded is unknown.
"""

import ast
import contextlib
import dataclasses
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import sysconfig
import tokenize
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from vision_attn.spec import InputError, Spec, kind_of, kinds

T = TypeVar("T")

PLUGINS = "vision_attn.plugins"
PACKAGE = Path(__file__).resolve().parent
BESIDE = "_vision_attn_experiment"
"""The package that an experiment file and the files beside it are in, as relative imports see it."""

FAULTS = Exception, SystemExit, GeneratorExit
"""What is taken for a fault of own code: also what would end the process, or the one who asks, without a word."""

LONGEST_MESSAGE = 1_000
"""Characters of an exception's message that are told."""

_beside: dict[str, ModuleType] = {}
"""The modules that experiment files have imported from beside themselves, by name."""


@contextlib.contextmanager
def told(what: str, *, at: str = "") -> Iterator[None]:
    """Turn any exception of the block into an `InputError` that says what failed, why, and in which file and line.

    So is an attempt to end the process: it would pass for success. `at` is where the own code stands that is put to
    work (`written`), for faults in a library that no line of it calls, as in a module that it has built.
    """
    try:
        yield
    except InputError as error:
        if error.place or not (place := own_place(error)):
            raise
        raise _placed(f"{error} ({place})", place) from error
    except FAULTS as error:
        raise _placed(f"{what} fails: {fault(error, at=at)}", own_place(error) or at) from error


def tried(call: Callable[[], T], *, what: Callable[[], str], at: Callable[[], str]) -> T:
    """What a call of own code returns; its exceptions are `told`, by texts that are made only where one fails."""
    try:
        return call()
    except FAULTS:
        with told(what(), at=at()):
            raise


def _placed(sentence: str, place: str) -> InputError:
    error = InputError(sentence)
    error.place = place
    return error


def _place(frames: list[traceback.FrameSummary]) -> str:
    return f"{shown(Path(frames[-1].filename))}, line {frames[-1].lineno}" if frames else ""


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The part of an exception's traceback that is code of the user's: not the package, nor anything installed."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame.filename)]


def own_place(error: BaseException) -> str:
    """The file and line of own code that led to an exception last; empty where none did."""
    return _place(own_frames(error))


def fault(error: BaseException, *, at: str = "") -> str:
    """An exception in one line: its kind, its message, and the last line of own code that led to it, else `at`."""
    text = _message(error)
    if isinstance(error, SyntaxError):
        place = f" ({shown(Path(error.filename))}, line {error.lineno})" if error.filename else ""
        return f"{type(error).__name__}: {error.msg}{place}"
    place = own_place(error) or at or _place(traceback.extract_tb(error.__traceback__)[-1:])
    place = f" ({place})" if place else ""
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def _message(error: BaseException) -> str:
    """The message of an exception on one line, cut where it is long; empty where it has none, or fails to say it."""
    try:
        text = " ".join(str(error).split())
    except FAULTS:
        return ""
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}..."


def shown(path: Path) -> str:
    """A path as one would type it: relative to the current folder where it lies in it."""
    with contextlib.suppress(ValueError, OSError):
        return path.resolve().relative_to(Path.cwd()).as_posix()
    return str(path)


def defined(spec: Spec, method: str) -> str:
    """Where a method of a kind is written, in brackets."""
    place = written(getattr(type(spec), "factory", None) or getattr(type(spec), method, None))
    return f" ({place})" if place else ""


def written(function: Any) -> str:
    """The file and line of a function; empty where it has none."""
    try:
        file, line = inspect.getsourcefile(function), inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return ""
    return f"{shown(Path(str(file)))}, line {line}"


def written_own(spec: Spec, method: str) -> str:
    """The file and line of a method of a spec, or of the first spec in it, that is of one's own; empty without one."""
    if is_own(type(spec)):
        return written(getattr(type(spec), "factory", None) or getattr(type(spec), method, None))
    return next((place for part in _parts(spec) if (place := written_own(part, method))), "")


def load_file(path: Path) -> ModuleType:
    """Run an experiment file, which may import files beside it; its kinds are known from then on.

    It may be loaded again: its modules are then read anew, and its kinds replace those of before. Raises `InputError`
    with file and line where the file is at fault.
    """
    load_plugins()
    folder = path.resolve().parent
    _check_names_beside(path)
    for name, module in _beside.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    _beside.clear()
    found = importlib.util.spec_from_file_location(f"{BESIDE}.{path.stem}", path)
    if found is None or found.loader is None:
        raise InputError(f"experiment must be a Python file. Got '{path}' instead.")
    module = importlib.util.module_from_spec(found)
    beside = ModuleType(BESIDE)
    beside.__path__ = [str(folder)]  # "from .parts import x" is a file beside it, as "from parts import x" is
    sys.modules |= {BESIDE: beside, found.name: module}
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        with told(shown(path)), contextlib.chdir(os.getcwd()):  # paths of the command line stay what they are
            found.loader.exec_module(module)
    finally:
        with contextlib.suppress(ValueError):  # the file may have taken it away
            sys.path.remove(str(folder))
        new = {name: sys.modules[name] for name in set(sys.modules) - before}
        _beside.update({name: one for name, one in new.items() if _lies_in(one, folder)})
    for kind in kinds(Spec).values():
        if _lies_in(sys.modules.get(kind.__module__), folder):
            digest_of(kind)  # type: ignore[arg-type]
    return module


def may_define(path: Path, name: str) -> bool:
    """Whether a file may have a name once it is run, judged by its text: a script that cannot need not be run."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError):  # told when the file is run
        return True
    named = {node.id for node in nodes if isinstance(node, ast.Name)}
    named |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    named |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    named |= {alias.asname or alias.name for node in imports for alias in node.names}
    return name in named or "*" in named


def _check_names_beside(path: Path) -> None:
    """Raise `InputError` where a file beside an experiment file, which that imports, is named as another module.

    Which of the two is imported would depend on what the process has imported before.
    """
    try:
        _, _, imported = _definitions(path)
    except (SyntaxError, UnicodeDecodeError):  # told when the file is run
        return
    folder = path.resolve().parent
    elsewhere = [place for place in sys.path if Path(place).resolve() != folder]
    for beside in dict.fromkeys(beside for beside, _ in imported.values()):
        name = beside.relative_to(path.parent).parts[0].removesuffix(".py")
        other = importlib.machinery.PathFinder.find_spec(name, elsewhere)
        if name in sys.stdlib_module_names or (other is not None and other.origin is not None):
            where = "Python" if name in sys.stdlib_module_names else str(other and other.origin)
            raise InputError(f"{shown(beside)} must have another name: a module {name} is there already, in {where}.")


@functools.cache
def load_plugins() -> None:
    """Import the modules that installed packages name in the entry-point group `vision_attn.plugins`."""
    for point in importlib.metadata.entry_points(group=PLUGINS):
        with told(f"the plugin {point.name} ({point.value})"):
            point.load()


def bring(wanted: set[str], experiment: str) -> None:
    """Load plugins, and the experiment file where it is here, for kinds that are not known yet.

    Raises `InputError` where one of them is still unknown, in one sentence.
    """
    if wanted <= set(kinds(Spec)):
        return
    load_plugins()
    if not wanted <= set(kinds(Spec)) and Path(experiment).is_file():
        load_file(Path(experiment))
    if unknown := sorted(wanted - set(kinds(Spec))):
        raise InputError(
            f"{unknown[0]} must be defined by an installed plugin or by {experiment}, seen from the current folder. "
            "It is not."
        )


def named(data: Any) -> set[str]:
    """The kinds that JSON names, at any depth."""
    if isinstance(data, Mapping):
        own = {data["kind"]} if isinstance(data.get("kind"), str) else set()
        return own.union(*map(named, data.values()))
    return set().union(*map(named, data)) if isinstance(data, list | tuple) else set()


def is_own(kind: type) -> bool:
    """Whether a kind is defined outside the package."""
    return not kind.__module__.startswith("vision_attn.")


def digests(value: Spec) -> dict[str, str]:
    """The sha256 of the source of every own kind in a spec, by the kind's name."""
    own: Any = type(value)
    found = {kind_of(value): digest_of(own)} if is_own(own) else {}
    for part in _parts(value):
        found |= digests(part)
    return dict(sorted(found.items()))


def _parts(value: Spec) -> Iterator[Spec]:
    """The specs that are fields of a spec, or stand in a tuple that is one."""
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        part = getattr(value, field.name)
        yield from (item for item in (part if isinstance(part, tuple) else (part,)) if isinstance(item, Spec))


@functools.cache
def digest_of(kind: Any) -> str:
    """sha256, in hex, of the source of a kind with all that it names in its own file and in the files beside it.

    Comments outside of these definitions do not count, nor do other definitions of the file.
    """
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is None:
        with contextlib.suppress(OSError, TypeError):
            return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()
        return "unknown"
    parts: dict[tuple[str, str], str] = {}
    _collect(Path(file), kind.__name__, parts)
    text = "\n\n".join(parts[key] for key in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()


def _collect(file: Path, name: str, parts: dict[tuple[str, str], str]) -> None:
    """Add the definition of a name in a file, and of all that it names in turn; the whole file where it has none."""
    if (file.name, name) in parts:
        return
    text, defined, imported = _definitions(file)
    nodes = defined.get(name)
    if nodes is None:
        parts[file.name, ""] = text
        return
    lines = text.splitlines()
    spans = [(min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))]), node) for node in nodes]
    parts[file.name, name] = "\n".join(line for start, node in spans for line in lines[start - 1 : node.end_lineno])
    for node in nodes:
        for used in {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} - {name}:
            if used in defined:
                _collect(file, used, parts)
            elif used in imported:
                _collect(*imported[used], parts)


@functools.lru_cache(maxsize=64)
def _read(file: Path, stamp: int) -> tuple[str, dict[str, list[Any]], dict[str, tuple[Path, str]]]:
    with tokenize.open(file) as source:  # as Python reads it: a declared encoding, a byte order mark
        text = source.read()
    defined: dict[str, list[Any]] = {}
    imported: dict[str, tuple[Path, str]] = {}
    for node in ast.walk(ast.Module(body=_top(ast.parse(text).body), type_ignores=[])):
        if isinstance(node, ast.ImportFrom) and node.module and (beside := _module_beside(file, node.module)):
            imported |= {alias.asname or alias.name: (beside, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if beside := _module_beside(file, alias.name):
                    imported[alias.asname or alias.name] = (beside, "")
    for node in _top(ast.parse(text).body):
        for name in _names(node):
            defined.setdefault(name, []).append(node)
    return text, defined, imported


def _definitions(file: Path) -> tuple[str, dict[str, list[Any]], dict[str, tuple[Path, str]]]:
    """The text of a file, its top-level definitions by name, and what it imports from files beside it."""
    return _read(file, file.stat().st_mtime_ns)


def _top(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a module, those within `if` and `try` included."""
    out: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            handlers = [part for one in getattr(node, "handlers", ()) for part in one.body]
            out += _top([*node.body, *handlers, *node.orelse])
        else:
            out.append(node)
    return out


def _names(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def _module_beside(file: Path, name: str) -> Path | None:
    path = file.parent.joinpath(*name.split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


def _lies_in(module: ModuleType | None, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(folder) and not _is_library(file)


@functools.cache
def _is_library(file: str) -> bool:
    """Whether a file belongs to the package, to Python or to an installed package."""
    roots = [PACKAGE, *(Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib"))]
    return file.startswith("<") or any(Path(file).resolve().is_relative_to(root.resolve()) for root in roots)
