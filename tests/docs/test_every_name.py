"""Every public name is on an API page, and says what it is."""

import importlib
import importlib.util
import re
import types

import pytest

import parsgd

# Modules that users import by name.
MODULES = [
    f"parsgd.{name}"
    for name in ("callbacks", "columns", "dask", "errors", "plotting", "ray", "testing", "torch")
    if name == "columns" or importlib.util.find_spec(name if name in ("ray", "torch") else f"parsgd.{name}")
]


def module(name):
    return parsgd.columns if name == "parsgd.columns" else importlib.import_module(name)


def public(name):
    """Its public names; of a module without ``__all__`` the classes that are its own."""
    here = module(name)
    own = [key for key, value in vars(here).items() if isinstance(value, type) and value.__module__ == name]
    names = getattr(here, "__all__", own)
    return [key for key in names if not isinstance(getattr(here, key), types.ModuleType | tuple | dict)]


NAMES = [f"{name}.{key}" for name in ("parsgd", *MODULES) for key in public(name)]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_on_an_api_page(name, root):
    pages = "\n".join(page.read_text("utf-8") for page in (root / "docs" / "api").glob("*.md"))
    assert re.search(rf"^::: {re.escape(name)}$", pages, re.MULTILINE), f"add '::: {name}' to a page in docs/api"


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_docstring(name):
    where, _, key = name.rpartition(".")
    assert (getattr(module(where), key).__doc__ or "").strip()


def test_api_pages_name_nothing_that_is_not_there(root):
    for page in (root / "docs" / "api").glob("*.md"):
        for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE):
            where, _, key = name.rpartition(".")
            if where == "parsgd.ray" and where not in MODULES:
                continue
            assert hasattr(module(where), key), f"{page.name}: {name}"
