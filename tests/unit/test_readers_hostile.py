"""Hostile and broken files: none executes anything, each gets one sentence and its exit code.

All files are generated here, with a fixed seed. One subprocess reads them under an audit hook, so
that an import, a process, a socket or a write of any kind is seen.
"""

import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import time
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save as save_safetensors

SEED = 20
pytestmark = pytest.mark.soundness

CHILD = """
import json, os, sys, warnings
import resource
import numpy, safetensors, csv, tomllib, json.decoder, encodings.latin_1
import encodings.raw_unicode_escape
import encodings.utf_8_sig, encodings.ascii, encodings.cp437, lzma, bz2, zlib
from verify.errors import VerifyError
from verify.readers import read_network
import verify.readers.torch_file, verify.readers.npz_file, verify.readers.safetensors_file
import verify.readers.pickle_stream, verify.readers.data_file, verify.readers.network_file
from verify import registry
for name in ("pt", "npz", "safetensors"):
    registry.load("readers", name)
folder, results, seen = sys.argv[1], {}, []
for name in sorted(os.listdir(sys.argv[2])):
    read_network(os.path.join(sys.argv[2], name), family="equilibrium", activation="relu")
warnings.simplefilter("error")
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
CALM = {"open", "compile", "os.listdir", "os.scandir", "object.__getattr__", "object.__setattr__",
        "builtins.id"}
watching = True
def watch(event, arguments):
    if not watching:
        return
    if event not in CALM or (event == "open" and isinstance(arguments[1], str)
                             and set(arguments[1]) & set("wax+")):
        seen.append([event, ascii(arguments)[:200]])
for name in sorted(os.listdir(folder)):
    results[name] = ["none", 0, ""]
sys.addaudithook(watch)
for name in results:
    try:
        read_network(os.path.join(folder, name), family="equilibrium", activation="relu")
    except VerifyError as error:
        results[name] = [type(error).__name__, error.exit_code, str(error)]
    except BaseException as error:
        results[name] = ["!" + type(error).__name__, -1, ascii(str(error))[:300]]
watching = False
print(json.dumps({"results": results, "events": seen, "torch": "torch" in sys.modules}))
"""


