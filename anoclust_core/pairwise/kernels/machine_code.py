"""Machine code of functions on plain memory: compiled once, and kept for other processes by whoever is asked to.

Numba makes LLVM's instructions of a function, and LLVM makes an object of them. The functions take addresses and
numbers, allocate nothing and raise nothing: so their object needs nothing of Numba's, which takes longer to import than
the object to load, and none of the seconds that it takes to compile.

`CodeStore` keeps objects, see `keep_in`; without one, every process compiles. What was kept has to compute a small
example before it is used.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from anoclust_core.pairwise.kernels.tiles import processor

Function = Callable[..., None]
"""Takes arrays, which must be contiguous, and numbers, in the order of its signature; lets other threads run."""

LETTERS: Final[Mapping[str, Any]] = {
    "p": ctypes.c_void_p, "P": ctypes.c_void_p, "h": ctypes.c_void_p, "n": ctypes.c_int64, "f": ctypes.c_float,
}  # fmt: skip
"""A signature has a letter an argument: address of float32 ``p``, of int32 ``P``, of int16 ``h``; whole number ``n``,
number in single precision ``f``."""

_LIBRARY: Final = frozenset({"sqrtf", "rintf", "memset", "memcpy"})
"""Of C's own functions, those that an object may call."""


class CodeStore(Protocol):
    """Where objects are kept between processes. What it gives must be what it was given on such a machine."""

    def read(self, kind: str) -> bytes | None:
        """Object that was kept, if there is one that is whole, of this version and for this processor."""

    def write(self, kind: str, code: bytes) -> None:
        """Keep an object if that is possible."""


@dataclass(frozen=True)
class Kernel:
    """What is compiled.

    Attributes
    ----------
    kind
        Its name, with everything that makes another object of the same sources.
    functions
        Signatures by name.
    make
        Gives the functions by name, as Numba decorates them; called where nothing was kept, and then imports Numba.
    is_right
        Says whether loaded functions compute an example as they should.
    """

    kind: str
    functions: Mapping[str, str]
    make: Callable[[], Mapping[str, Callable[..., None]]]
    is_right: Callable[[Mapping[str, Function]], bool]


_store: list[CodeStore] = []
_compiling = Lock()


def keep_in(store: CodeStore) -> None:
    """Keep objects from now on, and use those that are kept."""
    _store[:] = [store]


def load(kernel: Kernel) -> Mapping[str, Function]:
    """Load a kernel as it is kept, or compile it; threads that ask at the same time compile it once each in turn."""
    with _compiling:
        store = _store[0] if _store else None
        kept = store.read(kernel.kind) if store is not None else None
        if kept is not None:
            functions = _loaded(kept, kernel.functions)
            if kernel.is_right(functions):
                return functions
        code = _compiled(kernel)
        if store is not None:
            store.write(kernel.kind, code)
        return _loaded(code, kernel.functions)


def example() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two small images that kept code is tried on, and the squared distances to nearest patches.

    No tile is filled by their patches, no step of a loop by their features, and the patches are far enough apart for
    any rounding.

    Returns
    -------
    bags
        Shape ``(2, 7, 9)``.
    squares
        Shape ``(2, 2, 7)``.
    """
    bags = np.sin(np.arange(2 * 7 * 9, dtype=np.float32) ** 2).reshape(2, 7, 9)
    differences = bags[:, None, :, None] - bags[None, :, None, :]
    return bags, (differences**2).sum(axis=4).min(axis=3)


def _compiled(kernel: Kernel) -> bytes:
    """Object of a kernel; seconds."""
    import llvmlite.binding as llvm
    from numba.core import types

    address: Any = types.CPointer
    letters = {
        "p": address(types.float32), "P": address(types.int32), "h": address(types.int16),
        "n": types.int64, "f": types.float32,
    }  # fmt: skip
    machine = _machine()
    module = llvm.parse_assembly("")
    made = kernel.make()
    for name, signature in kernel.functions.items():
        dispatcher: Any = made[name]
        types_of = tuple(letters[letter] for letter in signature)
        dispatcher.compile(types_of)
        part = llvm.parse_assembly(dispatcher.inspect_llvm(types_of))
        part.get_function(dispatcher.overloads[types_of].fndesc.llvm_func_name).name = name
        for other in (*part.functions, *part.global_variables):
            if not other.is_declaration:
                other.linkage = "external" if other.name == name else "internal"
        module.link_in(part)
    options = llvm.create_pipeline_tuning_options(speed_level=0)
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()  # Numba's own ways into the functions, and all that these need
    passes.run(module, llvm.create_pass_builder(machine, options))
    needed = {one.name for one in (*module.functions, *module.global_variables) if one.is_declaration}
    foreign = {name for name in needed - _LIBRARY if not name.startswith("llvm.")}
    if foreign:
        raise AssertionError(f"{kernel.kind} is not on its own: it needs {', '.join(sorted(foreign))}")
    code: bytes = machine.emit_object(module)
    return code


def _loaded(code: bytes, signatures: Mapping[str, str]) -> Mapping[str, Function]:
    """Functions of an object."""
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return {
        name: _callable(engine, engine.get_function_address(name), signature) for name, signature in signatures.items()
    }


def _callable(engine: Any, address: int, signature: str) -> Function:
    """Function at an address; it keeps its code in memory. Assumes arguments of the signature."""
    kinds = [LETTERS[letter] for letter in signature]
    # Numba puts two addresses first: of a result, which is none, and of an error, which never is
    entry = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *kinds)(address)

    def call(*arguments: NDArray[Any] | float | np.number[Any]) -> None:
        nothing = ctypes.c_void_p()
        plain = [one.ctypes.data if isinstance(one, np.ndarray) else one for one in arguments]
        if entry(ctypes.addressof(nothing), None, *plain):
            raise AssertionError(f"{engine} failed: its functions cannot")

    return call


def _machine() -> Any:
    """What LLVM compiles for."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    name, features = processor()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=name, features=features, opt=3, reloc="default", codemodel="jitdefault", jit=True
    )
