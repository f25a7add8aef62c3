"""Specs: frozen, keyword-only dataclasses that say what to build or measure, with their JSON and digest.

A spec is compared, hashed and stored by its JSON. Defining the class registers it; a file can only name
registered kinds, never an import path. Fields at their default are left out of the JSON, so that a new field
keeps every stored run valid; the price is that a default never changes. Where the same fields come to mean something
else, the class raises its `version`, which stands in the JSON from 2 on.
"""

import abc
import dataclasses
import difflib
import functools
import hashlib
import inspect
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, TypeVar, dataclass_transform

T = TypeVar("T", bound="Spec")
U = TypeVar("U")
RESERVED = ("kind", "version")
"""Keys of a spec's JSON that are no fields."""
MOST_NAMED = 12
"""Options that are all named where something else was given."""
MOST_CLASSES = 1_000_000
"""Of a data set: larger labels are no numbers of classes."""


class InputError(ValueError):
    """What the user gave cannot be used. The message is for the user: the field, what was given, what is allowed.

    `place` is the file and line of the user's that led to it, where that is known; it is part of the message then.
    """

    place: str = ""


class Spec:
    """Base of every spec. Subclasses are decorated with `@spec`; `check` is the place for rules between fields.

    `version` is raised where equal fields give other results than before: what was stored under an earlier version has
    another digest, so it is never taken for what this one gives, and it cannot be made again.
    """

    version: ClassVar[int] = 1
    own_hint: ClassVar[str] = ""
    """How something of one's own becomes a spec of this role: said where something else was given."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Raise `InputError` where a method that its kind must have is not defined."""
        if inspect.isabstract(cls):
            missing = sorted(cls.__abstractmethods__)  # type: ignore[attr-defined]
            role = next(base.__name__ for base in cls.__mro__ if missing[0] in vars(base))
            raise InputError(
                f"class {cls.__name__} must define {', '.join(missing)}, as every {role} does. It does not."
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        own = vars(self)
        for name, default, fits in _tests(type(self)):  # type: ignore[arg-type]
            value = own[name]
            if value is not default and not fits(value):
                object.__setattr__(self, name, _coerced(self, name, value, _annotations(type(self))[name]))  # type: ignore[arg-type]
        self.check()

    def check(self) -> None:
        """Raise `InputError` (through `require`) where the fields do not fit together."""

    def require(self, field: str, holds: bool, allowed: str) -> None:
        """Raise the standard sentence about `field` unless `holds`."""
        if not holds:
            raise InputError(_sentence(field, type(self).__name__, allowed, getattr(self, field)))

    def stored_fields(self) -> dict[str, Any]:
        """The fields as they stand in JSON; another way than in the spec where digests were taken of that."""
        return dict(vars(self))

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
)
_NO_DEFAULT = object()
"""What no field has as its value."""
_KINDS: dict[str, type[Spec]] = {}
Home = tuple[types.ModuleType | None, str]
_HOMES: dict[str, Home] = {}
"""The module in which a kind was defined, and its file."""
RENAMED = {
    "Identity": "ZeroMixer",
    "Recall": "AccuracyByDistance",
    "AccuracyBy": "SubgroupAccuracy",
    "ArmCurve": "ConditionCurve",
    "Choice": "Selection",
    "RecallByDistance": "DistanceCurve",
    "StepPosition": "PsychometricMidpoint",
}
"""Kinds that were renamed: the name that stands in JSON for good, as digests are taken of it, and that of the class."""
RENAMED_FIELDS = {"SubgroupAccuracy": {"fact": "attribute"}, "ConditionCurve": {"arm": "condition"}}
"""Fields that were renamed, by class: the name that stands in JSON for good, and that of the field."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def spec(cls: type[T] | None = None) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass and, unless it is abstract, a registered kind.

    Raises `TypeError` where it is no class of a kind, or a name or a default of it cannot be.
    """
    cls = given_to("spec", cls)
    if not isinstance(cls, type) or not issubclass(cls, Spec):
        name, hint = getattr(cls, "__name__", short(cls)), "class X(Model), of vision_attn.models, or class X(Probe)"
        by = "" if isinstance(cls, type) else " A function becomes a Model or a Mixer by as_model or as_mixer."
        raise TypeError(f"@spec must stand before a class of a kind, such as {hint}. Got {name} instead.{by}")
    if "__dataclass_fields__" in vars(cls):
        raise TypeError(f"class {cls.__name__} must be decorated once, with @spec alone. It is a dataclass already.")
    for name in vars(cls).get("__annotations__", {}):
        default = vars(cls).get(name)
        if isinstance(default, list):  # as in a call, where a list is taken for a tuple
            setattr(cls, name, tuple(default))
        elif isinstance(default, dict | set | bytearray):
            allowed = "a number, a text, None, a spec, or a tuple of these"
            raise TypeError(
                f"default of the field {name} of {cls.__name__} must be {allowed}. Got {default!r} instead."
            )
    has_init = "__init__" in vars(cls)
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    made = by_name(made if has_init else _filled_at_once(made))
    taken = [field.name for field in dataclasses.fields(made) if field.name in RESERVED]  # type: ignore[arg-type]
    if taken:
        raise TypeError(f"A field of {made.__name__} must not be named {taken[0]}: the name has a meaning in the JSON.")
    for field in dataclasses.fields(made):  # type: ignore[arg-type]
        if any(inspect.isfunction(vars(base).get(field.name)) for base in made.__mro__[1:]):
            raise TypeError(f"A field of {made.__name__} must not be named {field.name}: so is a method of its kind.")
    if not inspect.isabstract(made) and abc.ABC not in made.__bases__:
        if made.__name__ in RENAMED:
            raise TypeError(f"{made.__name__} must have another name: in stored JSON it is {RENAMED[made.__name__]}.")
        module = sys.modules.get(made.__module__)
        home = (module, getattr(module, "__file__", None) or made.__module__)
        if made.__name__ in _KINDS and not _is_reloaded(_HOMES[made.__name__], home):
            earlier = _HOMES[made.__name__][1]
            places = f"both in {home[1]}" if earlier == home[1] else f"in {earlier} and in {home[1]}"
            raise TypeError(f"Two specs are named {made.__name__}: {places}. One of them must have another name.")
        _KINDS[made.__name__], _HOMES[made.__name__] = made, home
        _part_from.cache_clear()
    return made


