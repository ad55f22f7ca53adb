import importlib
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "probe")]  # hyper_connections_checks, hyper_connections_models


@pytest.fixture(scope="session")
def library():
    """tests/sources/families/hyper_connections_checks.py."""
    return importlib.import_module("hyper_connections_checks")


@pytest.fixture(scope="session")
def slow():
    """tests/sources/families/written_out.py."""
    return importlib.import_module("written_out")


@pytest.fixture(scope="session")
def tiny_models():
    """tests/sources/probe/transformers_models.py."""
    return importlib.import_module("transformers_models")


@pytest.fixture(scope="session")
def joint_code():
    """tests/sources/families/joint_checks.py."""
    return importlib.import_module("joint_checks")
