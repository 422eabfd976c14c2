"""Which names in a pickle are refused: those whose call runs code, reads files or reaches out.

Nothing here is ever imported or called; a name that is not refused becomes inert data. The list
serves the user: a file that carries such a name was made to attack whoever loads it.
"""

from __future__ import annotations

from verify.errors import UnsafeFileError
from verify.readers.tensors import shown

# Refused as the first part of a module's name.
_MODULES_TEXT = """
    _asyncio _bootsubprocess _ctypes _frozen_importlib _frozen_importlib_external _imp
    _interpreters _io _multiprocessing _pickle _posixshmem _posixsubprocess _pyio _pyrepl
    _socket _sqlite3 _ssl _sysconfigdata _thread _testcapi _testinternalcapi _winapi
    _xxsubinterpreters aiohttp anydbm asyncio asyncore atexit bdb cffi cgitb cloudpickle cmd
    code codeop compileall concurrent cprofile ctypes dbm dill distutils doctest dummy_thread
    dummy_threading ensurepip faulthandler fcntl fileinput fsspec ftplib gc glob http httplib httpx
    idlelib imaplib imp importlib inspect io ipython ipython_genutils joblib jsonpickle lib2to3
    linecache mailcap marshal mmap modulefinder msvcrt multiprocess multiprocessing netrc
    nntplib nt ntpath os paramiko pathos pdb pickle pickletools pip pkg_resources pkgutil
    platform popen2 poplib posix posixpath profile pty pwd py_compile pydoc requests resource
    rlcompleter runpy sched select selectors setuptools shelve shutil signal site sitecustomize
    smtplib socket socketserver sqlite3 ssl subprocess sys sysconfig telnetlib tempfile thread
    threading timeit trace tracemalloc tkinter turtle urllib urllib2 urllib3 venv webbrowser
    wheel win32api win32com winreg xmlrpc xmlrpclib zipapp zipimport
"""
_MODULES = frozenset(_MODULES_TEXT.split())
# Refused wherever they stand, in a module's name or in an attribute path: gadgets re-export them.
_ANYWHERE_TEXT = """
    os posix nt subprocess sys builtins __builtin__ __builtins__ importlib ctypes runpy pty
    socket shutil
"""
_ANYWHERE = frozenset(_ANYWHERE_TEXT.split())
# Refused in the attribute path: these names run code in whatever module they stand.
_ATTRIBUTES_TEXT = """
    eval exec execfile compile system popen spawn import_module
"""
_ATTRIBUTES = frozenset(_ATTRIBUTES_TEXT.split())
# Refused as module and name together; a trailing dot refuses all below.
_QUALIFIED = (
    "types.FunctionType", "types.CodeType", "types.LambdaType", "types.MethodType",
    "types.ModuleType", "types.BuiltinFunctionType", "types.coroutine", "test.support.",
    "operator.attrgetter", "operator.methodcaller", "_operator.attrgetter",
    "_operator.methodcaller", "codecs.open", "logging.config.", "commands.getoutput",
    "commands.getstatusoutput", "unittest.mock.",
    "torch.load", "torch.save", "torch.hub.", "torch.jit.", "torch.package.", "torch.ops.",
    "torch.classes.", "torch.compile", "torch.serialization.load", "torch.serialization.save",
    "torch.serialization._load", "torch.serialization._legacy_load", "torch.multiprocessing.",
    "torch.storage._load_from_bytes", "torch.utils.cpp_extension.", "torch.utils.model_zoo.",
    "torch.utils.collect_env.", "torch.utils.bottleneck.", "torch.utils._config_module.",
    "torch._dynamo.", "torch._inductor.", "torch.distributed.rpc.", "torch.distributed.run.",
    "torch.distributed.launch.", "torch.distributed.elastic.", "torch.fx.",
    "numpy.load", "numpy.save", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile",
    "numpy.memmap", "numpy.testing.", "numpy.f2py.", "numpy.distutils.", "numpy.ctypeslib.",
    "numpy.lib.npyio.", "numpy.lib._npyio_impl.", "numpy.core.records.fromfile",
    "pandas.eval", "pandas.io.", "pandas.core.computation.", "pandas.read_pickle",
    "sympy.sympify", "sympy.core.sympify.", "sympy.parsing.", "sympy.utilities.lambdify.",
    "scipy.io.", "yaml.load", "yaml.unsafe_load", "tensorflow.io.", "tensorflow.raw_ops.",
    "keras.src.saving.", "keras.models.", "bokeh.", "numexpr.", "jinja2.", "mako.",
)  # fmt: skip
_BUILTINS = ("builtins", "__builtin__")
# Types and exceptions: as data they are inert, and honest checkpoints hold them.
_INERT_BUILTINS_TEXT = """
    object int float complex bool str bytes bytearray unicode long list tuple dict set frozenset
    slice range xrange type NoneType Ellipsis NotImplemented
"""
_INERT_BUILTINS = frozenset(_INERT_BUILTINS_TEXT.split())
_ERRORS = ("Error", "Exception", "Warning", "Interrupt", "Exit")


def check_name(module: str, name: str, where: str) -> None:
    """Refuse a name that a pickle asks for if calling it would run code.

    Raises:
        UnsafeFileError: the name is known to be dangerous.
    """
    if _is_dangerous(module, name):
        raise UnsafeFileError(
            f"{where}: expected a file that holds data only, but got a pickle that asks for "
            f"{shown(f'{module}.{name}')}; refused, nothing was executed"
        )


def _is_dangerous(module: str, name: str) -> bool:
    if module in _BUILTINS:
        return name not in _INERT_BUILTINS and not name.endswith(_ERRORS)
    if module in ("io", "_io"):
        return name not in ("BytesIO", "StringIO")
    parts = [*module.split("."), *name.split(".")]
    attributes = name.split(".")
    dunder = any(part.startswith("__") and part.endswith("__") for part in attributes)
    if parts[0].lower() in _MODULES or _ANYWHERE & set(parts) or _ATTRIBUTES & set(attributes):
        return True
    if dunder and f"{module}.{name}" not in ("copyreg.__newobj__", "copy_reg.__newobj__"):
        return True
    full = f"{module}.{name}"
    return any(
        full.startswith(entry) if entry.endswith(".") else full == entry for entry in _QUALIFIED
    )
