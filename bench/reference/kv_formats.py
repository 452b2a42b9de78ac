"""What formats of KV pages, and few bits in the arithmetic of attention, cost SmolLM2: mean -ln p of whole documents, every
token through the cache, paired document by document against an exact f32 cache.

    python3 kv_formats.py MODEL.gguf DOCUMENTS.u16 --variants "q4:q4,rot;q4:q4,rot,channels" --out results.json
    python3 kv_formats.py --check                       chunks against row by row, on random numbers
    python3 kv_formats.py --tables results.json         tables of what was measured

Needs torch and numpy. Weights are dequantized, everything but the cache is f32, on a GPU where there is one. So these are not
the runtime's numbers, which quantizes activations to 8 bits, but the differences between formats are.

The cache is the runtime's (docs/kv-cache.md, docs/numeric-contract.md): a page holds 32 tokens of one KV head; a row sees its
own page exactly, the pages of the `window` before it and the sink page at 8 bits, older pages in the format under test, made
from the 8-bit codes. What a row sees of a page depends on their distance alone, so that a chunk of rows takes scores with the
three forms of its newest pages and with one form of all older ones. Keys are in half-split order, as the runtime's are.

A variant (f32:f32 always runs) is KEYS:VALUES and options with commas between, KEYS and VALUES of f32, q8, q4, q3:

    rot, vrot        keys and queries, or values, rotated by a Hadamard matrix (vrot: not in the runtime)
    channels         keys: scale and zero by channel of the page, 8 bits each
    mean             keys: the page's channel means taken off, 8 bits each
    outliers=N       keys: N channels of a page at 8 bits
    factors          values: channel factors of the page, 8 bits each
    salient=N        keys and values: N slots of a page with 4 bits more
    group=N          dims with a scale of their own (64)
    window=N         newest tokens at 8 bits (64)
    heads=L.H+L.H    KV heads whose pages stay at 8 bits
    q=N, w=N         the query's codes lie within +-N, the softmax weights' of a page within 0..N (0: not quantized)
    k=N              the codes of 8-bit keys lie within +-N (127)
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

PAGE = 32
SINKS = 32
HALF_MAX = 65504.0


# --- model file -------------------------------------------------------------------------------------------------------------

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


class Gguf:
    """Metadata and dequantized tensors of a GGUF file (F32, F16, Q4_0, Q4_1, Q8_0)."""

    def __init__(self, path: str) -> None:
        self.bytes = np.memmap(path, dtype=np.uint8, mode="r")
        self.at = 0
        magic, version = self.scalar(4), self.scalar(4)
        if magic != 0x46554747 or version != 3:
            raise ValueError(f"{path}: not a GGUF file of version 3")
        n_tensors, n_keys = self.scalar(10), self.scalar(10)
        self.meta = {}
        for _ in range(n_keys):
            key = self.text()
            self.meta[key] = self.value(self.scalar(4))
        self.places = {}
        for _ in range(n_tensors):
            name = self.text()
            dims = [self.scalar(10) for _ in range(self.scalar(4))]
            self.places[name] = (dims[::-1], self.scalar(4), self.scalar(10))
        alignment = self.meta.get("general.alignment", 32)
        self.base = -(-self.at // alignment) * alignment

    def scalar(self, kind: int):
        (value,) = struct.unpack_from(SCALARS[kind], self.bytes, self.at)
        self.at += struct.calcsize(SCALARS[kind])
        return value

    def text(self) -> str:
        n = self.scalar(10)
        self.at += n
        return bytes(self.bytes[self.at - n : self.at]).decode()

    def value(self, kind: int):
        if kind == 8:
            return self.text()
        if kind != 9:
            return self.scalar(kind)
        kind, n = self.scalar(4), self.scalar(10)
        return [self.value(kind) for _ in range(n)]

    def tensor(self, name: str) -> np.ndarray:
        shape, kind, offset = self.places[name]
        n = math.prod(shape)
        raw = self.bytes[self.base + offset :]
        if kind == 0:
            return raw[: 4 * n].view(np.float32).reshape(shape).copy()
        if kind == 1:
            return raw[: 2 * n].view(np.float16).astype(np.float32).reshape(shape)
        size = {2: 18, 3: 20, 8: 34}[kind]
        blocks = raw[: n // 32 * size].reshape(-1, size)
        half = lambda i: blocks[:, i : i + 2].copy().view(np.float16).astype(np.float32)
        if kind == 8:
            return (half(0) * blocks[:, 2:].view(np.int8)).astype(np.float32).reshape(shape)
        codes = blocks[:, size - 16 :]
        codes = np.concatenate([codes & 15, codes >> 4], 1).astype(np.float32)
        return (half(0) * (codes - 8) if kind == 2 else half(0) * codes + half(2)).astype(np.float32).reshape(shape)


# --- formats of pages: x [heads, pages, 32, dim] ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """One cache and arithmetic; see the top of the file."""

    name: str
    keys: str
    values: str
    rot: bool = False
    vrot: bool = False
    channels: bool = False
    mean: bool = False
    outliers: int = 0
    factors: bool = False
    salient: int = 0
    group: int = 64
    window: int = 64
    heads: str = ""
    q: int = 0
    w: int = 0
    k: int = 127

    @staticmethod
    def parse(name: str) -> Variant:
        forms, *options = name.split(",")
        keys, values = forms.split(":")
        fields = {}
        for option in options:
            key, _, value = option.partition("=")
            fields[key] = value if key == "heads" else int(value) if value else True
        return Variant(name, keys, values, **fields)

    def sensitive(self, layer: int) -> list[int]:
        pairs = [pair.split(".") for pair in self.heads.split("+")] if self.heads else []
        return [int(head) for at, head in pairs if int(at) == layer]

    def bits(self, part: str, dim: int = 64, n_heads: int = 90) -> float:
        """Bits a number of old pages of keys or values, as the runtime lays them out; dims and heads are SmolLM2-135M's."""
        if self.heads:
            share = len(self.heads.split("+")) / n_heads
            return (1 - share) * replace(self, heads="").bits(part, dim) + share * (8 + 16 / self.group)
        form = self.keys if part == "keys" else self.values
        if form == "f32":
            return 32.0
        groups = dim // self.group
        if form == "q8":
            return 8 + 16 * groups / dim
        n = 4 if form == "q4" else 3
        codes = n * dim * PAGE // 8
        scales = 2 * dim if part == "keys" and self.channels else 4 * groups * PAGE
        section = self.salient * (dim // 2 + 2 * groups + 1)
        if part == "keys":
            section += 36 * self.outliers + (dim if self.mean else 0)
        elif self.factors:
            section += dim
        return (codes + scales + -(-section // 16) * 16) * 8 / (PAGE * dim)


def half(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(-HALF_MAX, HALF_MAX).half().float()


def inverse(scale: torch.Tensor) -> torch.Tensor:
    return torch.where(scale > 0, 1 / scale, torch.zeros_like(scale))


def half_bits(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(-HALF_MAX, HALF_MAX).half().view(torch.int16).int()


def from_bits(bits: torch.Tensor) -> torch.Tensor:
    return bits.to(torch.int16).view(torch.half).float()


def up_to_byte(x: torch.Tensor) -> torch.Tensor:
    """8-bit floats without sign, rounded up: bits 14..7 of a binary16."""
    return from_bits(((half_bits(x) + 127) >> 7).clamp(max=0xF7) << 7)


def signed_byte(x: torch.Tensor) -> torch.Tensor:
    """8-bit floats with sign, to the nearest: bits 15..8 of a binary16."""
    magnitude = half_bits(x.abs())
    rounded = ((magnitude + 0x7F + ((magnitude >> 8) & 1)) >> 8).clamp(max=0x7B) << 8
    return torch.where(x < 0, -from_bits(rounded), from_bits(rounded))


@dataclass
class Part:
    """Keys or values of all pages: `dense` is what they stand for, of which `plain` takes no part in the rounding of weights
    (minima, salient slots); dense - plain is codes times `scale` [heads, tokens, groups]."""

    dense: torch.Tensor
    scale: torch.Tensor
    plain: torch.Tensor | None


def eight_bits(x: torch.Tensor, group: int, top: int) -> tuple[torch.Tensor, torch.Tensor]:
    y = x.unflatten(-1, (-1, group))
    scale = half(y.abs().amax(-1, keepdim=True) / top)
    codes = (y * inverse(scale)).round().clamp(-top, top)
    return (codes * scale).flatten(-2), scale.squeeze(-1)


def by_token(x: torch.Tensor, top: int, group: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What codes stand for, scales, and what minima stand for."""
    y = x.unflatten(-1, (-1, group))
    low = half(y.amin(-1, keepdim=True))
    scale = half((y.amax(-1, keepdim=True) - low).clamp(min=0) / top)
    codes = ((y - low) * inverse(scale)).round().clamp(0, top)
    return (codes * scale + low).flatten(-2), scale.squeeze(-1), low.expand_as(y).flatten(-2)


def by_channel(x: torch.Tensor, top: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What codes stand for, and the channels' scales [heads, pages, 1, dim]."""
    low = x.amin(2, keepdim=True)
    scale = up_to_byte(torch.maximum((x.amax(2, keepdim=True) - low) / top, low.abs() / 127))
    factor = inverse(scale)
    zero = (low * factor).round().clamp(-127, 127)
    codes = ((x * factor).round() - zero).clamp(0, top)
    return scale * (codes + zero), scale


def outlier_terms(x: torch.Tensor, held: torch.Tensor, n: int, chosen: torch.Tensor) -> torch.Tensor:
    """What the chosen channels of x - held are at 8 bits, zero elsewhere."""
    rest = torch.gather(x - held, 3, chosen)
    scale = half(rest.abs().amax(2, keepdim=True) / 127)
    codes = (rest * inverse(scale)).round().clamp(-127, 127)
    return torch.zeros_like(x).scatter_(3, chosen, codes * scale)


def salient_terms(rest: torch.Tensor, n: int, group: int) -> torch.Tensor:
    """4 bits of what the n slots lack whose codes lack most, zero elsewhere."""
    order = rest.square().sum(-1).argsort(dim=-1, descending=True, stable=True)[..., :n]
    slots = order[..., None].expand(*order.shape, rest.shape[-1])
    y = torch.gather(rest, 2, slots).unflatten(-1, (-1, group))
    scale = half(y.abs().amax(-1, keepdim=True) / 7)
    codes = (y * inverse(scale)).round().clamp(-7, 7)
    return torch.zeros_like(rest).scatter_(2, slots, (codes * scale).flatten(-2))


def few_bits(v: Variant, part: str, x: torch.Tensor) -> tuple[Part, torch.Tensor | None]:
    """A page's last form from what its 8 bits stand for, and the channels' scales where keys have them."""
    top = 15 if (v.keys if part == "keys" else v.values) == "q4" else 7
    keys = part == "keys"
    mean = signed_byte(x.mean(2, keepdim=True)) if keys and v.mean else None
    if mean is not None:
        x = x - mean
    y = x
    if keys and v.outliers:
        sizes = x.abs().amax(2, keepdim=True)
        chosen = sizes.argsort(dim=-1, descending=True, stable=True)[..., : v.outliers]
        chosen = chosen.expand(*x.shape[:3], v.outliers)
        y = x.scatter(3, chosen, 0.0)
    factor = up_to_byte(x.abs().amax(2, keepdim=True)) if not keys and v.factors else None
    if factor is not None:
        y = x * inverse(factor)
    channel_scales = None
    if keys and v.channels:
        dense, channel_scales = by_channel(y, top)
        scale, plain = torch.ones_like(x[..., :1]), None
    else:
        dense, scale, plain = by_token(y, top, v.group)
    if factor is not None:
        dense, plain = dense * factor, plain * factor
    if keys and v.outliers:
        dense = dense + outlier_terms(x, dense, v.outliers, chosen)
    if v.salient:
        more = salient_terms(x - dense, v.salient, v.group)
        dense, plain = dense + more, plain + more if plain is not None else more
    if mean is not None:
        dense = dense + mean
    return Part(dense, scale, plain), channel_scales


@dataclass
class Forms:
    """A part's three forms, tokens in a row: exact, recent (8 bits), and aged, sinks included."""

    exact: torch.Tensor
    recent: Part
    aged: Part
    channel_scales: torch.Tensor | None = None


def forms_of(v: Variant, part: str, x: torch.Tensor, n_kv: int, layer: int, sinks: int = SINKS) -> Forms:
    """x [heads, tokens, dim], whole pages, of which the first `sinks` tokens stay at 8 bits."""
    form = v.keys if part == "keys" else v.values
    flat = lambda t: t.flatten(1, 2)
    if form == "f32":
        same = Part(x, torch.ones_like(x[..., :1]), None)
        return Forms(x, same, same)
    pages = x.unflatten(1, (-1, PAGE))
    dense, scale = eight_bits(pages, v.group, v.k if part == "keys" else 127)
    recent = Part(flat(dense), flat(scale), None)
    if form == "q8":
        return Forms(x, recent, recent)
    aged, channel_scales = few_bits(v, part, dense)
    plain = torch.zeros_like(aged.dense) if aged.plain is None else aged.plain
    stays = torch.zeros(pages.shape[:2], dtype=torch.bool, device=x.device)
    stays[:, : sinks // PAGE] = True
    for head in v.sensitive(layer):
        stays[head::n_kv] = True
    stays = stays[..., None, None]
    few = Part(
        flat(torch.where(stays, dense, aged.dense)),
        flat(torch.where(stays, scale, aged.scale)),
        flat(torch.where(stays, torch.zeros_like(plain), plain)),
    )
    if channel_scales is not None:  # 8-bit pages take the query as it is
        channel_scales = torch.where(stays, torch.ones_like(channel_scales), channel_scales)
    return Forms(x, recent, few, channel_scales)


# --- attention --------------------------------------------------------------------------------------------------------------


def round_query(q: torch.Tensor, top: int) -> torch.Tensor:
    if top == 0:
        return q
    unit = q.abs().amax(-1, keepdim=True) / top
    return (q * inverse(unit)).round() * unit


def scores_by_channel(q: torch.Tensor, forms: Forms, first: int, end: int, top: int) -> torch.Tensor:
    """Scores where the query takes each page's channel scales before it is quantized; q [heads, rows, dim]."""
    out = torch.empty(*q.shape[:2], end - first, device=q.device)
    step = 32
    for page in range(first // PAGE, end // PAGE, step):
        last = min(page + step, end // PAGE)
        scale = forms.channel_scales[:, page:last]
        keys = forms.aged.dense[:, page * PAGE : last * PAGE].unflatten(1, (-1, PAGE)) * inverse(scale)
        queries = round_query(q[:, None] * scale, top)
        s = queries @ keys.transpose(2, 3)
        out[..., page * PAGE - first : last * PAGE - first] = s.transpose(1, 2).flatten(2)
    return out


def weighted(w: torch.Tensor, part: Part, first: int, end: int, top: int) -> torch.Tensor:
    """w [heads, rows, end - first] times values, its products with their scales rounded page by page."""
    dense = part.dense[:, first:end]
    if top == 0:
        return w @ dense
    plain = None if part.plain is None else part.plain[:, first:end]
    coded = dense if plain is None else dense - plain
    scale = part.scale[:, first:end]
    group = dense.shape[-1] // scale.shape[-1]
    outs = []
    for g in range(scale.shape[-1]):
        s = scale[:, None, :, g]
        p = (w * s).unflatten(-1, (-1, PAGE))
        unit = p.amax(-1, keepdim=True) / top
        rounded = p.mul_(inverse(unit)).round_().mul_(unit).flatten(-2).mul_(inverse(s))
        outs.append(rounded @ coded[..., g * group : (g + 1) * group])
    out = torch.cat(outs, -1)
    return out if plain is None else out + w @ plain


def attend(
    v: Variant,
    q: torch.Tensor,
    keys: Forms,
    values: Forms,
    chunk: int,
    first: int = 0,
    empty: torch.Tensor | None = None,
    watch: Callable[[int, torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """q [heads, shared, rows, dim], scaled, of the tokens from `first` on; forms of [heads, tokens, dim]. Returns q's shape.

    Slots that are `empty` [heads, tokens] are not seen. `watch` is given each chunk's first token and weights [heads, shared,
    rows, tokens]."""
    shared = q.shape[1]
    out = torch.empty_like(q)
    for a in range(first, first + q.shape[2], chunk):
        end = min(a + chunk, first + q.shape[2])
        rows = end - a
        far = max(0, a - v.window)
        x = q[:, :, a - first : end - first].flatten(1, 2)
        xq = round_query(x, v.q)
        block = torch.arange(a, end, device=q.device) // PAGE
        column = torch.arange(far, end, device=q.device)
        distance = (block[:, None] - column[None] // PAGE).repeat(shared, 1)
        own, recent = distance == 0, (distance > 0) & (distance <= v.window // PAGE)
        hidden = (torch.arange(a, end, device=q.device)[:, None] < column[None]).repeat(shared, 1)
        s = torch.empty(x.shape[0], x.shape[1], end, device=q.device)
        if keys.channel_scales is not None and v.q:
            s[..., :] = scores_by_channel(x, keys, 0, end, v.q)
        else:
            torch.matmul(xq, keys.aged.dense[:, :end].transpose(1, 2), out=s)
        near = s[..., far:]
        near = torch.where(recent, xq @ keys.recent.dense[:, far:end].transpose(1, 2), near)
        near = torch.where(own, x @ keys.exact[:, far:end].transpose(1, 2), near)
        s[..., far:] = near.masked_fill_(hidden, -math.inf)
        if empty is not None:
            s.masked_fill_(empty[:, None, :end], -math.inf)
        w = torch.softmax(s, -1)
        del s
        if watch is not None:
            watch(a, w.unflatten(1, (shared, rows)))
        near = w[..., far:]
        o = (near * own) @ values.exact[:, far:end] + weighted(near * recent, values.recent, far, end, v.w)
        w[..., far:].mul_(~(own | recent))
        o += weighted(w, values.aged, 0, end, v.w)
        out[:, :, a - first : end - first] = o.unflatten(1, (shared, rows))
    return out


def hadamard(x: torch.Tensor) -> torch.Tensor:
    n = x.shape[-1]
    y = x
    h = 1
    while h < n:
        pairs = y.unflatten(-1, (n // (2 * h), 2, h))
        a, b = pairs[..., 0, :], pairs[..., 1, :]
        y = torch.stack([a + b, a - b], -2).flatten(-3)
        h *= 2
    return y / math.sqrt(n)


# --- model ------------------------------------------------------------------------------------------------------------------


def half_split(w: np.ndarray, dim: int) -> np.ndarray:
    """Rows of heads from pair order (2 i, 2 i + 1) to half-split order (i, i + dim / 2)."""
    return w.reshape(-1, dim // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


# layer, q [sequences * KV heads, shared, tokens, dim], scaled, keys and values [sequences * KV heads, tokens, dim] -> like q
Attention = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Llama:
    def __init__(self, path: str, device: str, length: int) -> None:
        file = Gguf(path)
        meta = file.meta
        self.n_layers, self.n_heads = meta["llama.block_count"], meta["llama.attention.head_count"]
        self.n_kv, self.eps = meta["llama.attention.head_count_kv"], meta["llama.attention.layer_norm_rms_epsilon"]
        self.dim = meta["llama.embedding_length"] // self.n_heads
        load = lambda name: torch.from_numpy(np.ascontiguousarray(file.tensor(name))).to(device)
        split = lambda name: torch.from_numpy(half_split(file.tensor(name), self.dim).copy()).to(device)
        self.embedding, self.norm = load("token_embd.weight"), load("output_norm.weight")
        self.layers = []
        for i in range(self.n_layers):
            at = f"blk.{i}."
            own = ("attn_norm", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
            layer = {name: load(f"{at}{name}.weight") for name in own}
            layer.update({name: split(f"{at}{name}.weight") for name in ("attn_q", "attn_k")})
            self.layers.append(layer)
        frequency = np.exp(np.arange(self.dim // 2) * (-2 * math.log(meta["llama.rope.freq_base"]) / self.dim))
        angles = np.outer(np.arange(length), frequency)
        self.cos = torch.from_numpy(np.cos(angles).astype(np.float32)).to(device)
        self.sin = torch.from_numpy(np.sin(angles).astype(np.float32)).to(device)

    def rms(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * weight

    def rope(self, x: torch.Tensor, at: int = 0) -> torch.Tensor:
        """x [..., tokens, dim] of positions from `at` on."""
        a, b = x.chunk(2, -1)
        cos, sin = (table[at : at + x.shape[-2]] for table in (self.cos, self.sin))
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def heads(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return (x @ weight.T).unflatten(-1, (-1, self.dim)).transpose(1, 2)

    @torch.no_grad()
    def hidden(self, ids: torch.Tensor, v: Variant, attention: Attention, at: int = 0) -> torch.Tensor:
        """ids [sequences, tokens] of positions from `at` on -> what logits are made of [sequences, tokens, size]."""
        h = self.embedding[ids]
        shared = self.n_heads // self.n_kv
        for i, layer in enumerate(self.layers):
            x = self.rms(h, layer["attn_norm"])
            q = self.rope(self.heads(x, layer["attn_q"]), at) / math.sqrt(self.dim)
            k, values = self.rope(self.heads(x, layer["attn_k"]), at), self.heads(x, layer["attn_v"])
            if v.rot:
                q, k = hadamard(q), hadamard(k)
            if v.vrot:
                values = hadamard(values)
            q = q.unflatten(1, (self.n_kv, shared)).flatten(0, 1).contiguous()
            o = attention(i, q, k.flatten(0, 1), values.flatten(0, 1))
            if v.vrot:
                o = hadamard(o)
            o = o.unflatten(0, (-1, self.n_kv)).flatten(1, 2).transpose(1, 2).flatten(2)
            h = h + o @ layer["attn_output"].T
            x = self.rms(h, layer["ffn_norm"])
            h = h + (torch.nn.functional.silu(x @ layer["ffn_gate"].T) * (x @ layer["ffn_up"].T)) @ layer["ffn_down"].T
        return self.rms(h, self.norm)

    @torch.no_grad()
    def nll(self, ids: torch.Tensor, v: Variant, chunk: int) -> torch.Tensor:
        """ids [documents, tokens], whole pages -> -ln p [documents, tokens - 1] of all but the first token."""

        def attention(i: int, q: torch.Tensor, k: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            k_forms, v_forms = forms_of(v, "keys", k, self.n_kv, i), forms_of(v, "values", values, self.n_kv, i)
            return attend(v, q, k_forms, v_forms, chunk)

        h = self.hidden(ids, v, attention)
        out = torch.empty(ids.shape[0], ids.shape[1] - 1, device=h.device)
        for d in range(ids.shape[0]):
            for a in range(0, ids.shape[1] - 1, 2048):
                end = min(a + 2048, ids.shape[1] - 1)
                logits = h[d, a:end] @ self.embedding.T
                out[d, a:end] = torch.logsumexp(logits, -1) - logits.gather(1, ids[d, a + 1 : end + 1, None])[:, 0]
        return out


# --- check: chunks against row by row -----------------------------------------------------------------------------------------


def check() -> None:
    torch.manual_seed(1)
    n, dim, heads, shared = 416, 64, 3, 3
    k, x, q = torch.randn(heads, n, dim), torch.randn(heads, n, dim), torch.randn(heads, shared, n, dim) / 8
    k[..., 5] += 4
    worst = 0.0
    names = ["f32:f32", "q8:q4", "q4:q4,window=128", "q3:q3,channels,factors"]
    names += ["q4:q4,mean,outliers=2,salient=2,group=32", "q3:q4,heads=0.1"]
    names += ["q8:q8,q=127,w=127,k=63", "q4:q4,q=63,w=127,group=32", "q4:q4,factors,salient=2,w=127", "q4:q4,channels,q=127"]
    for name in names:
        v = Variant.parse(name)
        keys, values = forms_of(v, "keys", k, heads, 0), forms_of(v, "values", x, heads, 0)
        got = attend(v, q, keys, values, 96)
        for t in [0, 31, 32, 63, 64, 95, 96, 97, 200, 415]:
            for head in range(heads):
                for g in range(shared):
                    want = one_row(v, q[head, g, t], t, head, keys, values)
                    worst = max(worst, float((want - got[head, g, t]).abs().max()))
        print(f"{name}: {worst:.1e} bits {v.bits('keys'):.2f} {v.bits('values'):.2f}")
        if not worst < 2e-4:
            raise SystemExit(f"{name}: chunks and rows differ")


def one_row(v: Variant, q: torch.Tensor, t: int, head: int, keys: Forms, values: Forms) -> torch.Tensor:
    scores, parts = [], []
    for page in range(t // PAGE + 1):
        at = slice(page * PAGE, min(page * PAGE + PAGE, t + 1))
        distance = t // PAGE - page
        if distance == 0:
            scores.append(keys.exact[head, at] @ q)
            parts.append(None)
            continue
        is_recent = distance <= v.window // PAGE
        k, part = (keys.recent, values.recent) if is_recent else (keys.aged, values.aged)
        if not is_recent and keys.channel_scales is not None:
            scale = keys.channel_scales[head, page, 0]
            scores.append((k.dense[head, at] * inverse(scale)) @ round_query(q * scale, v.q))
        else:
            scores.append(k.dense[head, at] @ round_query(q, v.q))
        parts.append(part)
    w = torch.softmax(torch.cat(scores), 0)
    out = torch.zeros_like(q)
    for page, part in enumerate(parts):
        at = slice(page * PAGE, min(page * PAGE + PAGE, t + 1))
        weights = w[at]
        if part is None:
            out += weights @ values.exact[head, at]
            continue
        plain = torch.zeros_like(part.dense[head, at]) if part.plain is None else part.plain[head, at]
        out += weights @ plain
        scale = part.scale[head, at]
        for g in range(scale.shape[1]):
            dims = slice(g * 64 // scale.shape[1], (g + 1) * 64 // scale.shape[1])
            p = weights * scale[:, g]
            codes = (part.dense[head, at, dims] - plain[:, dims]) * inverse(scale[:, g : g + 1])
            if v.w:
                unit = p.max() / v.w
                p = (p * inverse(unit)).round() * unit
            out[dims] += p @ codes
    return out


# --- runs and tables ----------------------------------------------------------------------------------------------------------

EDGES = (0, 2048, 4096)


def run(options: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    documents = torch.from_numpy(np.fromfile(options.documents, dtype=np.uint16).astype(np.int64)).view(-1, options.length)
    n = options.tokens // PAGE * PAGE
    chosen = [int(i) for i in options.only.split(",")] if options.only else list(range(len(documents)))
    began = time.time()
    model = Llama(options.model, device, n)
    print(f"loaded in {time.time() - began:.1f} s on {device}", flush=True)
    out = Path(options.out)
    results = json.loads(out.read_text()) if out.exists() else {}
    for name in ["f32:f32", *options.variants.split(";")]:
        v = Variant.parse(name)
        into = results.setdefault(str(n), {}).setdefault(name, {})
        todo = [i for i in chosen if str(i) not in into]
        if time.time() - began > options.seconds:
            print(f"no time for {name}", flush=True)
            continue
        at = time.time()
        for i in range(0, len(todo), options.batch):
            batch = todo[i : i + options.batch]
            nll = model.nll(documents[batch, :n].to(device), v, options.chunk).double().cpu()
            for document, row in zip(batch, nll):
                parts = (float(row[a:b].mean()) for a, b in zip(EDGES, (*EDGES[1:], n)) if a < n)
                into[str(document)] = [float(row.mean()), *parts]
        out.write_text(json.dumps(results, indent=1) + "\n")
        print(line(results[str(n)], name) + f"  {time.time() - at:.1f} s", flush=True)


def line(results: dict, name: str) -> str:
    base = results["f32:f32"]
    common = [d for d in results[name] if d in base]
    deltas = np.array([results[name][d][0] - base[d][0] for d in common])
    mean = np.mean([base[d][0] for d in common])
    error = deltas.std(ddof=1) / math.sqrt(len(deltas)) if len(deltas) > 1 else 0
    v = Variant.parse(name)
    bits = f"{v.bits('keys'):.2f} | {v.bits('values'):.2f} | {(v.bits('keys') + v.bits('values')) / 2:.2f}"
    return f"| {name} | {bits} | {100 * deltas.mean() / mean:+.3f}% ± {100 * error / mean:.3f} | {len(deltas)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("documents", nargs="?", help="token ids, u16")
    parser.add_argument("--length", type=int, default=7425, help="ids of a document in the file")
    parser.add_argument("--tokens", type=int, default=7425, help="ids to run of each, taken down to whole pages")
    parser.add_argument("--only", help="numbers of documents, with commas between")
    parser.add_argument("--variants", default="q8:q8", help="with semicolons between")
    parser.add_argument("--batch", type=int, default=4, help="documents side by side")
    parser.add_argument("--chunk", type=int, default=1024, help="rows side by side")
    parser.add_argument("--seconds", type=float, default=1e9, help="no variant begins after this")
    parser.add_argument("--out", default="kv-formats.json")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--tables")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    if options.check:
        check()
    elif options.tables:
        for n, results in json.loads(Path(options.tables).read_text()).items():
            print(f"\n{n} tokens\n")
            print("| variant | bits, keys | values | both | change of NLL | documents |")
            print("| --- | ---: | ---: | ---: | --- | ---: |")
            for name in results:
                print(line(results, name))
    else:
        run(options)


if __name__ == "__main__":
    main()
