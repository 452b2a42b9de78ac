"""What policies and formats of pages cost SmolLM2 together: a prompt ends, a part of its slots stays, pages of few bits are
packed again, and what follows is computed on top: mean -ln p of 256 tokens, and values that are found, paired against the
whole prompt in exact f32.

    python3 evicted_formats.py MODEL.gguf REFERENCE --variants "q4 kvzip@0.55;q4 kvzip@0.79" --out results.json
    python3 evicted_formats.py MODEL.gguf REFERENCE --kept          slots that stay, against kvpress 0.5.5's
    python3 evicted_formats.py --check                              against a cache that moves slot by slot, on random numbers
    python3 evicted_formats.py --tables results.json                tables of what was measured

REFERENCE is a folder with docs/docs.u16, docs/docs.json and docs/retrieval.json; smollm2-wording.json has the ids that
`Engine.wording` gives for this model. Needs torch and numpy. Weights, forward pass,
forms of pages and the arithmetic of attention are those of kv_formats.py: everything but the cache is f32, so these are not the
runtime's numbers, which quantizes activations to 8 bits.

What a prompt's end does is what the runtime does (docs/kv-cache.md, "What stays of a prompt"):

    1. All of the prompt is in the cache, in pages as they age; a policy scores its slots as they are held there. KVzip
       (host/repeat.ts) reads it once more, behind it, in chunks of `--repeat` tokens; a slot's score is the largest share that
       a row of a query head of its group gives it, of the first positions, the chunk's slots and the repetition.
    2. The highest scores stay: of all layers and heads (kvzip), or as many of each head.
    3. They move together in their order (assembly/cache/compact.ts). The first page and the last two are at 8 bits, the others
       in the cache's form; codes move as they are between pages of one form, fewer bits are made from what 8 bits stand for.
       The last page may end in empty slots, and the next token begins a page.
    4. The tokens that follow have the positions that they have in the sequence.

Heads keep different numbers of slots; their pages stand side by side with the last ones aligned, so that the rows that follow
are as far from them in every head.

A variant is FORM full, or FORM POLICY@SHARE with the share that goes. FORM: f32; q8, q4, q3, q4:q3 (keys:values) as they are
with a policy, scales by token, rotated but for q8; and default-q8, default-q4, default-q3 as they are without one (full only).
Not in the runtime: channels-q4, channels-q3, whose keys have scales by channel and are quantized again where they come to
stand in another page; and late-q4, late-q3, where the prompt is held at 8 bits until it ends and such pages are made then.
POLICY: kvzip, streaming, snapkv, expected-attention, h2o, with the parameters that the runtime has; and kvzip-sinks, whose
later chunks see the first positions also where nothing comes before the text that is repeated, as in kvpress.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from kv_formats import (
    PAGE,
    Forms,
    Llama,
    Part,
    Variant,
    attend,
    by_token,
    eight_bits,
    few_bits,
    forms_of,
    hadamard,
    inverse,
    round_query,
)

EIGHT_BITS = "q=127,k=63,w=127"
FORMS = {
    "f32": "f32:f32",
    "q8": f"q8:q8,{EIGHT_BITS}",
    "q4": f"q4:q4,rot,{EIGHT_BITS}",
    "q3": f"q3:q3,rot,{EIGHT_BITS}",
    "q4:q3": f"q4:q3,rot,{EIGHT_BITS}",
    "default-q8": f"q8:q8,rot,{EIGHT_BITS}",
    "default-q4": f"q4:q4,rot,channels,{EIGHT_BITS}",
    "default-q3": f"q3:q3,rot,channels,{EIGHT_BITS}",
    "channels-q4": f"q4:q4,rot,channels,{EIGHT_BITS}",
    "channels-q3": f"q3:q3,rot,channels,{EIGHT_BITS}",
    "late-q4": f"q4:q4,rot,channels,{EIGHT_BITS}",
    "late-q3": f"q3:q3,rot,channels,{EIGHT_BITS}",
}
LATE = Variant.parse(f"q8:q8,rot,{EIGHT_BITS}")
SINKS = 4
WINDOW = 64
KERNEL = 5
FUTURE = 512
LENGTHS = (2048, 4096, 7168)
GRADED = 256
VALUE_TOKENS = 6
NAMED = 8
F16_BYTES = 23_040


# --- bytes, as host/kv-cache.ts counts them -----------------------------------------------------------------------------------


def part_bytes(form: str, dim: int) -> int:
    codes = {"q8": 8, "q4": 4, "q3": 3}[form] * dim * PAGE // 8
    return codes + (64 if form == "q8" else 128)


def bytes_of(form: str, pages: np.ndarray, slots: np.ndarray, dim: int) -> int:
    """Of heads with so many pages and slots. f32 pages are counted as f16 slots without headers: the runtime has no f16."""
    if form == "f32":
        return int(slots.sum()) * dim * 2 * 2
    v = Variant.parse(FORMS[form])
    header = 16 if form.startswith("default") else 16 + 2 * PAGE
    recent = header + 2 * part_bytes("q8", dim)
    aged = header + part_bytes(v.keys, dim) + part_bytes(v.values, dim)
    fixed = np.minimum(pages, 1 + v.window // PAGE)
    return int((fixed * recent + (pages - fixed) * aged).sum())


# --- a prompt's pages, and what of them moves ---------------------------------------------------------------------------------


@dataclass
class Held:
    """Keys or values of a prompt's slots as the cache holds them when it ends; `few`: in pages of fewer than 8 bits."""

    part: Part
    few: torch.Tensor


