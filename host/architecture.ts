/**
 * The model families (family.ts): what each does differently, as data. One forward pass runs them all, and no kernel asks for a family.
 * Adding one that fits these options is one entry here and one fixture (docs/architectures.md).
 * @module
 */
import { ThimbleError } from "./errors.ts";
import type { Family } from "./family.ts";
import type { GgufHeader } from "./header.ts";
import { type ModelConfig, missingKeys, readConfig } from "./model-config.ts";
import { checkTensors, type TensorPlace, tensorPlaces } from "./tensor-places.ts";

const LLAMA: Family = {
  norm: "rms",
  normPlaces: "before",
  parallel: false,
  qkNorm: "none",
  qkvBias: false,
  fused: false,
  pairOrder: false,
  activation: "silu",
  embeddingRoot: false,
  logitScale: "divide",
  softcaps: { attention: 0, logit: 0 },
  fullEvery: 0,
  noRope: "none",
  windowRopeBase: 0,
};

const GEMMA: Family = { ...LLAMA, activation: "gelu", embeddingRoot: true };
const COHERE: Family = { ...LLAMA, norm: "layer", parallel: true, pairOrder: true, logitScale: "multiply" };

/** `general.architecture` to family. */
const FAMILIES: Readonly<Record<string, Family>> = {
  llama: { ...LLAMA, pairOrder: true },
  qwen2: { ...LLAMA, qkvBias: true },
  qwen3: { ...LLAMA, qkNorm: "head" },
  gemma: GEMMA,
  gemma2: { ...GEMMA, normPlaces: "both", fullEvery: 2, softcaps: { attention: 50, logit: 30 } },
  gemma3: { ...GEMMA, normPlaces: "both", fullEvery: 6, qkNorm: "head", windowRopeBase: 10000 },
  phi3: { ...LLAMA, fused: true },
  smollm3: { ...LLAMA, pairOrder: true, noRope: 4 },
  olmo2: { ...LLAMA, normPlaces: "after", qkNorm: "projection" },
  granite: { ...LLAMA, pairOrder: true },
  cohere2: { ...COHERE, fullEvery: 4, noRope: "full" },
  "command-r": COHERE,
  ernie4_5: { ...LLAMA, pairOrder: true },
};

export interface Architecture {
  readonly config: ModelConfig;
  /** By tensor name. */
  readonly places: ReadonlyMap<string, TensorPlace>;
  /** The output projection is the embedding. */
  readonly tied: boolean;
}

export interface DescribeOptions {
  /** Most tokens of a session, where it decides between sets of RoPE factors. Default: the file's context length. */
  readonly contextLength?: number | undefined;
}

/**
 * Reads the configuration and where every tensor goes, and checks both for sense.
 * @throws ThimbleError unsupported_architecture, missing_metadata, malformed_file, missing_tensor
 */
export function describeModel(header: GgufHeader, options: DescribeOptions = {}): Architecture {
  const { architecture, file } = header;
  if (!Object.hasOwn(FAMILIES, architecture)) {
    const lacks = missingKeys(header);
    const known = Object.keys(FAMILIES).join(", ");
    const message = `architecture "${architecture}" is not supported; this build runs: ${known}`;
    throw new ThimbleError(
      "unsupported_architecture",
      lacks.length === 0 ? message : `${message}. The file also lacks the metadata ${lacks.join(", ")}`,
      { file, name: architecture },
    );
  }
  const family = FAMILIES[architecture]!;
  const config = readConfig(header, family, options.contextLength);
  const tied = !header.tensors.some((tensor) => tensor.name === "output.weight");
  const places = tensorPlaces(config, family, { tied, names: new Set(header.tensors.map((tensor) => tensor.name)) });
  checkTensors(header, places);
  return { config, places: new Map(places.map((place) => [place.name, place])), tied };
}
