"""llama.cpp native through llama-cpp-python as a side of the bench (lib/line-side.ts): PYTHON llama-cpp.py MODEL

Whatever the package was compiled for; its C interface is called directly, as bench/native.ts does below node-llama-cpp:
one thread, batch = micro-batch = 512, f16 cache, flash attention auto, argmax of the logits with numpy.
"""

import ctypes
import json
import os
import sys
import time

import llama_cpp as llama
import numpy

BATCH = 512
CONTEXT = 8192
LOWEST_TOKEN = 32


def prompt_tokens(n: int, vocab_size: int) -> list[int]:
    """The same tokens as bench/prompt.ts."""
    state, tokens = 2463534242, []
    for _ in range(n):
        state = (state * 1664525 + 1013904223) % 2**32
        tokens.append(LOWEST_TOKEN + state * (vocab_size - LOWEST_TOKEN) // 2**32)
    return tokens


class Measurer:
    def __init__(self, path: str) -> None:
        silence = llama.llama_log_callback(lambda level, text, user: None)
        llama.llama_log_set(silence, ctypes.c_void_p())
        self.silence = silence  # kept alive
        llama.llama_backend_init()
        model_options = llama.llama_model_default_params()
        model_options.n_gpu_layers = 0
        self.model = llama.llama_model_load_from_file(path.encode(), model_options)
        options = llama.llama_context_default_params()
        options.n_ctx = CONTEXT
        options.n_batch = options.n_ubatch = BATCH
        options.n_threads = options.n_threads_batch = 1
        self.context = llama.llama_init_from_model(self.model, options)
        self.memory = llama.llama_get_memory(self.context)
        self.vocab_size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.kept = 0

    def truncate(self, n: int) -> None:
        llama.llama_memory_seq_rm(self.memory, 0, n, -1)

    def feed(self, tokens: list[int]) -> None:
        for start in range(0, len(tokens), BATCH):
            chunk = tokens[start : start + BATCH]
            array = (llama.llama_token * len(chunk))(*chunk)
            if llama.llama_decode(self.context, llama.llama_batch_get_one(array, len(chunk))) != 0:
                raise RuntimeError("llama_decode failed")

    def fill(self, n: int) -> None:
        """Prompt tokens at the front of the cache are kept; the last is read anew for its logits."""
        self.kept = min(self.kept, n - 1)
        self.truncate(self.kept)
        self.feed(prompt_tokens(n, self.vocab_size)[self.kept :])
        self.kept = n

    def best(self) -> int:
        logits = llama.llama_get_logits_ith(self.context, -1)
        return int(numpy.ctypeslib.as_array(logits, shape=(self.vocab_size,)).argmax())

    def prefill(self, n: int) -> float:
        self.kept = 0
        self.truncate(0)
        tokens = prompt_tokens(n, self.vocab_size)
        start = time.perf_counter()
        self.feed(tokens)
        self.best()
        self.kept = n
        return n / (time.perf_counter() - start)

    def decode(self, n_context: int, n_tokens: int) -> float:
        self.fill(n_context)
        token = self.best()
        start = time.perf_counter()
        for _ in range(n_tokens):
            self.feed([token])
            token = self.best()
        return n_tokens / (time.perf_counter() - start)


def main() -> None:
    path = sys.argv[1]
    measurer = Measurer(path)
    measurer.prefill(64)
    measurer.decode(16, 8)
    system = llama.llama_print_system_info().decode().strip()
    print(
        json.dumps(
            {
                "ready": {
                    "runtime": f"llama.cpp (llama-cpp-python {llama.__version__})",
                    "host": f"Python {sys.version.split()[0]}",
                    "systemInfo": system,
                    "model": os.path.basename(path),
                    "threads": 1,
                    "cache": "f16",
                }
            }
        ),
        flush=True,
    )
    for line in sys.stdin:
        request = json.loads(line)
        cpu, start = time.process_time(), time.perf_counter()
        try:
            if request["op"] == "prefill":
                value = measurer.prefill(request["context"])
            else:
                value = measurer.decode(request["context"], request["tokens"])
            answer = {"value": value, "cpu": (time.process_time() - cpu) / (time.perf_counter() - start)}
        except Exception as error:  # told to the parent, which leaves this side out
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


main()
