"""Frequencies of RoPE tables as transformers computes them (PyPI torch 2.11.0, transformers 5.2.0; CPU, f32):

    python3 test/golden/rope/make.py

Writes frequencies.json. Each case: the arguments, `attention` (the factor of cosines and sines) and `frequencies`, d / 2
numbers with the nine digits that give an f32 back. LongRoPE's factors are part of its case.
"""
import json
from pathlib import Path

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)

CASES = [
    dict(type="linear", d=64, base=1e4, factor=1.0),
    dict(type="linear", d=128, base=1e6, factor=8.0),
    dict(type="linear", d=16, base=1e4, factor=2.5),
    dict(type="yarn", d=16, base=1e4, factor=4.0, original_max_position_embeddings=64),
    dict(type="yarn", d=64, base=1e5, factor=2.0, original_max_position_embeddings=8192),
    dict(type="yarn", d=128, base=1e6, factor=4.0, original_max_position_embeddings=32768),
    dict(type="yarn", d=128, base=1e4, factor=16.0, original_max_position_embeddings=4096, beta_fast=24.0, beta_slow=2.0),
    dict(type="yarn", d=256, base=5e5, factor=40.0, original_max_position_embeddings=4096),
    dict(type="llama3", d=64, base=5e5, **{**LLAMA3, "factor": 32.0}),
    dict(type="llama3", d=128, base=5e5, **LLAMA3),
    dict(type="longrope", d=16, base=1e4, factor=4.0, original_max_position_embeddings=64,
         short_factor=[1.0] * 8, long_factor=[1.0, 1.25, 1.7, 2.4, 3.3, 4.9, 7.1, 9.6]),
]


def run(case):
    arguments = {k: v for k, v in case.items() if k not in ("type", "d", "base")}
    config = LlamaConfig(
        hidden_size=2 * case["d"], num_attention_heads=2, head_dim=case["d"],
        max_position_embeddings=int(arguments.get("original_max_position_embeddings", 2048) * case["factor"]),
        rope_parameters={"rope_type": case["type"], "rope_theta": case["base"], **arguments},
    )
    seq_len = config.max_position_embeddings if case["type"] == "longrope" else None
    frequencies, attention = ROPE_INIT_FUNCTIONS[case["type"]](config, torch.device("cpu"), seq_len)
    assert frequencies.dtype == torch.float32 and len(frequencies) == case["d"] // 2
    return {**case, "attention": attention, "frequencies": [float(f"{f:.9g}") for f in frequencies.tolist()]}


lines = [json.dumps(run(case)) for case in CASES]
(Path(__file__).parent / "frequencies.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
