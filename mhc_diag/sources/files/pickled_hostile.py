"""Names that no checkpoint needs, and whoever wants code to be run on loading does.

Nothing that a file names is looked up, so these are a warning and no defence.
"""

from __future__ import annotations

FUNCTIONS = """eval exec execfile compile open file input __import__ reload breakpoint exit quit help setattr
delattr vars globals locals apply"""
"""Functions among the builtins that run code or reach out."""
MODULES = """os posix nt posixpath ntpath nturl2path pathlib subprocess commands _posixsubprocess sys
importlib imp zipimport pkgutil runpy code codeop marshal pty pdb bdb trace timeit profile
cProfile doctest unittest socket _socket socketserver select selectors ssl asyncio http urllib
urllib2 httplib requests aiohttp ftplib smtplib telnetlib poplib imaplib xmlrpc webbrowser
antigravity shutil tempfile fileinput io _io glob linecache ctypes _ctypes cffi mmap pickle
_pickle cPickle dill cloudpickle joblib shelve dbm sqlite3 multiprocessing threading _thread
concurrent signal atexit gc inspect site sysconfig platform distutils setuptools pip ensurepip
venv idlelib lib2to3 turtledemo tkinter operator _operator"""
"""Modules that start programs, load code, or reach the disk, the network or the interpreter itself."""
PLACES = """types.CodeType types.FunctionType types.LambdaType torch.load torch.hub torch.package torch.jit
torch.serialization.load torch.utils.cpp_extension torch.utils.model_zoo torch.utils._config_module
torch.utils.bottleneck torch.utils.collect_env torch.multiprocessing torch.distributed.run
torch.distributed.launch torch.distributed.elastic torch._inductor numpy.load numpy.fromfile
numpy.memmap numpy.f2py numpy.testing numpy.distutils numpy.lib.npyio"""
"""The same within other modules."""

_FUNCTIONS, _MODULES, _PLACES = (frozenset(words.split()) for words in (FUNCTIONS, MODULES, PLACES))


def is_hostile(full: str) -> bool:
    """Whether a name is of no use to a checkpoint, but is to whoever wants code to be run.

    Example:
        >>> [is_hostile(n) for n in ("os.system", "builtins.eval", "torch.hub.load", "builtins.ValueError")]
        [True, True, True, False]
    """
    module, _, name = full.partition(".")
    if module == "builtins":
        return name.split(".")[0] in _FUNCTIONS
    return module in _MODULES or any(full == place or full.startswith(f"{place}.") for place in _PLACES)