def zipped(pickled, extra=(), folder="archive", method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr(f"{folder}/data.pkl", pickled)
        archive.writestr(f"{folder}/byteorder", b"little")
        for name, content in extra:
            archive.writestr(f"{folder}/{name}", content)
    return stream.getvalue()


def legacy(pickled, tail=b""):
    head = b"".join(
        pickle.dumps(value, protocol=2)
        for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    return head + pickled + pickle.dumps([], protocol=2) + tail


def saved(obj, old=False):
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(obj, stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


# One way for every operation that can bring a name into a pickle or call it.
WAYS = {
    "global-reduce": lambda m, n, a: f"c{m}\n{n}\n".encode() + b"(" + text(a) + b"tR.",
    "global-unused": lambda m, n, a: f"c{m}\n{n}\n".encode() + b"0N.",
    "global-in-dict": lambda m, n, a: b"}" + text("x") + f"c{m}\n{n}\n".encode() + b"s.",
    "global-in-memo": lambda m, n, a: f"c{m}\n{n}\nq\x000h\x00".encode("latin1") + text(a)
    + b"\x85R.",
    "global-mark-popped": lambda m, n, a: b"(" + f"c{m}\n{n}\n".encode() + b"1N.",
    "inst": lambda m, n, a: b"(" + text(a) + f"i{m}\n{n}\n.".encode(),
    "obj": lambda m, n, a: b"(" + f"c{m}\n{n}\n".encode() + text(a) + b"o.",
    "newobj": lambda m, n, a: b"\x80\x02" + f"c{m}\n{n}\n".encode() + text(a) + b"\x85\x81.",
    "newobj-ex": lambda m, n, a: b"\x80\x04" + f"c{m}\n{n}\n".encode() + text(a)
    + b"\x85}\x92.",
    "stack-global": lambda m, n, a: b"\x80\x04" + text(m) + text(n) + b"\x93" + text(a)
    + b"\x85R.",
    "stack-global-memo": lambda m, n, a: b"\x80\x04" + text(n) + b"\x94" + text(m) + b"\x9400"
    + b"h\x01h\x00\x93" + text(a) + b"\x85R.",
    "stack-global-short": lambda m, n, a: b"\x80\x04\x8c" + bytes([len(m)]) + m.encode()
    + b"S'" + n.encode() + b"'\n\x93" + text(a) + b"\x85R.",
    "stack-global-old-text": lambda m, n, a: b"V" + m.encode() + b"\nU" + bytes([len(n)])
    + n.encode() + b"\x93.",
    "framed": lambda m, n, a: b"\x80\x04\x95" + struct.pack("<Q", len(m) + len(n) + 4)
    + f"c{m}\n{n}\n0N.".encode(),
    "persistent-id": lambda m, n, a: b"(" + text("storage") + f"c{m}\n{n}\n".encode()
    + text("0") + text("cpu") + b"K\x01tQ.",
    "build": lambda m, n, a: b"cmylib\nThing\n)R}" + text("f") + f"c{m}\n{n}\n".encode() + b"sb.",
    "list": lambda m, n, a: b"(" + f"c{m}\n{n}\n".encode() + b"l.",
    "set": lambda m, n, a: b"\x80\x04\x8f(" + f"c{m}\n{n}\n".encode() + b"\x90.",
    "frozenset": lambda m, n, a: b"\x80\x04(" + f"c{m}\n{n}\n".encode() + b"\x91.",
    "duplicate": lambda m, n, a: f"c{m}\n{n}\n".encode() + b"20N\x86.",
}  # fmt: skip
TARGETS = [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"),
    ("subprocess", "check_output"), ("builtins", "eval"), ("builtins", "exec"),
    ("builtins", "compile"), ("builtins", "getattr"), ("builtins", "setattr"),
    ("builtins", "__import__"), ("builtins", "open"), ("builtins", "input"),
    ("builtins", "globals"), ("builtins", "breakpoint"), ("__builtin__", "eval"),
    ("__builtin__", "execfile"), ("__builtin__", "apply"), ("importlib", "import_module"),
    ("importlib._bootstrap", "_gcd_import"), ("runpy", "run_path"), ("runpy", "_run_code"),
    ("shutil", "rmtree"), ("socket", "create_connection"), ("ctypes", "CDLL"), ("pty", "spawn"),
    ("code", "interact"), ("webbrowser", "open"), ("pickle", "loads"), ("_pickle", "loads"),
    ("marshal", "loads"), ("types", "FunctionType"), ("types", "CodeType"),
    ("operator", "attrgetter"), ("operator", "methodcaller"), ("torch", "load"),
    ("torch.hub", "load"), ("torch.jit", "load"), ("torch.serialization", "load"),
    ("torch.serialization", "os.system"), ("torch.storage", "_load_from_bytes"),
    ("torch.utils.cpp_extension", "load"), ("numpy.testing._private.utils", "runstring"),
    ("numpy", "load"), ("numpy.core._internal", "os.system"), ("asyncio", "run"),
    ("multiprocessing", "Process"), ("threading", "Thread"), ("http.client", "HTTPConnection"),
    ("urllib.request", "urlopen"), ("sys", "modules"), ("sys", "exit"), ("_io", "FileIO"),
    ("io", "open"), ("codecs", "open"), ("tempfile", "mktemp"), ("timeit", "timeit"),
    ("cProfile", "run"), ("bdb", "Bdb"), ("pdb", "run"), ("pip", "main"), ("signal", "signal"),
    ("collections", "OrderedDict.__init__.__globals__"), ("mylib", "Thing.__class__"),
    ("torch.multiprocessing.reductions", "rebuild_storage_fd"), ("pydoc", "pipepager"),
    ("commands", "getoutput"), ("torch._dynamo.guards", "exec"), ("dill", "loads"),
    ("cloudpickle", "loads"), ("joblib", "load"), ("functools", "os.system"),
]  # fmt: skip


def unsafe_files(marker):
    command = f"touch {marker}"
    files = {}
    for way, make in WAYS.items():
        for module, name in (("os", "system"), ("builtins", "exec")):
            argument = command if module == "os" else f"open({str(marker)!r}, 'w')"
            pickled = make(module, name, argument)
            files[f"{way}-{name}-zip.pt"] = zipped(pickled)
            files[f"{way}-{name}-legacy.pth"] = legacy(pickled)
        files[f"{way}-raw.pt"] = make("posix", "system", command)
    for module, name in TARGETS:
        pickled = WAYS["stack-global"](module, name, command)
        files[f"target-{module}-{name}.pt"] = zipped(pickled)
    for code, size in ((b"\x82", 1), (b"\x83", 2), (b"\x84", 4)):
        files[f"extension-{size}.pt"] = zipped(b"\x80\x02" + code + b"\x01" * size + b".")
    # Each of the five pickles of the old stream, and a name behind a healthy state dict.
    bomb = WAYS["global-reduce"]("posix", "system", command)
    healthy = saved({"W": torch.eye(2)}, old=True)
    second = healthy.index(b"\x80\x02M\xe9\x03.")
    files["legacy-second.pt"] = healthy[:second] + bomb + healthy[second:]
    files["legacy-keys.pt"] = legacy(pickle.dumps({}, protocol=2))[:-4] + bomb
    files["objects.npz"] = object_npz(command)
    return files


class Payload:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return (os.system, (self.command,))


def object_npz(command):
    stream = io.BytesIO()
    np.savez(stream, W=np.array([Payload(command)], dtype=object))
    return stream.getvalue()


def tensor_pickle(storage="FloatStorage", numel=4, offset=0, size=(2, 2), stride=(2, 1), key="0"):
    """A state dict {"W": tensor} with any claims."""

    stream = io.BytesIO()
    parts = [b"}", text("W"), b"ctorch._utils\n_rebuild_tensor_v2\n((", text("storage"),
             f"ctorch\n{storage}\n".encode(), text(key), text("cpu")]  # fmt: skip
    stream.write(b"".join(parts))
    stream.write(pickle.dumps(numel, protocol=2)[2:-1] + b"tQ")
    for value in (offset, tuple(size), tuple(stride), False):
        stream.write(pickle.dumps(value, protocol=2)[2:-1].replace(b"q\x00", b""))
    stream.write(b"ccollections\nOrderedDict\n)RtRs.")
    return stream.getvalue()


def lying_tensors():
    data = [("data/0", b"\x00" * 16)]
    claims = {
        "offset": {"offset": 1}, "offset-negative": {"offset": -1},
        "offset-huge": {"offset": 2**80},
        "size-huge": {"size": (2**40, 2**40)}, "size-negative": {"size": (-2, -2)},
        "size-long": {"size": (10**400, 1)}, "stride-huge": {"stride": (2**62, 2**62)},
        "stride-negative": {"stride": (-2, -1)}, "stride-leaves": {"stride": (3, 1)},
        "stride-short": {"stride": (1,)}, "dimensions": {"size": (1,) * 60, "stride": (1,) * 60},
        "expanded": {"size": (2**20, 2**20), "stride": (0, 0)}, "numel-more": {"numel": 5},
        "numel-less": {"numel": 3}, "numel-negative": {"numel": -4}, "numel-huge": {"numel": 2**90},
        "numel-text": {"numel": "4"}, "storage-unknown": {"storage": "TextStorage"},
        "storage-wider": {"storage": "DoubleStorage"}, "key-missing": {"key": "7"},
        "key-path": {"key": "../../data/0"}, "key-number": {"key": "0\x00"},
        "zero-outside": {"offset": 2**40, "size": (0, 3)},
    }  # fmt: skip
    return {
        f"claim-{name}.pt": zipped(tensor_pickle(**claim), data) for name, claim in claims.items()
    }


BROKEN_PICKLES = {
    "empty": b"", "no-stop": b"N", "two-values": b"NN.", "no-value": b".", "open-mark": b"(N.",
    "unknown-operation": b"\xff.", "protocol-9": b"\x80\x09N.", "get-unknown": b"h\x05.",
    "long-memo": b"j\xff\xff\xff\xff.", "memo-text": b"gabc\n.", "memo-negative": b"Np-1\n.",
    "length-lies": b"X\xff\xff\xff\x7fab.", "length-8": b"\x8d" + b"\xff" * 8 + b".",
    "bytes-8": b"\x8e" + b"\xff" * 7 + b"\x7f.", "bytearray-8": b"\x96" + b"\xfe" * 8 + b".",
    "negative-string": b"T\xff\xff\xff\xff.", "frame-lies": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    "frame-short": b"\x80\x04\x95\x02" + b"\x00" * 7 + b"X\x01\x00\x00\x00a.",
    "frame-in-frame": b"\x80\x04\x95\x14" + b"\x00" * 7 + b"\x95\x01" + b"\x00" * 7
    + b"N" * 10 + b".",
    "long4-huge": b"\x8b\xff\xff\xff\x7f1.", "int-digits": b"I" + b"9" * 6000 + b"\n.",
    "int-text": b"Iabc\n.", "float-text": b"Fabc\n.", "unicode": b"X\x02\x00\x00\x00\xff\xff.",
    "bad-escape": b"V\\ud8\n.", "quotes": b"Sabc\n.", "append-to-none": b"NNa.",
    "item-of-none": b"NNNs.", "odd-items": b"}(Nu.", "key-list": b"}]Ns.",
    "key-deep": b"}" + b")" + b"\x85" * 200_000 + b"Ns.", "set-of-lists": b"\x8f(]\x90.",
    "call-number": b"K\x01)R.", "call-no-tuple": b"cmylib\nf\nNR.", "build-number": b"K\x01Nb.",
    "global-no-end": b"cmylib", "global-bytes": b"c\xff\xff\n\xff\n.",
    "names-of-numbers": b"K\x01K\x02\x93.",
    "persistent-text": b"Pabc\n.", "persistent-number": b"K\x01Q.", "buffer": b"\x80\x05\x97.",
    "pop-nothing": b"0.", "tuple-nothing": b"t.", "tuple3": b"NN\x87.", "dup-nothing": b"2.",
    "keywords": b"\x80\x04cmylib\nf\n)N\x92.", "encode": b"c_codecs\nencode\n(NNtR.",
    "rebuild-none": b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "rebuild-texts": b"ctorch._utils\n_rebuild_tensor_v2\n(X\x01\x00\x00\x00aNNNtR.",
    "parameter": b"ctorch._utils\n_rebuild_parameter\n(NNNtR.",
    "array-state": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tK\x00tRNb.",
    "list-of-none": b"cbuiltins\nlist\n(NtR.", "pairs": b"ccollections\nOrderedDict\n(K\x05tR.",
    "operations": b"N0" * 2_100_000 + b"N.",
    "cyclic-list": b"]q\x00h\x00a.", "cyclic-dict": b"}q\x00" + text("x") + b"h\x00s.",
    "cyclic-deep": b"}q\x00" + text("x") + b"]q\x01" + b"h\x00ah\x01as.",
    "deep-lists": b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep-tuples": b")" + b"\x85" * 300_000 + b".",
    "laughs": b")" + b"2\x86" * 100_000 + b".",
    "laughs-dicts": b"}" + b"q\x00}" + b"X\x01\x00\x00\x00ah\x00s"
    b"q\x01}X\x01\x00\x00\x00ah\x01s0.",
    "copies": b"(" + b"N" * 100_000 + b"lq\x000" + b"cbuiltins\nlist\nq\x010("
    + b"h\x01h\x00\x85R" * 20_000 + b"l.",
    "not-a-dict": b"N.", "no-tensors": b"}.", "after-stop": b"}.}.",
}  # fmt: skip


def central(content, offset, raw):
    """Change a field of the last central directory entry."""
    at = content.rindex(b"PK\x01\x02") + offset
    return content[:at] + raw + content[at + len(raw) :]


def names_zip(*names):
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(stream, "w") as archive:
            for name in names:
                info = zipfile.ZipInfo("a")
                info.filename = name
                archive.writestr(info, b"}.")
    return stream.getvalue()


def broken_zips():
    healthy = saved({"W": torch.eye(2)})
    plain = zipped(tensor_pickle(), [("data/0", b"\x00" * 16)])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"}.")
        archive.writestr("archive/data/0", b"\x00" * (70 * 2**20))
    bomb = stream.getvalue()
    files = {
        "bomb.pt": bomb,
        "encrypted.pt": central(plain, 8, b"\x01\x00"),
        "strong-encryption.pt": central(plain, 8, b"\x41\x00"),
        "method.pt": central(plain, 10, b"\x63\x00"),
        "bzip2.pt": zipped(tensor_pickle(), method=zipfile.ZIP_BZIP2),
        "unpacked-lies.pt": central(plain, 24, b"\xff\xff\xff\x7f"),
        "packed-lies.pt": central(plain, 20, b"\xff\xff\xff\x7f"),
        "both-lie.pt": central(plain, 20, b"\xff\xff\xff\x7f" * 2),
        "zip64-lies.pt": central(plain, 20, b"\xff" * 8),
        "offset-lies.pt": central(plain, 42, b"\xff\xff\xff\x7f"),
        "overlap.pt": central(plain, 42, b"\x00\x00\x00\x00"),
        "crc.pt": central(plain, 16, b"\x01\x02\x03\x04"),
        "trailing.pt": healthy + b"garbage",
        "comment.pt": healthy[:-2] + b"\x07\x00garb",
        "directory-only.pt": b"PK\x05\x06" + b"\x00" * 18,
        "count-lies.pt": healthy[:-12] + b"\x00\x40\x00\x40" + healthy[-8:],
        "traversal.pt": names_zip("archive/data.pkl", "archive/../../../tmp/x"),
        "absolute.pt": names_zip("/archive/data.pkl"),
        "backslash.pt": names_zip("archive/data.pkl", "archive\\..\\x"),
        "drive.pt": names_zip("C:/archive/data.pkl"),
        "dot.pt": names_zip("archive/./data.pkl"),
        "double-slash.pt": names_zip("archive//data.pkl"),
        "twice.pt": names_zip("archive/data.pkl", "archive/data.pkl"),
        "twice-by-case.pt": names_zip("archive/data.pkl", "archive/DATA.pkl"),
        "two-folders.pt": names_zip("archive/data.pkl", "other/data.pkl"),
        "no-pickle.pt": names_zip("archive/version"),
        "byteorder.pt": zipped(tensor_pickle(), [("data/0", b"\x00" * 16)]).replace(
            b"little", b"middle"),
        "script.pt": names_zip("archive/data.pkl", "archive/constants.pkl", "archive/code/x.py"),
        "twice.npz": names_zip("W.npy", "W.npy"),
        "no-arrays.npz": names_zip("W.txt"),
        "traversal.npz": names_zip("../W.npy"),
        "plain-text.npz": b"hello",
        "plain-text.pt": b"hello",
        "tar.pt": b"sys_info" + b"\x00" * 249 + b"ustar" + b"\x00" * 600,
        "legacy-tail.pt": saved({"W": torch.eye(2)}, old=True) + b"x",
        "legacy-keys-lie.pt": legacy(b"}.") + b"x" * 8,
        "legacy-not-torch.pt": pickle.dumps({"W": [[1.0]]}),
        "empty.pt": b"", "empty.npz": b"", "empty.safetensors": b"",
    }  # fmt: skip
    return files


def broken_safetensors():
    def lie(header, body=b"\x00" * 32):
        raw = json.dumps(header).encode() if not isinstance(header, bytes) else header
        return struct.pack("<Q", len(raw)) + raw + body

    entry = {"dtype": "F64", "shape": [2, 2], "data_offsets": [0, 32]}
    headers = {
        "shape": {"W": {**entry, "shape": [2, 3]}}, "shape-huge": {"W": {**entry,
        "shape": [2**62, 2**62]}},
        "shape-negative": {"W": {**entry, "shape": [-2, -2]}},
        "offsets": {"W": {**entry, "data_offsets": [0, 64]}},
        "offsets-back": {"W": {**entry, "data_offsets": [32, 0]}},
        "dtype": {"W": {**entry, "dtype": "F65"}}, "overlap": {"W": entry, "V": entry},
        "hole": {"W": {**entry, "data_offsets": [8, 40]}}, "list": [1, 2], "number": 3,
        "not-json": b"{nope", "twice": b'{"W": 1, "W": 2}', "metadata": {"__metadata__": 3,
        "W": entry},
        "metadata-number": {"__metadata__": {"verify": 3}, "W": entry},
        "declaration": {"__metadata__": {"verify": "[[[["}, "W": entry},
        "deep": b'{"W":' * 5000 + b"1" + b"}" * 5000, "nothing": {},
        "bytes": b"\xff\xfe", "no-weight": {"Z": entry},
    }  # fmt: skip
    files = {f"header-{name}.safetensors": lie(header) for name, header in headers.items()}
    files["header-length.safetensors"] = struct.pack("<Q", 2**63) + b"{}"
    files["header-short.safetensors"] = b"\x01\x00"
    return files


def not_finite():
    W = np.eye(3)
    W[2, 1] = np.nan
    stream = io.BytesIO()
    np.savez(stream, W=W)
    return {
        "nan.pt": saved({"W": torch.from_numpy(W)}),
        "nan-legacy.pt": saved({"W": torch.from_numpy(W)}, old=True),
        "nan.npz": stream.getvalue(),
        "nan.safetensors": save_safetensors({"W": W}),
        "inf-bfloat16.pt": saved({"W": torch.full((2, 2), float("inf")).bfloat16()}),
    }


def healthy_files():
    stream = io.BytesIO()
    np.savez(stream, W=np.eye(3))
    return {
        "zip.pt": saved({"W": torch.eye(3)}), "legacy.pt": saved({"W": torch.eye(3)}, old=True),
        "arrays.npz": stream.getvalue(), "flat.safetensors": save_safetensors({"W": np.eye(3)}),
    }  # fmt: skip


def truncated():
    rng = random.Random(SEED)
    files = {}
    for name, content in healthy_files().items():
        for cut in sorted(rng.sample(range(1, len(content)), 14)):
            files[f"cut-{cut:05d}-{name}"] = content[:cut]
    return files


def malformed_files():
    files = {}
    for name, pickled in BROKEN_PICKLES.items():
        files[f"pickle-{name}-zip.pt"] = zipped(pickled)
        if len(pickled) < 1000:
            files[f"pickle-{name}-legacy.pt"] = legacy(pickled)
    return (
        files | lying_tensors() | broken_zips() | broken_safetensors() | not_finite() | truncated()
    )


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    started = time.perf_counter()
    folder, home = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("home")
    marker = home / "marker"
    unsafe, malformed = unsafe_files(marker), malformed_files()
    assert not set(unsafe) & set(malformed)
    for name, content in (unsafe | malformed).items():
        (folder / name).write_bytes(content)
    (folder / "folder.pt").mkdir()
    os.mkfifo(folder / "pipe.pt")
    with open(folder / "sparse.pt", "wb") as sparse:
        sparse.write(b"PK\x03\x04")
        sparse.truncate(2**40)
    (folder / "dangling.pt").symlink_to(folder / "nowhere")
    healthy = tmp_path_factory.mktemp("healthy")
    for name, content in healthy_files().items():
        (healthy / name).write_bytes(content)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, str(folder), str(healthy)],
        capture_output=True, text=True, timeout=120, check=True, cwd=home, env=environment,
    )  # fmt: skip
    assert child.stderr == ""
    outcome = json.loads(child.stdout)
    outcome |= {"unsafe": set(unsafe), "marker": marker, "home": home}
    seconds = time.perf_counter() - started
    wrong = sum(code != (4 if name in unsafe else 2)
                for name, (_, code, _) in outcome["results"].items())  # fmt: skip
    print(f"campaign hostile files: {len(outcome['results'])} cases, seed {SEED}, "
          f"{seconds:.1f} s, {wrong} wrong")  # fmt: skip
    return outcome