def given_to(decorator: str, given: U | None) -> U:
    """What a decorator is given. Raises `TypeError` where it stands with brackets and nothing in them."""
    if given is None:
        raise TypeError(f"@{decorator} must stand without brackets: @{decorator}. Got @{decorator}() instead.")
    return given


def _filled_at_once(cls: type[T]) -> type[T]:
    """Fill the fields of a frozen dataclass in one step: its own `__init__` takes one for each, ten times as long."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    defaults = {one.name: one.default for one in fields if one.default is not dataclasses.MISSING}
    factories: dict[str, Any] = {
        f.name: f.default_factory for f in fields if f.default_factory is not dataclasses.MISSING
    }

    @functools.wraps(cls.__init__)
    def fill(self: Any, **given: Any) -> None:
        own = vars(self)
        own.update(defaults)
        if factories:
            own.update((name, make()) for name, make in factories.items() if name not in given)
        own.update(given)
        self.__post_init__()

    cls.__init__ = fill  # type: ignore[method-assign]
    return cls


def by_name(cls: type[U]) -> type[U]:
    """Make a keyword-only dataclass say in a sentence which argument it does not have, or lacks."""
    build: Any = cls.__init__
    fields = [field for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    names = {field.name: None for field in fields}
    needed = {f.name: None for f in fields if f.default is f.default_factory is dataclasses.MISSING}

    @functools.wraps(build)
    def built(self: Any, *places: Any, **given: Any) -> None:
        if type(self) is not cls and isinstance(self, Spec) and "__dataclass_fields__" not in vars(type(self)):
            raise InputError(f"class {type(self).__name__} must be decorated with @spec. It is not.")
        if places:
            example = f"{cls.__name__}({next(iter(names))}=...)" if names else f"{cls.__name__}()"
            raise InputError(f"{cls.__name__} takes its fields by name: {example}. Got {places[0]!r} without one.")
        if not needed.keys() <= given.keys() <= names.keys():
            _check_names(cls.__name__, given, list(names), list(needed))
        build(self, **given)

    cls.__init__ = built  # type: ignore[method-assign]
    return cls


def _check_names(what: str, given: Iterable[str], names: Sequence[str], needed: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1) or [one for one in names if _initials(one) == name]
            meant = f" Did you mean {close[0]!r}?" if close else _inside(what, name)
            raise InputError(f"{what} has no field {name!r}.{meant} Its fields are {', '.join(names) or 'none'}.")
    if missing := [name for name in needed if name not in given]:
        raise InputError(f"{what} needs the field {missing[0]!r}, which is not there.")


def _inside(what: str, name: str) -> str:
    """What is called so instead: a field of a spec that is the default of a field, or an attribute without a type."""
    if what not in _KINDS:
        return ""
    own = vars(_KINDS[what])
    if isinstance(own.get(name), bool | int | float | str):
        return f" Give it a type: {name}: {type(own[name]).__name__} = {own[name]!r}."
    for field in own["__dataclass_fields__"].values():
        if isinstance(field.default, Spec) and name in vars(field.default):
            return f" Did you mean {field.name}={type(field.default).__name__}({name}=...)?"
    return ""


def _initials(name: str) -> str:
    """lr of learning_rate."""
    return "".join(word[0] for word in name.split("_"))


def _is_reloaded(earlier: Home, now: Home) -> bool:
    """Whether a kind's file outside the package was loaded again, or a notebook's cell run again."""
    (before, place), (module, same) = earlier, now
    is_package = getattr(module, "__name__", "").startswith("vision_attn.")
    return place == same and not is_package and (before is not module or not hasattr(module, "__file__"))


def kinds(role: type[T]) -> dict[str, type[T]]:
    """The registered specs of a role, such as every `Model`, by name, in order of definition."""
    return {name: kind for name, kind in _KINDS.items() if issubclass(kind, role)}


def kind_of(value: Spec) -> str:
    """The name that stands in JSON for what the spec is: that of its class, or the class's earlier name."""
    return _stored_name(type(value))  # type: ignore[arg-type]


