/**
 * The golden test can fail: each deliberate error that the fixtures name is committed here, and changes the logits by as
 * much as the same error did in transformers, so that the bound of 1e-3 would not let it pass.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Architecture } from "../../host/architecture.ts";
import type { LayerConfig } from "../../host/model-config.ts";
import type { TensorPart } from "../../host/tensor-places.ts";
import { differences, type Edits, families, loadFamily } from "./families.ts";
import { allLogits } from "./load.ts";

/** Errors that need other arithmetic than the build has: only the size of their effect is held against the bound. */
const NOT_COMMITTED = new Set(["erf gelu"]);

const key = (name: string, value: unknown): Edits => ({ metadata: { [name]: value } });

const layers = (change: (layer: LayerConfig, index: number) => Partial<LayerConfig>): Edits => ({
  architecture: ({ config, ...rest }) => ({
    ...rest,
    config: { ...config, layers: config.layers.map((layer, i) => ({ ...layer, ...change(layer, i) })) },
  }),
});

/** Changes the parts of every tensor. */
function parts(change: (part: TensorPart, name: string) => TensorPart): Edits {
  return { architecture: (architecture) => withParts(architecture, change) };
}

function withParts(architecture: Architecture, change: (part: TensorPart, name: string) => TensorPart): Architecture {
  const places = [...architecture.places].map(
    ([name, place]) => [name, { ...place, parts: place.parts.map((part) => change(part, name)) }] as const,
  );
  return { ...architecture, places: new Map(places) };
}

function values(pattern: RegExp, change: (values: Float32Array, columns: number, name: string) => void): Edits {
  return {
    values: (name, data, columns) => {
      if (pattern.test(name)) change(data, columns, name);
    },
  };
}

const withoutFactors = parts(({ layer, length, permute, ...rest }, name) =>
  name.startsWith("rope_f")
    ? { kind: "unused", layer, length, permute }
    : ({ ...rest, layer, length, permute } as TensorPart),
);

/** Swaps query heads 1 and 2 of four, on both sides of the attention: head h then reads KV head h mod 2. */
const interleavedGroups = values(/attn_(q|output)\.weight$/, (data, columns, name) => {
  const isQuery = name.includes("attn_q");
  const rows = data.length / columns;
  const size = (isQuery ? rows : columns) / 4;
  for (let r = 0; r < (isQuery ? size : rows); ++r) {
    for (let c = 0; c < (isQuery ? columns : size); ++c) {
      const at = (head: number) => (isQuery ? (head * size + r) * columns + c : r * columns + head * size + c);
      [data[at(1)], data[at(2)]] = [data[at(2)]!, data[at(1)]!];
    }
  }
});

const noQkNorm = values(/attn_[qk]_norm\.weight$/, (data) => data.fill(1));
const noRope = layers(() => ({ rope: -1 }));

/** By the fixtures' names; those of one family only are under `family: error`. */
const ERRORS: Readonly<Record<string, Edits>> = {
  "no rope": noRope,
  "q/k rows left interleaved": parts((part) => ({ ...part, permute: 0 })),
  "GQA as head % n_kv": interleavedGroups,
  "rms eps 1e-2": key("attention.layer_norm_rms_epsilon", 1e-2),
  "no llama3 scaling": withoutFactors,
  "no q/k/v bias": values(/\.bias$/, (data) => data.fill(0)),
  "no qk norm weight": noQkNorm,
  "no window": key("attention.sliding_window", undefined),
  "no attention cap": key("attn_logit_softcapping", 0),
  "no final cap": key("final_logit_softcapping", 0),
  "layers swapped (full first)": key("attention.sliding_window_pattern", [false, true]),
  "one theta (1e6)": key("rope.freq_base_swa", 1e6),
  "one theta (1e4)": key("rope.freq_base", 1e4),
  "gate/up swapped": values(/ffn_up\.weight$/, (data) => {
    const half = data.slice(0, data.length / 2);
    data.copyWithin(0, data.length / 2);
    data.set(half, data.length / 2);
  }),
  "full rotary": key("rope.dimension_count", 16),
  "rope everywhere": layers(() => ({ rope: 0 })),
  "NoPE on layer 0": layers((_, index) => ({ rope: index === 0 ? -1 : 0 })),
  "attention 1/sqrt(d)": key("attention.scale", undefined),
  "residual 1": key("residual_scale", undefined),
  "embedding 1": key("embedding_scale", undefined),
  "no scaling": key("rope.scaling.type", undefined),
  linear: key("rope.scaling.type", "linear"),
  "no magnitude": key("rope.scaling.yarn_attn_factor", 1 / (1 + 0.1 * Math.log(4))),
  "no factors": { ...key("rope.scaling.attn_factor", undefined), ...withoutFactors },
  "llama: rope_theta x10": key("rope.freq_base", 1e5),
  "ernie4_5: rope_theta x10": key("rope.freq_base", 5e6),
  "gemma2: window+1": key("attention.sliding_window", 17),
  "gemma3: window+1": key("attention.sliding_window", 17),
  "cohere2: window+1": key("attention.sliding_window", 17),
  "mistral-swa: window+1": key("attention.sliding_window", 33),
};

for (const family of families) {
  for (const [name, effects] of Object.entries(family.sensitivity)) {
    test(`${family.name}: ${name}`, async () => {
      const largest = Math.max(effects.short, effects.long);
      assert.ok(largest > 1e-3, "the bound of the golden test lies below the effect");
      if (NOT_COMMITTED.has(name)) return;
      const edits = ERRORS[`${family.name}: ${name}`] ?? ERRORS[name];
      assert.ok(edits !== undefined, "no test commits this error");
      for (const length of ["short", "long"] as const) {
        const ids = family.prompts[length];
        const options = { activations: "f32", maxOutputs: 64 } as const;
        const right = await loadFamily(family, "f32", length, options);
        const wrong = await loadFamily(family, "f32", length, options, edits);
        const { max } = differences(allLogits(wrong, ids, 64), allLogits(right, ids, 64));
        assert.ok(Math.abs(max - effects[length]) <= 1e-3, `${length}: ${max}, in transformers ${effects[length]}`);
      }
    });
  }
}

test.run();
