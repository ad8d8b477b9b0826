"""How the debug layer changes modules of the program once the program has imported them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.container import Container, imported


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The layer's module, which awaits nothing yet. Modules of `tmp_path` can be imported."""
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    with imported("remora.libraries.imports") as module:
        monkeypatch.setattr(module, "awaited", {})
        yield module
    for name in set(sys.modules) - before:
        if name.startswith("awaited"):
            del sys.modules[name]


@pytest.fixture
def noted() -> list[str]:
    """The names of the modules that note() was called with."""
    return []


@pytest.fixture
def note(noted: list[str]) -> Callable[[ModuleType], None]:
    return lambda module: noted.append(module.__name__)


def test_loader_of_several_modules_stays_as_it_is(
    imports: ModuleType, tmp_path: Path, noted: list[str], note: Callable[[ModuleType], None]
) -> None:
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        for name in ("__init__", "first", "second"):
            archive.writestr(f"awaited_package/{name}.py", "")
    sys.path.insert(0, str(tmp_path / "app.zip"))
    imports.change({"awaited_package.first": note})
    spec = importlib.util.find_spec("awaited_package.first")
    source = spec.loader.get_source(spec.name)  # type: ignore[attr-defined]
    assert source == ""
    first = importlib.import_module("awaited_package.first")
    second = importlib.import_module("awaited_package.second")
    assert noted == ["awaited_package.first"]
    assert type(first.__loader__) is type(first.__spec__.loader) is type(second.__loader__)
    importlib.reload(first)
    assert noted == ["awaited_package.first"]


def test_finder_leaves_when_all_modules_have_come(
    imports: ModuleType, tmp_path: Path, noted: list[str], note: Callable[[ModuleType], None]
) -> None:
    (tmp_path / "awaited_1.py").write_text("")
    (tmp_path / "awaited_2.py").write_text("")
    before = list(sys.meta_path)
    imports.change({"sys": note})
    assert (noted, sys.meta_path) == (["sys"], before)
    imports.change({"awaited_1": note})
    imports.change({"awaited_2": note, "sys": note})
    importlib.import_module("awaited_1")
    assert len(sys.meta_path) == len(before) + 1
    importlib.import_module("awaited_2")
    assert (noted, sys.meta_path) == (["sys", "sys", "awaited_1", "awaited_2"], before)


def test_module_that_is_awaited_twice_is_changed_once(
    imports: ModuleType, tmp_path: Path, noted: list[str], note: Callable[[ModuleType], None]
) -> None:
    (tmp_path / "awaited_1.py").write_text("")
    imports.change({"awaited_1": note})
    imports.change({"awaited_1": note})
    imports.change({"awaited_1": lambda module: noted.append("another")})
    importlib.import_module("awaited_1")
    assert noted == ["awaited_1", "another"]


class Asking:
    """A finder of the program that asks all other finders."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        others = [finder for finder in sys.meta_path if finder is not self]
        return next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)


def test_module_is_changed_once_if_another_finder_asks_all_finders(
    imports: ModuleType, tmp_path: Path, noted: list[str], note: Callable[[ModuleType], None]
) -> None:
    (tmp_path / "awaited_1.py").write_text("")
    sys.meta_path.insert(0, Asking())
    imports.change({"awaited_1": note})
    importlib.import_module("awaited_1")
    assert noted == ["awaited_1"]


def test_module_is_changed_when_a_failed_import_is_repeated(
    imports: ModuleType, tmp_path: Path, noted: list[str], note: Callable[[ModuleType], None]
) -> None:
    (tmp_path / "awaited_1.py").write_text("import awaited_2")
    imports.change({"awaited_1": note})
    with pytest.raises(ModuleNotFoundError, match="awaited_2"):
        importlib.import_module("awaited_1")
    (tmp_path / "awaited_2.py").write_text("")
    importlib.invalidate_caches()
    importlib.import_module("awaited_1")
    assert noted == ["awaited_1"]


def test_engine_that_cannot_be_loaded_awaits_gevent_once(imports: ModuleType) -> None:
    with imported("remora.libraries.greenlets") as greenlets:
        for _ in range(2):
            greenlets.watch(print)
    assert len(imports.awaited["gevent.events"]) == 1


def test_pool_in_a_zip_can_be_imported(container: Container) -> None:
    with zipfile.ZipFile(container.folder / "app.zip", "w") as archive:
        archive.writestr("__main__.py", "import loky.process_executor, loky.other\nprint('done')")
        for name in ("__init__", "process_executor", "other"):
            archive.writestr(f"loky/{name}.py", "")
    container.start("exec python app.zip", mode="dump")
    assert container.exit_code() == 0
    container.says("done")