@functools.cache
def _stored_name(cls: type[Spec]) -> str:
    return next((stored for stored, now in RENAMED.items() if now == cls.__name__), cls.__name__)


def to_json(value: Spec) -> dict[str, Any]:
    """The spec as plain JSON: its kind, its version from 2 on, and the fields that are not at their default."""
    out: dict[str, Any] = {"kind": kind_of(value)}
    if value.version > 1:
        out["version"] = value.version
    stored = value.stored_fields()
    for name, stored_name, default, plain_default in _stored(type(value)):  # type: ignore[arg-type]
        if (one := stored.get(name, default)) is not default:
            plain = _plain(one)
            if plain_default is dataclasses.MISSING or plain != plain_default:
                out[stored_name] = plain
    return out


def from_json(data: Any, role: type[T]) -> T:
    """The spec of `role` that `data` describes. Raises `InputError` on an unknown kind or field and another version."""
    known = kinds(role)
    given = data.get("kind") if isinstance(data, Mapping) else data
    name = RENAMED.get(given, given) if isinstance(given, str) else None
    if not isinstance(data, Mapping) or name not in known:
        raise InputError(_sentence("kind", role.__name__, f"one of {among(known, given)}", given))
    cls = known[name]
    if (given := data.get("version", 1)) != cls.version:
        raise InputError(_sentence("version", cls.__name__, f"{cls.version}, as its results have changed", given))
    names = RENAMED_FIELDS.get(cls.__name__, {})
    data = {names.get(name, name): value for name, value in data.items()}
    return cls(**{name: _from_plain(value) for name, value in data.items() if name not in RESERVED})


