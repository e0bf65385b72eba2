"""The pages. The only room that imports gradio; it assembles and reads, and decides nothing."""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

STUBS = "gradio.component_meta", "create_or_modify_pyi"  # test_gradio_private.py says when they are gone


class _WithoutStubs(MetaPathFinder):
    """Gradio without stubs for editors: it parses all its components to write them beside its files, which is half of the time that its import takes."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != STUBS[0]:
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(name)
        if found is not None and found.loader is not None:
            loaded = found.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                loaded(module)
                setattr(module, STUBS[1], lambda *_: None)

            found.loader.exec_module = exec_module  # type: ignore[method-assign]
        return found


if "gradio" not in sys.modules:
    sys.meta_path.insert(0, _WithoutStubs())