def test_there_are_many_files(campaign):
    assert len(campaign["unsafe"]) >= 150
    assert len(campaign["results"]) >= 350


def test_nothing_was_executed(campaign):
    assert campaign["events"] == []
    assert list(campaign["home"].iterdir()) == []
    assert campaign["torch"] is False


def test_every_unsafe_file_is_refused_with_exit_code_4(campaign):
    wrong = {
        name: campaign["results"][name]
        for name in campaign["unsafe"]
        if campaign["results"][name][:2] != ["UnsafeFileError", 4]
    }
    assert wrong == {}


def test_every_other_file_is_refused_with_exit_code_2(campaign):
    wrong = {
        name: result
        for name, result in campaign["results"].items()
        if name not in campaign["unsafe"]
        and (result[1] != 2 or result[0] not in ("InputError", "SettingsError"))
    }
    assert wrong == {}


def test_every_message_is_one_sentence(campaign):
    for name, (_, _, message) in campaign["results"].items():
        assert ": expected " in message, (name, message)
        assert message.isprintable(), (name, message)
        assert len(message) < 600, (name, message)


def test_the_payloads_are_live(tmp_path):
    """The same bytes do run under a loader that trusts them: the campaign is not vacuous."""
    marker = tmp_path / "marker"
    files = unsafe_files(marker)
    for name in ("global-reduce-system-zip.pt", "stack-global-memo-exec-zip.pt", "obj-raw.pt"):
        path = tmp_path / name
        path.write_bytes(files[name])
        program = (
            "import sys, pickle, zipfile\n"
            "p = sys.argv[1]\n"
            "b = zipfile.ZipFile(p).read('archive/data.pkl') if zipfile.is_zipfile(p) "
            "else open(p, 'rb').read()\n"
            "pickle.loads(b)\n"
        )
        subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
        assert marker.exists(), name
        marker.unlink()
