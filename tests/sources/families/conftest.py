"""What the layouts' tests share; the files themselves must be readable without it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


def by_path(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def slow() -> Any:
    """Published formulas written out, one token at a time: slow.py."""
    return by_path(HERE / "slow.py")


@pytest.fixture(scope="session")
def tiny_models() -> Any:
    """Models of transformers: ../probe/transformers_models.py."""
    return by_path(HERE.parent / "probe" / "transformers_models.py")