def short(value: Any) -> str:
    """A value as it is written, on one line and cut where it is long."""
    if isinstance(value, int) and abs(value) >= 10**100:
        return f"a number of {value.bit_length():,} bits"
    text = " ".join(repr(value).split())
    return text if len(text) <= 200 else f"{text[:200]}..."


def counted(number: int, noun: str) -> str:
    """A number of things in words: 1 run, 2 runs, 12,000 runs."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def among(options: Iterable[Any], given: Any) -> str:
    """The options in a sentence; of more than `MOST_NAMED` the three most like what was given, and how many others."""
    known = {str(option): repr(option) for option in options}
    if len(known) <= MOST_NAMED:
        return ", ".join(known.values())
    near = difflib.get_close_matches(str(given), known, n=3, cutoff=0)
    return f"{', '.join(known[text] for text in near)} and {len(known) - len(near):,} others"


def canonical(data: Any) -> bytes:
    """The one byte string that stands for plain JSON data. Raises `ValueError` on NaN and infinity.

    Raises `InputError` where a text holds what UTF-8 cannot write: half of a pair of surrogates.
    """
    text = _CANONICAL.encode(data)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        part = text[max(0, error.start - 20) : error.end]
        raise InputError(f"Texts must be such as UTF-8 can write. Got ...{part!r} instead.") from None


def digest(value: Spec) -> str:
    """sha256, in hex, of the spec's canonical JSON."""
    return json_sha256(to_json(value))


def json_sha256(data: Any) -> str:
    """sha256, in hex, of plain JSON data, by its canonical JSON."""
    return hashlib.sha256(canonical(data)).hexdigest()


@functools.cache
def _annotations(cls: Any) -> dict[str, Any]:
    """The types of the fields. Raises `InputError` where one is unknown, or is none that JSON gives back."""
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise InputError(f"types of the fields of {cls.__name__} must be known to its module: {error}.") from None
    found = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    for name, annotation in found.items():
        if not _is_kept(annotation):
            allowed = "int, float, bool, str, None, a Literal, a spec, or a tuple or union of these"
            given = annotation.__name__ if isinstance(annotation, type) else annotation
            raise InputError(f"type of the field {name} of {cls.__name__} must be {allowed}. Got {given} instead.")
    return found


def _is_kept(annotation: Any) -> bool:
    """Whether values of a type come back from JSON as they were."""
    if typing.get_origin(annotation) is Literal or annotation is Ellipsis:
        return True
    if _is_union(annotation) or typing.get_origin(annotation) is tuple:
        return all(_is_kept(option) for option in typing.get_args(annotation))
    return annotation in _WORDS or annotation is None or (isinstance(annotation, type) and issubclass(annotation, Spec))


@functools.cache
def _stored(cls: Any) -> list[tuple[str, str, Any, Any]]:
    """Every field, its name in JSON, and its default, as it is and as plain JSON, or `MISSING`."""
    names = {now: before for before, now in RENAMED_FIELDS.get(cls.__name__, {}).items()}
    fields = dataclasses.fields(cls)
    return [(one.name, names.get(one.name, one.name), one.default, _plain(one.default)) for one in fields]


@functools.cache
def _tests(cls: Any) -> list[tuple[str, Any, Callable[[Any], bool]]]:
    """Every field, its default where that needs no test, and the test of a value.

    Raises `InputError` where the class derives from a spec and is a dataclass by `dataclasses.dataclass` alone.
    """
    is_spec, *bases = (hasattr(vars(one).get("__init__"), "__wrapped__") for one in cls.__mro__)
    if any(bases) and not is_spec:
        raise InputError(f"class {cls.__name__} must be decorated with @spec. It is not.")
    annotations, found = _annotations(cls), []
    for field in dataclasses.fields(cls):
        fits = _fits_as_it_is(annotations[field.name])
        found.append((field.name, field.default if fits(field.default) else _NO_DEFAULT, fits))
    return found