def held(v: Variant, part: str, x: torch.Tensor) -> Held:
    """x [heads, tokens, dim], whole pages."""
    forms = forms_of(v, part, x, 1, 0)
    n = x.shape[1]
    form = v.keys if part == "keys" else v.values
    at = torch.arange(n, device=x.device)
    near = at >= n - v.window
    few = ~near & (at >= PAGE) if form in ("q4", "q3") else torch.zeros_like(near)
    pick = lambda recent, aged: torch.where(near[:, None], recent, aged)
    plain = None
    if forms.aged.plain is not None:
        plain = forms.aged.plain * ~near[:, None]
    scale = pick(forms.recent.scale, forms.aged.scale)
    return Held(Part(pick(forms.recent.dense, forms.aged.dense), scale, plain), few)


@dataclass
class Moves:
    """Where slots go: `source` [heads, columns], -1 for empty ones, the last pages of all heads aligned."""

    source: torch.Tensor
    first: torch.Tensor  # [heads] column of the first page
    pages: torch.Tensor  # [heads]

    @staticmethod
    def of(keep: torch.Tensor) -> Moves:
        """keep [heads, tokens]"""
        pages = (keep.sum(1) + PAGE - 1) // PAGE
        columns = int(pages.max()) * PAGE
        first = columns - pages * PAGE
        source = torch.full((keep.shape[0], columns), -1, device=keep.device)
        head, token = keep.nonzero(as_tuple=True)
        source[head, (first[:, None] + keep.cumsum(1) - 1)[head, token]] = token
        return Moves(source, first, pages)


def moved(v: Variant, part: str, held: Held, moves: Moves) -> Forms:
    form = v.keys if part == "keys" else v.values
    # Empty slots take the place of their head's last one, which widens no range of a page.
    last = moves.source.amax(1, keepdim=True)
    at = torch.where(moves.source < 0, last, moves.source)
    take = lambda x: torch.gather(x, 1, at[..., None].expand(*at.shape, x.shape[-1]))
    dense = take(held.part.dense)
    if form == "f32":
        same = Part(dense, torch.ones_like(dense[..., :1]), None)
        return Forms(dense, same, same)
    eight, scale = eight_bits(dense, v.group, v.k if part == "keys" else 127)
    recent = Part(eight, scale, None)
    if form == "q8":
        return Forms(dense, recent, recent)
    column = torch.arange(at.shape[1], device=at.device)
    sink = (column < moves.first[:, None] + PAGE)[..., None]
    # The last pages are at 8 bits and age once more, later; the others have what they will keep.
    is_few = held.few[at][..., None] & (column < at.shape[1] - v.window)[:, None]
    few, channels = few_bits(v, part, torch.where(is_few, dense, eight).unflatten(1, (-1, PAGE)))
    plain = torch.zeros_like(dense) if few.plain is None else few.plain.flatten(1, 2)
    parts = [few.dense.flatten(1, 2), few.scale.flatten(1, 2), plain]
    if channels is None and bool(is_few.any()):
        same = (dense, take(held.part.scale), take(held.part.plain))
        parts = [torch.where(is_few, own, made) for own, made in zip(same, parts)]
    if channels is not None:
        channels = torch.where(sink[:, ::PAGE, None], torch.ones_like(channels), channels)
    aged = (torch.where(sink, own, made) for own, made in zip((eight, scale, torch.zeros_like(dense)), parts))
    return Forms(dense, recent, Part(*aged), channels)


