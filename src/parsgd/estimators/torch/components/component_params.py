"""Parameters of an estimator's components: ``module__hidden`` is the argument ``hidden`` of ``module``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, signature
from typing import Any, ClassVar, Self

from parsgd.errors import InvalidArgumentError, did_you_mean


class ComponentParams:
    """Mixin of estimators with parameters ``component__name``, which the constructor receives as keywords.

    ``get_params``, ``set_params``, :func:`sklearn.base.clone` and grid searches treat them as other parameters.
    """

    _components: ClassVar[tuple[str, ...]] = ()

    def _store(self, arguments: Mapping[str, Any]) -> None:
        """Set the arguments of a constructor, its ``locals()``, as attributes.

        Further keywords are in ``arguments["components"]``; for unknown ones TypeError is raised, as Python does.
        """
        params = arguments["components"]
        for name in params:
            if not self._is_component_param(name):
                known = self._get_param_names()
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument {name!r}."
                    f"{did_you_mean(name, known)} Arguments of {', '.join(self._components)} have two underscores, as"
                    " in module__hidden=64."
                )
        others = {name: value for name, value in arguments.items() if name not in ("self", "components", "__class__")}
        vars(self).update(others, **params)

    @classmethod
    def _is_component_param(cls, name: str) -> bool:
        component, delimiter, rest = name.partition("__")
        return component in cls._components and bool(delimiter) and bool(rest)

    def _component_params(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if self._is_component_param(name)}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return all parameters, with those of components as ``component__name``."""
        params = super().get_params(deep)
        return {**params, **self._component_params()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, with those of components as ``component__name``, and return the estimator."""
        components = {name: value for name, value in params.items() if self._is_component_param(name)}
        others = {name: value for name, value in params.items() if name not in components}
        super().set_params(**others)
        vars(self).update(components)
        return self

    def _settings(self, component: str) -> dict[str, Any]:
        """Return the arguments of a component: the values of ``component__name`` by ``name``."""
        start = f"{component}__"
        params = self._component_params()
        return {name.removeprefix(start): value for name, value in params.items() if name.startswith(start)}


def accepted_arguments(make: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Return the names of the arguments that a class or function accepts as keywords, and True if it accepts any.

    >>> accepted_arguments(lambda hidden, *, bias=True: None) == (frozenset({"hidden", "bias"}), False)
    True
    """
    try:
        found = signature(make).parameters.values()
    except (TypeError, ValueError):
        # functions of C without a signature
        return frozenset(), True
    named = frozenset(p.name for p in found if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY))
    return named, any(p.kind is Parameter.VAR_KEYWORD for p in found)


def with_settings(make: Callable[..., Any], settings: Mapping[str, Any], component: str, owner: str) -> Any:
    """Return ``make`` with keywords set; it can be pickled if ``make`` can.

    Raises
    ------
    InvalidArgumentError
        If ``make`` does not accept a keyword.
    """
    named, any_name = accepted_arguments(make)
    for name in settings:
        if not any_name and name not in named:
            raise InvalidArgumentError(
                f"The parameter '{component}__{name}' of {owner} must name an argument of"
                f" {getattr(make, '__name__', repr(make))}, which accepts {', '.join(sorted(named)) or 'none'}."
                f"{did_you_mean(name, named)}"
            )
    return partial(make, **settings) if settings else make
