"""Factories: a plain function that builds a module becomes a spec, with its other parameters as fields."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, Union

from torch import nn

from vision_attn.models.base import Mixer, Model
from vision_attn.sources import defined
from vision_attn.spec import InputError, Spec, given_to, short, spec

S = TypeVar("S", bound=Spec)


def as_model(factory: Callable[..., nn.Module] | None = None) -> Callable[..., Model]:
    """The model whose `build` is a function of `image_size`, `in_chans`, `num_classes` and of the model's fields.

    The function may take any of the three. Its other parameters become fields: each has a type, stated or that of its
    default, and is kept in the run's JSON. Used as a decorator; the spec has the function's name::

        @as_model
        def Perceptron(image_size, in_chans, num_classes, width: int = 64):
            return nn.Sequential(nn.Flatten(), nn.Linear(in_chans * image_size**2, width), ...)

        Perceptron(width=32)

    Raises `TypeError` where a parameter has neither a type nor a default, or takes any number of values.
    """
    return _as_spec(given_to("as_model", factory), Model, ("image_size", "in_chans", "num_classes"))


def as_mixer(factory: Callable[..., nn.Module] | None = None) -> Callable[..., Mixer]:
    """The mixer whose `build` is a function of `dim`, `grid`, `num_prefix_tokens` and of the mixer's fields.

    The module takes tokens (B, N, dim) to tokens (B, N, dim); else as `as_model`.
    """
    return _as_spec(given_to("as_mixer", factory), Mixer, ("dim", "grid", "num_prefix_tokens"))


def _as_spec(factory: Callable[..., nn.Module], role: type[S], given: tuple[str, ...]) -> type[S]:
    name = getattr(factory, "__name__", repr(factory))
    if not name.isidentifier():
        raise TypeError(f"The function must have a name, as its spec is called so: write def. Got {name} instead.")
    parameters = inspect.signature(factory).parameters
    taken = [one for one in given if one in parameters]
    needed = [one for one in taken if parameters[one].default is inspect.Parameter.empty]
    annotations: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    for one, parameter in parameters.items():
        if one in given:
            continue
        has_default = parameter.default is not parameter.empty
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"{name} must name its parameters, as they are fields of a spec. Got {parameter} instead.")
        if parameter.annotation is parameter.empty and not has_default:
            raise TypeError(f"parameter {one} of {name} must have a type or a default. It has neither.")
        typed = parameter.annotation is not parameter.empty
        annotations[one] = parameter.annotation if typed else _type_of(parameter.default)
        if annotations[one] is None:
            raise TypeError(
                f"parameter {one} of {name} must have a type: its default {parameter.default!r} tells none."
            )
        if has_default:
            fields[one] = parameter.default

    def build(self: Any, **shape: Any) -> nn.Module:
        if missing := [one for one in needed if one not in shape]:
            named = " and ".join(shape) or "none"
            raise InputError(f"build of {name} must be given {' and '.join(missing)} by name. Got {named} instead.")
        own = {one: getattr(self, one) for one in annotations}
        module: object = factory(**{one: shape[one] for one in taken if one in shape}, **own)
        if not isinstance(module, nn.Module):
            allowed = "a module with parameters to be trained" if role is Model else "a module"
            place = defined(self, "build")
            raise InputError(f"build of {name} must return {allowed}{place}. Got {short(module)} instead.")
        return module

    about = {"__module__": factory.__module__, "__qualname__": name, "__doc__": factory.__doc__ or f"{name}."}
    body = {**about, "__annotations__": annotations, **fields, "build": build, "factory": staticmethod(factory)}
    return spec(type(name, (role,), body))


def _type_of(default: Any) -> Any:
    """The type of which a default is; None where it tells none."""
    if not isinstance(default, tuple | list):
        return None if default is None else type(default)
    items = {_type_of(item) for item in default}
    return None if None in items or not items else tuple[Union[tuple(items)], ...]  # type: ignore[misc]  # noqa: UP007
