"""A tiny llama with random weights in every tensor type that SmolLM2's 576 columns do not fit, made by llama.cpp's own
quantizer (PyPI llama-cpp-python 0.3.36; gguf 0.19.0):

    python3 test/golden/make_quantized_models.py [COLUMNS] [FOLDER]

Defaults: 256 columns, into test/golden/quantized (the fixtures of `npm test`). By hand also with 512.
"""
import sys
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

columns = int(sys.argv[1]) if len(sys.argv) > 1 else 256
folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "quantized"
folder.mkdir(parents=True, exist_ok=True)
HEADS, KV_HEADS, VOCAB, LAYERS = 4, 2, 288, 1
rng = np.random.default_rng(7)

f32 = folder / "tiny.f32.gguf"
writer = gguf.GGUFWriter(str(f32), "llama")
writer.add_context_length(256)
writer.add_embedding_length(columns)
writer.add_block_count(LAYERS)
writer.add_feed_forward_length(columns)
writer.add_head_count(HEADS)
writer.add_head_count_kv(KV_HEADS)
writer.add_rope_dimension_count(columns // HEADS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_vocab_size(VOCAB)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("gpt-2")
tokens = [chr(256 + i) for i in range(VOCAB)]
writer.add_token_list(tokens)
writer.add_token_types([1] * VOCAB)
writer.add_token_merges([])


def matrix(name, rows, scale=1.0):
    writer.add_tensor(name, (rng.standard_t(5, size=(rows, columns)) * scale / columns**0.5).astype(np.float32))


def norm(name):
    writer.add_tensor(name, (1 + 0.1 * rng.normal(size=columns)).astype(np.float32))


matrix("token_embd.weight", VOCAB, columns**0.5)
norm("output_norm.weight")
matrix("output.weight", VOCAB, 3)
for i in range(LAYERS):
    norm(f"blk.{i}.attn_norm.weight")
    norm(f"blk.{i}.ffn_norm.weight")
    matrix(f"blk.{i}.attn_q.weight", columns)
    matrix(f"blk.{i}.attn_k.weight", columns * KV_HEADS // HEADS)
    matrix(f"blk.{i}.attn_v.weight", columns * KV_HEADS // HEADS)
    for name in ("attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        matrix(f"blk.{i}.{name}.weight", columns)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

FTYPES = {
    "Q5_0": "MOSTLY_Q5_0", "Q5_1": "MOSTLY_Q5_1", "Q2_K": "MOSTLY_Q2_K", "Q3_K": "MOSTLY_Q3_K_S",
    "Q4_K": "MOSTLY_Q4_K_S", "Q5_K": "MOSTLY_Q5_K_S", "Q6_K": "MOSTLY_Q6_K", "IQ4_NL": "MOSTLY_IQ4_NL",
    "IQ4_XS": "MOSTLY_IQ4_XS",
}
for name, ftype in FTYPES.items():
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{ftype}")
    params.pure = True
    out = folder / f"tiny.{name}.gguf"
    status = llama_cpp.llama_model_quantize(str(f32).encode(), str(out).encode(), params)
    assert status == 0, name
    types = {t.tensor_type.name for t in gguf.GGUFReader(str(out)).tensors}
    print(name, out.stat().st_size, types)
    assert name in types
f32.unlink()
