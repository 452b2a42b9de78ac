"""Runs the WASI command under wasmtime (PyPI), a stand-alone engine without JavaScript.

    python wasmtime_run.py THIMBLE.WASM FOLDER [argument ...]

FOLDER is what the command sees as "/models"; the arguments are the command's, stdin is passed on. Exits as the command does.
"""

import sys

from wasmtime import Engine, ExitTrap, Linker, Module, Store, WasiConfig


def main(wasm: str, folder: str, arguments: list[str]) -> int:
    engine = Engine()
    linker = Linker(engine)
    linker.define_wasi()
    config = WasiConfig()
    config.argv = ["thimble.wasm", *arguments]
    config.preopen_dir(folder, "/models")
    config.inherit_stdin()
    config.inherit_stdout()
    config.inherit_stderr()
    store = Store(engine)
    store.set_wasi(config)
    instance = linker.instantiate(store, Module.from_file(engine, wasm))
    try:
        instance.exports(store)["_start"](store)
    except ExitTrap as end:
        return end.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