@functools.cache
def _fits_as_it_is(annotation: Any) -> Callable[[Any], bool]:
    """Whether a value has the annotated type and stays what it is: told quickly for plain values and specs alone."""
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    exact = {types.NoneType if option is None else option for option in options} & {int, bool, str, types.NoneType}
    if float in options:
        exact.discard(int)
    words = frozenset(
        (type(word), word)
        for option in options
        if typing.get_origin(option) is Literal
        for word in typing.get_args(option)
    )
    specs = tuple(option for option in options if isinstance(option, type) and issubclass(option, Spec))

    def fits(value: Any) -> bool:
        kind = type(value)
        if kind in exact or (kind is float and float in options and math.isfinite(value)):
            return True
        return (kind is str and (kind, value) in words) or (bool(specs) and isinstance(value, specs))

    return fits


@functools.lru_cache(maxsize=4096)
def _part_from(text: bytes) -> Spec:
    """The spec that canonical JSON describes. Specs never change, so equal parts of many runs can be one object."""
    return from_json(json.loads(text), Spec)


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        return to_json(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _from_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _part_from(canonical(value))
    if isinstance(value, list):
        return tuple(_from_plain(item) for item in value)
    return value


def _sentence(field: str, what: str, allowed: str, given: Any) -> str:
    return f"{field} of {what} must be {allowed}. Got {short(given)} instead."


def _coerced(owner: Spec, field: str, value: Any, annotation: Any) -> Any:
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    for option in options:
        fits, result = _fit(value, option)
        if fits:
            return result
    allowed = " or ".join(_describe(option) for option in options)
    if isinstance(value, type) and issubclass(value, Spec):
        hint = f" Write {value.__name__}()."
    else:
        roles = [one for one in options if isinstance(one, type) and issubclass(one, Spec) and one.own_hint]
        hint = f" {roles[0].own_hint}" if roles and not isinstance(value, Spec) else ""
    raise InputError(_sentence(field, type(owner).__name__, allowed, value) + hint)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _fit(value: Any, annotation: Any) -> tuple[bool, Any]:
    """Whether the value has the annotated type, and the value in that type (2 becomes 2.0 where a float is due).

    A scalar of numpy is taken for the number that it is.
    """
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return any(value == o and type(value) is type(o) for o in typing.get_args(annotation)), value
    if origin is tuple:
        return _fit_tuple(value, typing.get_args(annotation))
    if _is_union(annotation):
        fits = [_fit(value, option) for option in typing.get_args(annotation)]
        return next((found for found in fits if found[0]), (False, value))
    if annotation is float:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return number, float(value) if number else value
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    return isinstance(value, types.NoneType if annotation is None else annotation), value


def _fit_tuple(value: Any, options: tuple[Any, ...]) -> tuple[bool, Any]:
    if not isinstance(value, list | tuple | range):
        return False, value
    if len(options) == 2 and options[1] is Ellipsis:
        options = (options[0],) * len(value)
    if len(options) != len(value):
        return False, value
    fits = [_fit(item, option) for item, option in zip(value, options, strict=True)]
    return all(fit for fit, _ in fits), tuple(item for _, item in fits)


_WORDS = {int: "an integer", float: "a finite number", bool: "True or False", str: "a text", types.NoneType: "None"}


def _describe(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(annotation)))
    if origin is tuple:
        return "a tuple of " + " and ".join(
            _describe(option) for option in typing.get_args(annotation) if option is not Ellipsis
        )
    if _is_union(annotation):
        return " or ".join(_describe(option) for option in typing.get_args(annotation))
    if annotation in _WORDS:
        return _WORDS[annotation]
    return f"a {annotation.__name__} (one of {', '.join(kinds(annotation))})"


class _Callable(types.ModuleType):
    """This module, which `from vision_attn import spec` gives where the decorator of that name was meant."""

    def __call__(self, cls: type[T] | None = None) -> type[T]:
        return spec(cls)


sys.modules[__name__].__class__ = _Callable
