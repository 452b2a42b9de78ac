"""Random blocks of every tensor type and what `gguf.quants.dequantize` (PyPI package gguf 0.19.0) makes of them.

    python3 test/golden/make_dequantize_golden.py

Writes dequantize/TYPE.blocks (raw bytes, 4 rows of 512 columns) and dequantize/TYPE.f32 (little-endian f32, the same shape).
f16 scales are finite and of either sign; every other bit is random.
"""
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize

ROWS, COLUMNS = 4, 512
# byte offsets of the f16 fields in a block
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0], "F16": None, "BF16": None,
}

out = Path(__file__).parent / "dequantize"
out.mkdir(exist_ok=True)
rng = np.random.default_rng(20261122)
for name, halves in HALVES.items():
    type_ = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[type_]
    n = ROWS * COLUMNS // block
    if halves is None:
        values = rng.normal(size=n).astype(np.float32)
        raw = values.astype(np.float16).view(np.uint8) if name == "F16" else (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        raw = raw.reshape(ROWS, -1)
    else:
        raw = rng.integers(0, 256, size=(n, size), dtype=np.uint8)
        for offset in halves:
            scale = (rng.normal(size=n) * 0.02).astype(np.float16)
            raw[:, offset : offset + 2] = scale.view(np.uint8).reshape(n, 2)
        raw = raw.reshape(ROWS, -1)
    f32 = dequantize(raw, type_).astype("<f4").reshape(ROWS, COLUMNS)
    assert np.isfinite(f32).all(), name
    (out / f"{name}.blocks").write_bytes(raw.tobytes())
    (out / f"{name}.f32").write_bytes(f32.tobytes())