def joined(a: Forms, b: Forms) -> Forms:
    def part(x: Part, y: Part) -> Part:
        plain = None if x.plain is None or y.plain is None else torch.cat([x.plain, y.plain], 1)
        return Part(torch.cat([x.dense, y.dense], 1), torch.cat([x.scale, y.scale], 1), plain)

    channels = None if a.channel_scales is None else torch.cat([a.channel_scales, b.channel_scales], 1)
    return Forms(torch.cat([a.exact, b.exact], 1), part(a.recent, b.recent), part(a.aged, b.aged), channels)


# --- a prompt in the cache ----------------------------------------------------------------------------------------------------


@dataclass
class Prompt:
    """Keys and values of sequences [layer][sequences * KV heads, tokens, dim] and what policies have seen, at ends."""

    ids: torch.Tensor
    keys: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)
    queries: dict[int, list[torch.Tensor]] = field(default_factory=dict)  # the last WINDOW rows
    means: dict[int, list[torch.Tensor]] = field(default_factory=dict)  # of queries before RoPE [heads, shared, dim]
    spreads: dict[int, list[torch.Tensor]] = field(default_factory=dict)  # their covariance
    sums: dict[int, list[torch.Tensor]] = field(default_factory=dict)  # of weights [heads, tokens]
    hidden: torch.Tensor | None = None


