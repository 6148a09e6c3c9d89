"""Kernels of our own in C: compiled once per machine, checked, and called without torch.

A small model's step is hundreds of operators of a few microseconds, most of which read and write
what the one before has written. Here each half of a block is one call, which works on as many rows
at a time as the processor's cache holds, products included.
"""

import ctypes
import functools
import hashlib
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from scaling.files import cache_folder, write_bytes

FOLDER = Path(__file__).parent
COMPILERS = ("cc", "gcc", "clang")
OPTIONS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
TUNED = ("-march=native", "-mcpu=native")  # the first that the compiler knows
COMPILE_S = 120  # before a compiler counts as hung


class Sizes(ctypes.Structure):
    """Of a block, as C wants them."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("B", "T", "W", "H", "G", "K", "F", "causal", "gated")),
        ("eps", ctypes.c_float),
    ]


class Parameter(ctypes.Structure):
    """What AdamW holds of a parameter, as C wants it."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("weight", "mean", "square", "step", "grad")),
        ("size", ctypes.c_int64),
        ("decay", ctypes.c_double),
    ]


I, N, D, P = ctypes.c_int, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
SIGNATURES = {  # of those that return 0, or 1 without memory; nothing; a number
    I: {
        "attention": (P,) * 6,
        "add_attention": (P,) * 12,
        "add_attention_back": (P,) * 16,
        "add_feed_forward": (P,) * 8,
        "add_feed_forward_back": (P,) * 12,
        "head_loss": (I, I, I, I, *(P,) * 7),
    },
    None: {
        "exponentials": (N, P, P),
        "gelus": (N, P, P),
        "rms_norm": (N, I, ctypes.c_float, P, P, P, P),
        "rms_norm_back": (N, I, *(P,) * 7),
    },
    D: {"adamw": (I, P, D, D, D, D, D)},
}


@functools.cache
def library() -> ctypes.CDLL | str:
    """Return the kernels, compiled if nobody has on this machine, or why there are none."""
    try:
        found = ctypes.CDLL(str(_compiled()))
    except (OSError, subprocess.SubprocessError) as error:
        return str(error).splitlines()[0][:200]
    for result, functions in SIGNATURES.items():
        for name, arguments in functions.items():
            function = getattr(found, name)
            function.argtypes, function.restype = arguments, result
    return _differences(found) or found


def _compiled() -> Path:
    """Path of the shared library; its name says of what, by what and for what it was made."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise OSError("no C compiler")
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=COMPILE_S).stdout
    sources = [path.read_bytes() for path in sorted(FOLDER.glob("*.[ch]"))]
    made_of = *sources, version, " ".join(OPTIONS).encode(), _processor().encode()
    path = cache_folder() / "native" / f"{hashlib.sha256(b'|'.join(made_of)).hexdigest()[:24]}.so"
    if path.exists():
        return path
    errors = ""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "native.so"
        for tuned in TUNED:
            command = [compiler, *OPTIONS, tuned, "-o", str(made), str(FOLDER / "native.c"), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_S)
            if done.returncode == 0:
                write_bytes(path, made.read_bytes())
                return path
            errors = errors or done.stderr.strip()
    raise OSError(f"{compiler} failed: {errors}")


def read_cpuinfo() -> list[str]:
    """Lines in which the system tells of its processors; none where it does not."""
    try:
        return Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return []


def _processor() -> str:
    """What a processor can do, as far as the system tells."""
    named = ("model name", "flags", "Features")
    flags = [line for line in read_cpuinfo() if line.startswith(named)]
    return "".join([platform.machine(), platform.processor(), *dict.fromkeys(flags)])


def _differences(found: ctypes.CDLL) -> str:
    """Say where a library differs from torch on a few numbers; an empty string where nowhere."""
    x, T, K = torch.linspace(-20, 20, 77), 21, 4
    exponentials, gelus = torch.empty_like(x), torch.empty_like(x)
    found.exponentials(x.numel(), x.data_ptr(), exponentials.data_ptr())
    found.gelus(x.numel(), x.data_ptr(), gelus.data_ptr())
    heads = torch.arange(T * 3 * K).sin().view(1, T, 3, K)
    mixed, sums, cos, sin = (torch.full((T, K), float(n == 2)) for n in range(4))
    sizes = Sizes(1, T, K, 1, 1, K, K, causal=1)
    found.attention(ctypes.byref(sizes), *(t.data_ptr() for t in (heads, cos, sin, mixed, sums)))
    q, k, v = heads.transpose(1, 2).split(1, 1)
    checks = {
        "exp": (exponentials, x.exp()),
        "GELU": (gelus, F.gelu(x, approximate="tanh")),
        "attention": (mixed, F.scaled_dot_product_attention(q, k, v, is_causal=True)[0, 0]),
    }
    wrong = [n for n, (ours, known) in checks.items() if not ours.allclose(known, 1e-5, 1e-6)]
    return f"own {' and '.join(wrong)} differ from torch's here" if wrong else ""


def kernels() -> ctypes.CDLL:
    """Return the library; RuntimeError says why there is none."""
    found = library()
    if isinstance(found, str):
        raise RuntimeError(f"our own kernels do not work here: {found}; compute without them")
    return found


def call(name: str, *arguments: float | Tensor | Sizes | None) -> None:
    """Call a kernel; contiguous tensors are passed as where they lie.

    Raises
    ------
    MemoryError
        No room for what a kernel works in.
    """
    passed = [
        a.data_ptr() if isinstance(a, Tensor) else ctypes.byref(a) if isinstance(a, Sizes) else a
        for a in arguments
    ]
    if getattr(kernels(), name)(*passed):
        raise MemoryError(f"{name}: no memory to work in")
