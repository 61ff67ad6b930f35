"""llama.cpp, or a program that grew out of it, for benchmarks.llama, which starts this file.

    python -m benchmarks.llama_peers PATH/libllama.so

Each line of standard input is a question in JSON, ["name of a method of Peer", argument, ...], and
is answered by a line of JSON.

The structures of parameters differ between programs and versions, so they remain as the library
makes them.  It reads only its own bytes of a larger one.
"""

import ctypes
import json
import sys
import time
from typing import Any

import numpy as np


class Opaque(ctypes.Structure):
    """Parameters of a model, or of a context."""

    _fields_ = (("bytes", ctypes.c_char * 1024),)


class Batch(ctypes.Structure):
    """Tokens of a text, and after which of them logits are wanted.  Some versions have more."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
        ("more", ctypes.c_char * 64),
    )


class Peer:
    """A library, and the model that it has loaded."""

    MOST = 512  # tokens of a text: by default, a context has room for as many

    def __init__(self, path: str) -> None:
        self.lib = lib = ctypes.CDLL(path)
        lib.llama_print_system_info.restype = ctypes.c_char_p
        lib.llama_model_default_params.restype = lib.llama_context_default_params.restype = Opaque
        lib.llama_model_load_from_file.argtypes = ctypes.c_char_p, Opaque
        lib.llama_init_from_model.argtypes = ctypes.c_void_p, Opaque
        lib.llama_batch_init.restype = Batch
        lib.llama_decode.argtypes = ctypes.c_void_p, Batch
        lib.llama_get_logits.restype = ctypes.POINTER(ctypes.c_float)
        for name in ("llama_model_load_from_file", "llama_init_from_model", "llama_get_memory"):
            if hasattr(lib, name):
                getattr(lib, name).restype = ctypes.c_void_p
        self.silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
            lambda *_: None
        )
        lib.llama_log_set(self.silent, None)
        lib.llama_backend_init()
        self.batch = lib.llama_batch_init(self.MOST, 0, 1)
        self.file, self.model, self.context = "", ctypes.c_void_p(), ctypes.c_void_p()

    def load(self, file: str) -> None:
        """Load a model in the place of another."""
        if file != self.file:
            self.lib.llama_free(self.context)
            self.lib.llama_free_model(self.model)
            params = self.lib.llama_model_default_params()
            loaded = self.lib.llama_model_load_from_file(file.encode(), params)
            made = self.lib.llama_init_from_model(loaded, self.lib.llama_context_default_params())
            if not made:
                raise SystemExit(f"{file}: the library cannot read it")
            self.file, self.model, self.context = (
                file,
                ctypes.c_void_p(loaded),
                ctypes.c_void_p(made),
            )

    def forget(self) -> None:
        """Begin a new text."""
        if hasattr(self.lib, "llama_get_memory"):
            memory = ctypes.c_void_p(self.lib.llama_get_memory(self.context))
            self.lib.llama_memory_clear(memory, ctypes.c_bool(True))
        else:
            self.lib.llama_kv_cache_clear(self.context)

    def read(self, ids: list[int], start: int, all_logits: bool = False) -> Any:
        """The address of the logits after the last of some ids, or after each of them."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, start + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = all_logits or i + 1 == len(ids)
        if self.lib.llama_decode(self.context, batch):
            raise SystemExit(f"{self.file}: the library cannot go on")
        return self.lib.llama_get_logits(self.context)

    def seconds(self, file: str, threads: int, ids: list[int], more: list[int]) -> list[float]:
        """The seconds for the ids, and for each one more."""
        self.load(file)
        self.lib.llama_set_n_threads(self.context, threads, threads)
        self.forget()
        times = [time.perf_counter()]
        self.read(ids, 0)
        times.append(time.perf_counter())
        for i, token in enumerate(more):
            self.read([token], len(ids) + i)
            times.append(time.perf_counter())
        return np.diff(times).tolist()

    def logits(self, file: str, ids: list[int], vocabulary: int, path: str) -> None:
        """Save the logits after each of the ids as a file of NumPy."""
        self.load(file)
        self.forget()
        np.save(path, np.ctypeslib.as_array(self.read(ids, 0, True), (len(ids), vocabulary)))

    def about(self) -> str:
        """The instructions that the library was compiled for."""
        return self.lib.llama_print_system_info().decode().strip(" |\n")


def main() -> None:
    peer = Peer(sys.argv[1])
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(peer, name)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
