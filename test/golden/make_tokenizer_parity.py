"""Token ids of llama.cpp for strings and GGUF vocabularies: the reference of the tokenizer tests.

    pip install llama-cpp-python==0.3.36 gguf==0.19.0
    python make_tokenizer_parity.py strings.json ids.json VARIANT...
    python make_tokenizer_parity.py --golden

`strings.json` is an array of texts. A VARIANT is the path of a GGUF file, with metadata keys to change after it:
`spm.gguf#tokenizer.ggml.add_space_prefix=false#general.name="phi-3"` (values are JSON). `ids.json` becomes an object,
VARIANT to {"special": [ids of each text], "literal": [...], "time": seconds}: with control tokens parsed and without.
BOS and EOS are never added. With `-` for ids.json the object goes to standard output, a line per variant.

--golden writes tokenizers/golden.json beside this script from tokenizers/strings.json: for every variant in
tokenizers/variants.json two 32-bit FNV-1a digests (hex) per text, of the ids as little-endian u32, special and literal;
variants with the same digests share a row.
"""
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import gguf
import llama_cpp

HERE = Path(__file__).parent / "tokenizers"


def changed_copy(path: str, changes: dict, folder: str) -> str:
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(os.path.join(folder, "changed.gguf"), "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture" or field.name in changes:
            continue
        kind = field.types[0]
        writer.add_key_value(field.name, field.contents(), kind, field.types[1] if kind == gguf.GGUFValueType.ARRAY else None)
    for key, value in changes.items():
        kind = gguf.GGUFValueType.BOOL if isinstance(value, bool) else gguf.GGUFValueType.UINT32 if isinstance(value, int) else gguf.GGUFValueType.STRING
        writer.add_key_value(key, value, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return os.path.join(folder, "changed.gguf")


def encode_all(variant: str, strings: list[str]) -> dict:
    path, *settings = variant.split("#")
    changes = {key: json.loads(value) for key, value in (setting.split("=", 1) for setting in settings)}
    with tempfile.TemporaryDirectory() as folder:
        file = changed_copy(path, changes, folder) if changes else path
        llama = llama_cpp.Llama(model_path=file, vocab_only=True, verbose=False)
        start = time.monotonic()
        encode = lambda special: [llama.tokenize(text.encode(), add_bos=False, special=special) for text in strings]
        # add_bos=False of llama-cpp-python is llama.cpp's add_special=false: neither BOS nor EOS.
        result = {"special": encode(True), "literal": encode(False)}
        return {**result, "time": round(time.monotonic() - start, 2)}


def digest(ids: list[int]) -> str:
    value = 0x811C9DC5
    for number in ids:
        for byte in number.to_bytes(4, "little"):
            value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{value:08x}"


def golden() -> None:
    strings = json.loads((HERE / "strings.json").read_text())
    rows: dict[str, list[str]] = {}
    for variant in json.loads((HERE / "variants.json").read_text()):
        result = encode_all(str(HERE / variant), strings)
        row = "".join(digest(special) + digest(literal) for special, literal in zip(result["special"], result["literal"]))
        rows.setdefault(row, []).append(variant)
    lines = [json.dumps({"variants": names, "digests": row}, separators=(",", ":")) for row, names in rows.items()]
    (HERE / "golden.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{len(strings)} strings, {sum(map(len, rows.values()))} variants, {len(rows)} different")


def main() -> None:
    if sys.argv[1:] == ["--golden"]:
        return golden()
    strings_path, out, *variants = sys.argv[1:]
    strings = json.loads(Path(strings_path).read_text())
    results = {}
    for variant in variants:
        results[variant] = encode_all(variant, strings)
        if out == "-":
            print(json.dumps({"variant": variant, **results.pop(variant)}, separators=(",", ":")), flush=True)
    if out != "-":
        Path(out).write_text(json.dumps(results, separators=(",", ":")))


main()
