"""Rewrite a GGUF model with its matrices in another quantized type, so that both sides of a benchmark read one file.

    python3 bench/requantize.py IN OUT --type q4_0|q8_0

Needs the PyPI package gguf (0.19.0), which quantizes as llama.cpp's reference does. Matrices of the blocks take the
asked type; the token embedding and the output matrix are Q8_0 (copied where they are already); vectors are copied; all
metadata is copied, arrays too, and only general.file_type changes. A matrix that is already quantized loses a second
time (Q4_1 to Q4_0 here): such a file is for timing, not for quality figures.
"""

import argparse
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize

TYPES = {
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
WRITTEN_BY_WRITER = {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", "general.architecture"}
EMBEDDINGS = {"token_embd.weight", "output.weight"}
BLOCK = 32


def copy_metadata(reader: GGUFReader, writer: GGUFWriter, file_type: LlamaFileType) -> None:
    for field in reader.fields.values():
        if field.name in WRITTEN_BY_WRITER:
            continue
        is_array = field.types[0] == GGUFValueType.ARRAY
        value = int(file_type) if field.name == "general.file_type" else field.contents()
        writer.add_key_value(field.name, value, field.types[0], sub_type=field.types[-1] if is_array else None)


def wanted_type(tensor, matrix_type: GGMLQuantizationType) -> GGMLQuantizationType:
    columns, n_dims = int(tensor.shape[0]), len(tensor.shape)
    if n_dims < 2 or columns % BLOCK != 0:
        return tensor.tensor_type
    return GGMLQuantizationType.Q8_0 if tensor.name in EMBEDDINGS else matrix_type


def requantize(source: Path, target: Path, type_name: str) -> dict[str, int]:
    matrix_type, file_type = TYPES[type_name]
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    writer.data_alignment = reader.alignment
    copy_metadata(reader, writer, file_type)
    changed: dict[str, int] = {}
    for tensor in reader.tensors:
        wanted = wanted_type(tensor, matrix_type)
        data = tensor.data
        if wanted != tensor.tensor_type:
            data = quantize(dequantize(data, tensor.tensor_type), wanted)
            step = f"{tensor.tensor_type.name} -> {wanted.name}"
            changed[step] = changed.get(step, 0) + 1
        writer.add_tensor(tensor.name, data, raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description="rewrite a GGUF model with its matrices in another quantized type")
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")
    parser.add_argument("--type", choices=sorted(TYPES), required=True)
    args = parser.parse_args()
    if args.target.exists() and args.target.samefile(args.source):
        parser.error("OUT is IN")
    changed = requantize(args.source, args.target, args.type)
    for step, count in changed.items():
        print(f"{count} tensors {step}")
    print(f"{args.target}: {args.target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