def whole_pages(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(x, (0, -x.shape[1] % PAGE))


@torch.no_grad()
def read(model: Llama, v: Variant, ids: torch.Tensor, ends: Iterable[int], policies: set[str], chunk: int) -> Prompt:
    """ids [sequences, tokens]; ends are whole pages."""
    prompt = Prompt(ids)

    def attention(i: int, q: torch.Tensor, k: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        prompt.keys.append(k)
        prompt.values.append(values)
        for end in ends:
            if "snapkv" in policies:
                prompt.queries.setdefault(end, []).append(q[:, :, end - WINDOW : end].clone())
            if "expected-attention" in policies:
                x = (hadamard(q) if v.rot else q)[:, :, :end] * math.sqrt(model.dim)
                a, b = x.chunk(2, -1)
                cos, sin = model.cos[:end], model.sin[:end]
                x = torch.cat([a * cos + b * sin, b * cos - a * sin], -1)[:, :, SINKS:]
                mean = x.mean(2, keepdim=True)
                prompt.means.setdefault(end, []).append(mean[:, :, 0])
                prompt.spreads.setdefault(end, []).append((x - mean).mT @ (x - mean) / x.shape[2])
        sums = torch.zeros(k.shape[:2], device=k.device)

        def watch(a: int, w: torch.Tensor) -> None:
            rows, seen = w.shape[2:]
            for end in ends:
                if a < end <= a + rows:
                    now = sums[:, :end].clone()
                    now[:, : min(seen, end)] += w[:, :, : end - a, :end].sum((1, 2))
                    prompt.sums.setdefault(end, []).append(now)
            sums[:, :seen] += w.sum((1, 2))

        k_forms, v_forms = forms_of(v, "keys", k, model.n_kv, i), forms_of(v, "values", values, model.n_kv, i)
        return attend(v, q, k_forms, v_forms, chunk, watch=watch if "h2o" in policies else None)

    prompt.hidden = model.hidden(whole_pages(ids), v, attention)
    return prompt


@dataclass
class End:
    """A prompt that ends after `n` tokens, as the cache holds it."""

    model: Llama
    v: Variant  # its pages, and those that are made when it has ended
    then: Variant
    prompt: Prompt
    n: int
    chunk: int

    def __post_init__(self) -> None:
        self.keys = [held(self.v, "keys", k[:, : self.n]) for k in self.prompt.keys]
        self.values = [held(self.v, "values", x[:, : self.n]) for x in self.prompt.values]
        self.repeated: dict[bool, torch.Tensor] = {}

    # Scores of layer i [heads, tokens], of which each head keeps `slots`.

    def streaming(self, i: int, slots: int) -> torch.Tensor:
        score = torch.arange(self.n, device=self.prompt.ids.device, dtype=torch.float32)
        score[:SINKS] = math.inf
        return score.expand(self.keys[i].part.dense.shape[0], -1)

    def snapkv(self, i: int, slots: int) -> torch.Tensor:
        q, k = self.prompt.queries[self.n][i], self.keys[i].part.dense
        s = q @ k.mT[:, None]
        at = torch.arange(self.n, device=q.device)
        w = s.masked_fill_(at > at[-WINDOW:, None], -math.inf).softmax(-1).mean((1, 2))[:, :-WINDOW]
        smooth = torch.nn.functional.avg_pool1d(w[:, None], KERNEL, 1, KERNEL // 2)[:, 0]
        return torch.nn.functional.pad(smooth, (0, WINDOW), value=math.inf)

    def expected_attention(self, i: int, slots: int) -> torch.Tensor:
        k, model = self.keys[i].part.dense, self.model
        k = hadamard(k) if self.v.rot else k
        cos, sin = (torch.diag(t[self.n : self.n + FUTURE].mean(0)) for t in (model.cos, model.sin))
        turn = torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)])
        mean = self.prompt.means[self.n][i] @ turn.T
        spread = turn @ self.prompt.spreads[self.n][i] @ turn.T
        k = k[:, None, SINKS:]
        s = (k @ mean[..., None])[..., 0] / math.sqrt(model.dim) + ((k @ spread) * k).sum(-1) / model.dim / 2
        score = s.softmax(-1).mean(1) * self.values[i].part.dense[:, SINKS:].norm(dim=-1)
        return torch.nn.functional.pad(score, (SINKS, 0), value=math.inf)

    def h2o(self, i: int, slots: int) -> torch.Tensor:
        score = self.prompt.sums[self.n][i].clone()
        score[:, self.n - slots // 2 :] = math.inf
        return score

    @torch.no_grad()
    def kvzip(self, wording: dict, repeat: int, start: int | None = None, always: bool = False) -> torch.Tensor:
        """Scores [layers, heads, tokens]. `start`: the first token that is repeated, where the wording does not say. `always`:
        chunks behind the first positions see them."""
        if always not in self.repeated:
            ids = self.prompt.ids[:, : self.n]
            start, end = spoken(ids, wording) if start is None else (start, self.n)
            scores = torch.zeros(len(self.keys), *self.keys[0].part.dense.shape[:2], device=ids.device)
            constant = lambda name: torch.tensor(wording[name], device=ids.device).expand(len(ids), -1)
            for at in range(start, end, repeat):
                piece = ids[:, at : min(end, at + repeat)]
                named = [constant("next"), ids[:, max(start, at - NAMED) : at]] if at > start else [constant("first")]
                rows = torch.cat([*named, constant("after"), piece], 1)
                self.repeat(rows, scores, min(SINKS, at if always else start), at, at + piece.shape[1])
            scores[..., :SINKS] = math.inf
            scores[..., end:] = math.inf
            self.repeated[always] = scores
        return self.repeated[always]

    def repeat(self, rows: torch.Tensor, scores: torch.Tensor, sinks: int, low: int, high: int) -> None:
        n, v = self.n, self.v

        def attention(i: int, q: torch.Tensor, k: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            def watch(a: int, w: torch.Tensor) -> None:
                w = w[:, :, : max(0, n + rows.shape[1] - a)]
                own = w[..., :sinks].sum(-1) + w[..., low:high].sum(-1) + w[..., n:].sum(-1)
                most = (w[..., low:high] / own[..., None]).flatten(1, 2).amax(1)
                scores[i, :, low:high] = torch.maximum(scores[i, :, low:high], most)

            keys = forms_of(v, "keys", torch.cat([self.prompt.keys[i][:, :n], k], 1), 1, 0)
            all_values = forms_of(v, "values", torch.cat([self.prompt.values[i][:, :n], values], 1), 1, 0)
            return attend(v, q, keys, all_values, self.chunk, first=n, watch=watch)

        self.model.hidden(whole_pages(rows), v, attention, at=n)

    def keep(self, policy: str, gone: float, wording: dict, repeat: int, start: int | None = None) -> list[torch.Tensor]:
        """[layer][heads, tokens]: the slots that stay."""
        n_layers, (heads, n) = len(self.keys), self.keys[0].part.dense.shape[:2]
        if policy.startswith("kvzip"):
            scores = self.kvzip(wording, repeat, start, policy == "kvzip-sinks")
            scores = scores.unflatten(1, (-1, self.model.n_kv)).transpose(0, 1).flatten(1)
            chosen = scores.topk(math.floor(scores.shape[1] * (1 - gone) + 1e-9), 1).indices
            kept = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, chosen, True)
            return list(kept.view(-1, n_layers, self.model.n_kv, n).transpose(0, 1).flatten(1, 2))
        slots = max(1, math.floor(n * (1 - gone) + 1e-9))
        score = getattr(self, policy.replace("-", "_"))
        chosen = (score(i, slots).topk(slots, 1).indices for i in range(n_layers))
        none = torch.zeros(heads, n, dtype=torch.bool, device=self.prompt.ids.device)
        return [none.scatter(1, at, True) for at in chosen]

    @torch.no_grad()
    def follow(self, ids: torch.Tensor, kept: list[torch.Tensor]) -> tuple[torch.Tensor, list[Moves]]:
        """ids [sequences, tokens] behind what stays -> what their logits are made of."""
        v = self.then
        moves = [Moves.of(keep) for keep in kept]

        def attention(i: int, q: torch.Tensor, k: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            source = moves[i].source
            keys = joined(moved(v, "keys", self.keys[i], moves[i]), forms_of(v, "keys", k, 1, 0, sinks=0))
            all_values = joined(moved(v, "values", self.values[i], moves[i]), forms_of(v, "values", values, 1, 0, sinks=0))
            empty = torch.nn.functional.pad(source < 0, (0, k.shape[1]))
            return attend(v, q, keys, all_values, self.chunk, first=source.shape[1], empty=empty)

        return self.model.hidden(whole_pages(ids), v, attention, at=self.n), moves


def spoken(ids: torch.Tensor, wording: dict) -> tuple[int, int]:
    """Tokens [start, end) that are repeated: the user's text where ids are framed as one."""
    before, after = wording["before"], wording["after"]
    rows = ids.tolist()
    begins = all(row[: len(before)] == before and len(row) > len(before) for row in rows)
    start = len(before) if begins else 0
    ends = all(row[-len(after) :] == after for row in rows)
    return start, max(start, ids.shape[1] - len(after)) if ends else ids.shape[1]


# --- what is measured ---------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """Sequences whose prompts end at the same tokens; `tail` tokens follow each end, of which the last `graded` are graded."""

    name: str
    items: list[str]
    ids: torch.Tensor
    ends: list[int]
    tail: int
    graded: int

    def key(self, end: int) -> str:
        return f"{self.name}/{end}" if self.name.startswith("nll") else f"{self.name}/{end}/A"


def cases_of(folder: Path, batch: int, only: str) -> list[Case]:
    shape = json.loads((folder / "docs/docs.json").read_text())["shape"]
    documents = np.fromfile(folder / "docs/docs.u16", dtype=np.uint16).astype(np.int64).reshape(shape)
    cases = []
    for i in range(0, shape[0], batch):
        names = [str(at) for at in range(i, min(i + batch, shape[0]))]
        ids = torch.from_numpy(documents[i : i + batch, : max(LENGTHS) + GRADED + 1].copy())
        cases.append(Case("nll/reference", names, ids, list(LENGTHS), GRADED + 1, GRADED))
    samples = json.loads((folder / "docs/retrieval.json").read_text())["samples"]
    for n in sorted({len(sample["pre"]) for sample in samples}):
        of = [sample for sample in samples if len(sample["pre"]) == n]
        for i in range(0, len(of), batch):
            some = of[i : i + batch]
            ids = torch.tensor([sample["pre"] + sample["post"] + sample["ans"] for sample in some])
            names = [str(sample["sample"]) for sample in some]
            cases.append(Case(f"recall/reference_{some[0]['form']}", names, ids, [n], ids.shape[1] - n, VALUE_TOKENS))
    return [case for case in cases if case.name.startswith(only)]


def figures(model: Llama, case: Case, h: torch.Tensor, targets: torch.Tensor) -> list[list[float]]:
    """h [sequences, graded, size] predict targets: mean -ln p, or whether all are the most likely ones and mean ln p."""
    logits = h @ model.embedding.T
    nll = (logits.logsumexp(-1) - logits.gather(2, targets[..., None])[..., 0]).double().mean(1).tolist()
    if case.name.startswith("nll"):
        return [[round(x, 6)] for x in nll]
    hits = (logits.argmax(-1) == targets).all(1).int().tolist()
    return [[hit, round(-x, 6)] for hit, x in zip(hits, nll)]


class Results:
    """{case: {variant: {item: [bytes, figures]}}}, as `npm run quality` keeps its own, and how they were made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all = json.loads(path.read_text()) if path.exists() else {"runs": [], "cases": {}}

    def lacks(self, case: str, variant: str, items: list[str]) -> bool:
        have = self.all["cases"].get(case, {}).get(variant, {})
        return any(item not in have for item in items)

    def put(self, case: str, variant: str, items: list[str], values: list[list[float]]) -> None:
        self.all["cases"].setdefault(case, {}).setdefault(variant, {}).update(zip(items, values))

    def save(self) -> None:
        runs = ",\n".join(f"  {json.dumps(run)}" for run in self.all["runs"])
        lines = [f'{{\n "runs": [\n{runs}\n ],\n "cases": {{']
        for case, variants in self.all["cases"].items():
            rows = (f"   {json.dumps(name)}: {json.dumps(items, separators=(',', ':'))}" for name, items in variants.items())
            lines.append(f"  {json.dumps(case)}: {{\n" + ",\n".join(rows) + "\n  },")
        lines[-1] = lines[-1].rstrip(",")
        self.path.write_text("\n".join(lines) + "\n }\n}\n")


def run(options: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    began = time.time()
    model = Llama(options.model, device, max(LENGTHS) + options.repeat + 512)
    wording = json.loads(Path(options.wording).read_text())
    results = Results(Path(options.out))
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    results.all["runs"].append({"command": options.command, "date": time.strftime("%Y-%m-%d"), "device": name})
    groups: dict[str, list[str]] = {}
    for variant in dict.fromkeys(["f32 full", *filter(None, options.variants.split(";"))]):
        form, _, choice = variant.partition(" ")
        groups.setdefault(form, []).append(choice)
    for form, choices in groups.items():
        for case in cases_of(Path(options.reference), options.batch, options.only):
            if time.time() - began > options.seconds:
                print(f"no time for {form} {case.name} {case.items}", flush=True)
                continue
            at = time.time()
            if measure(model, form, choices, case, results, wording, options, device):
                results.save()
                print(f"{form} {case.name} {case.ends} {case.items}: {time.time() - at:.1f} s", flush=True)
    for line in tables(results.all["cases"]):
        print(line)


def measure(
    model: Llama,
    form: str,
    choices: list[str],
    case: Case,
    results: Results,
    wording: dict,
    options: argparse.Namespace,
    device: str,
) -> bool:
    """Whether anything of the case was lacking."""
    lacking = {end: [c for c in choices if results.lacks(case.key(end), f"{form} {c}", case.items)] for end in case.ends}
    if not any(lacking.values()):
        return False
    then = Variant.parse(FORMS[form])
    v = LATE if form.startswith("late") else then
    ids = case.ids.to(device)
    policies = {choice.split("@")[0] for some in lacking.values() for choice in some}
    prompt = read(model, v, ids[:, :-1], case.ends, policies, options.chunk)
    for end, some in lacking.items():
        stop = end + case.tail - 1  # nothing follows the last token
        targets = ids[:, stop + 1 - case.graded : stop + 1]
        ending = End(model, v, then, prompt, end, options.chunk) if any(choice != "full" for choice in some) else None
        for choice in some:
            if choice == "full":
                h = prompt.hidden[:, stop - case.graded : stop]
                pages = torch.full((len(ids), model.n_layers * model.n_kv), end // PAGE)
                slots = pages * PAGE
            else:
                policy, gone = choice.split("@")
                kept = ending.keep(policy, float(gone), wording, options.repeat)
                h, moves = ending.follow(ids[:, end:stop], kept)
                h = h[:, : case.tail - 1][:, -case.graded :]
                by_item = lambda rows: torch.stack(rows, 1).view(len(ids), model.n_kv * model.n_layers)
                pages, slots = by_item([m.pages for m in moves]), by_item([(m.source >= 0).sum(1) for m in moves])
            sizes = [bytes_of(form, p, s, model.dim) for p, s in zip(pages.cpu().numpy(), slots.cpu().numpy())]
            values = [[size, *rest] for size, rest in zip(sizes, figures(model, case, h, targets))]
            results.put(case.key(end), f"{form} {choice}", case.items, values)
    return True


# --- tables -------------------------------------------------------------------------------------------------------------------


def tables(cases: dict) -> Iterable[str]:
    order = list(dict.fromkeys(name for variants in cases.values() for name in variants))
    yield "| variant | " + " | ".join(cases) + " |"
    yield "| --- |" + " --- |" * len(cases)
    for name in order:
        yield f"| {name} | " + " | ".join(cell(case, variants, name) for case, variants in cases.items()) + " |"


def cell(case: str, variants: dict, name: str) -> str:
    """Bytes of f16's, and the change against the whole prompt in f32, with a standard error over items."""
    base, own = variants.get("f32 full", {}), variants.get(name, {})
    items = [item for item in own if item in base]
    if len(items) < 2:
        return ""
    share = 100 * np.mean([own[item][0] for item in items]) / (F16_BYTES * int(case.split("/")[2]))
    change = np.array([own[item][1] - base[item][1] for item in items])
    error = change.std(ddof=1) / math.sqrt(len(items))
    if case.startswith("nll"):
        mean = np.mean([base[item][1] for item in items])
        return f"{share:.2f}%, {100 * change.mean() / mean:+.2f}% ± {100 * error / mean:.2f}"
    found = np.mean([own[item][1] for item in items])
    more = np.mean([own[item][2] - base[item][2] for item in items])
    return f"{share:.2f}%, {found:.2f}, {change.mean():+.2f} ± {error:.2f}, ln p {more:+.3f}"


# --- against kvpress's slots --------------------------------------------------------------------------------------------------

NAMES = {"kvzip": "KVzip", "streaming": "StreamingLLM", "snapkv": "SnapKV", "expected-attention": "ExpectedAttention"}


def compare_kept(options: argparse.Namespace) -> None:
    """Mean Jaccard index over heads of the slots of a 1,024-token prompt that stay."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = Path(options.reference) / "policies"
    ids = json.loads((folder / "prompt1024.json").read_text())
    ids = torch.tensor(ids["ids"] if isinstance(ids, dict) else ids, device=device)[None]
    model = Llama(options.model, device, ids.shape[1] + options.repeat + 512)
    wording = json.loads(Path(options.wording).read_text())
    v = Variant.parse(FORMS["f32"])
    prompt = read(model, v, ids, [ids.shape[1]], set(NAMES), options.chunk)
    end = End(model, v, v, prompt, ids.shape[1], options.chunk)
    for policy, name in NAMES.items():
        for path in sorted(folder.glob(f"{name}_[0-9]*.json")):
            theirs = json.loads(path.read_text())
            # kvpress takes a header's length off every prompt.
            kept = end.keep(policy, theirs["ratio"], wording, options.repeat, start=len(wording["before"]))
            ours = (set(row.nonzero()[:, 0].tolist()) for layer in kept for row in layer)
            pairs = zip(ours, (set(slots) for layer in theirs["kept"] for slots in layer), strict=True)
            print(f"{path.name}: {np.mean([len(a & b) / len(a | b) for a, b in pairs]):.4f}")


# --- check: against a cache that moves slot by slot ---------------------------------------------------------------------------


class SlowPart:
    """A head's keys or values, page by page: lists of slots (form, codes, scale, minimum)."""

    def __init__(self, v: Variant, part: str) -> None:
        self.v, self.form, self.top = v, v.keys if part == "keys" else v.values, v.k if part == "keys" else 127
        self.pages: list[list[tuple]] = []

    def convert(self, slot: tuple, form: str) -> tuple:
        if slot[0] == form or self.form == "f32":
            return slot
        x = slot[1] * slot[2] + slot[3]
        if slot[0] == "f32" and form in ("q4", "q3"):
            return self.convert(self.convert(slot, "q8"), form)
        if form == "q8":
            dense, scale = eight_bits(x[None], self.v.group, self.top)
            return ("q8", (dense[0] * inverse(scale[0, 0])).round(), scale[0, 0], 0.0)
        dense, scale, low = by_token(x[None], 15 if form == "q4" else 7, self.v.group)
        return (form, ((dense - low)[0] * inverse(scale[0, 0])).round(), scale[0, 0], low[0, 0])

    def form_at(self, page: int, block: int) -> str:
        """Of a page once the page `block` is open."""
        if page == block or self.form == "f32":
            return "f32"
        return "q8" if page < 1 or block - page <= self.v.window // PAGE else self.form

    def age(self, block: int) -> None:
        self.pages = [[self.convert(slot, self.form_at(p, block)) for slot in page] for p, page in enumerate(self.pages)]

    def append(self, x: torch.Tensor, opens: bool) -> None:
        if opens:
            self.age(len(self.pages))
            self.pages.append([])
        self.pages[-1].append(("f32", x, 1.0, 0.0))

    def compact(self, keep: list[bool]) -> None:
        self.age(len(self.pages))
        slots = [slot for page in self.pages for slot in page]
        slots = [slot for slot, stays in zip(slots, keep) if stays]
        self.pages = [slots[i : i + PAGE] for i in range(0, len(slots), PAGE)]
        self.age(len(self.pages))


def slow_row(v: Variant, q: torch.Tensor, keys: SlowPart, values: SlowPart) -> torch.Tensor:
    rounded = round_query(q[None], v.q)[0]
    scores = [((slot[1] * slot[2] + slot[3]) @ (q if slot[0] == "f32" else rounded)) for page in keys.pages for slot in page]
    weights = iter(torch.softmax(torch.stack(scores), 0))
    out = torch.zeros_like(q)
    for page in values.pages:
        w = torch.stack([next(weights) for _ in page])
        scales = torch.tensor([float(slot[2]) for slot in page])
        p = w * scales
        if page[0][0] != "f32" and v.w:
            unit = p.max() / v.w
            p = (p * inverse(unit)).round() * unit
        for one, weight, slot in zip(p, w, page):
            out += one * slot[1] + weight * slot[3]
    return out


def check() -> None:
    torch.manual_seed(1)
    n, heads, shared, tail, dim = 256, 3, 1, 128, 64
    k, x = torch.randn(heads, n + tail, dim), torch.randn(heads, n + tail, dim)
    q = torch.randn(heads, shared, tail, dim) / 8
    k[..., 5] += 4
    keep = torch.rand(heads, n) < torch.tensor([0.25, 0.45, 1.0])[:, None]
    moves = Moves.of(keep)
    exact = ["f32:f32", "q8:q8,k=63", "q4:q4,k=63", "q3:q3", "q4:q3"]
    for name in [*exact, *(FORMS[form] for form in ("q8", "q4", "q3"))]:
        v = Variant.parse(name)
        follow = lambda part, of: joined(
            moved(v, part, held(v, part, of[:, :n]), moves), forms_of(v, part, of[:, n:], 1, 0, sinks=0)
        )
        empty = torch.nn.functional.pad(moves.source < 0, (0, tail))
        got = attend(v, q, follow("keys", k), follow("values", x), 64, first=moves.source.shape[1], empty=empty)
        errors = []
        for head in range(heads):
            parts = [SlowPart(v, "keys"), SlowPart(v, "values")]
            for part, of in zip(parts, (k, x)):
                for t in range(n):
                    part.append(of[head, t], t % PAGE == 0)
                part.compact(keep[head].tolist())
            for t in range(tail):
                for part, of in zip(parts, (k, x)):
                    part.append(of[head, n + t], t % PAGE == 0)
                for g in range(shared):
                    errors.append(float((slow_row(v, q[head, g, t], *parts) - got[head, g, t]).abs().max()))
        # Where weights are rounded, one in many lies between two codes and falls to either side.
        errors = sorted(errors)
        limit, error = (2e-5, errors[-1]) if v.w == 0 else (2e-5, errors[len(errors) * 9 // 10])
        print(f"{name}: {error:.1e}, worst {errors[-1]:.1e}", flush=True)
        if not error < limit or not errors[-1] < 5e-3:
            raise SystemExit(f"{name}: pages side by side and slot by slot differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("reference", nargs="?", help="folder with docs/")
    parser.add_argument("--wording", default=str(Path(__file__).parent / "smollm2-wording.json"))
    parser.add_argument("--variants", default="", help="with semicolons between; f32 full always runs")
    parser.add_argument("--only", default="", help="beginning of the cases' names")
    parser.add_argument("--repeat", type=int, default=2048, help="tokens that kvzip repeats at a time")
    parser.add_argument("--batch", type=int, default=8, help="sequences side by side")
    parser.add_argument("--chunk", type=int, default=1024, help="rows side by side")
    parser.add_argument("--seconds", type=float, default=1e9, help="nothing begins after this")
    parser.add_argument("--out", default="evicted-formats.json")
    parser.add_argument("--kept", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--tables")
    options = parser.parse_args()
    options.command = " ".join(f'"{a}"' if ";" in a else Path(a).name for a in sys.argv)
    torch.backends.cuda.matmul.allow_tf32 = False
    if options.check:
        check()
    elif options.tables:
        for line in tables(json.loads(Path(options.tables).read_text())["cases"]):
            print(line)
    elif options.kept:
        compare_kept(options)
    else:
        run(options)


if __name__ == "__main__":
    main()
