/**
 * What each policy is for, in a line: `thimble run --help` prints it, and the README's table is made of it
 * (test/cli/policies.test.ts holds them together). A policy without a note does not compile.
 * @module
 */
import type { PolicyName } from "../../host/policy.ts";

export interface PolicyNote {
  /** What stays. */
  readonly keeps: string;
  /** The paper's name for it, and its number at arxiv.org. */
  readonly paper: readonly [name: string, id: string];
  /** When it runs, where that is not both. */
  readonly when?: string;
  /** What it computes, reads or needs besides. */
  readonly cost: string;
}

const KEYS = "reads the keys";
const LAST_ROWS = "the last rows' attention once more";
const LAST_ROW = "the last row's attention once more";
const EXPECTED = "sums over all queries of the prompt";
const ALL_ROWS = "every product of the prompt's attention once more";
const CHUNKS = "attention within chunks of the prompt";
const CRITICAL = "the output projection of every slot";
const AGAIN = "the prompt once more";

export const POLICY_NOTES: Readonly<Record<PolicyName, PolicyNote>> = {
  streaming: {
    keeps: "the first and the newest tokens",
    paper: ["StreamingLLM", "2309.17453"],
    cost: "nothing",
  },
  "duo-attention": {
    keeps: "everything in retrieval heads, the first and the newest in the others",
    paper: ["DuoAttention", "2410.10819"],
    cost: "nothing; head scores made once of texts",
  },
  razor: {
    keeps: "the same, by what heads do to repeated tokens",
    paper: ["RazorAttention", "2407.15891"],
    cost: "nothing; head scores made once",
  },
  "key-norm": { keeps: "keys of small norm", paper: ["L2 norm", "2406.11430"], cost: KEYS },
  "key-diff": { keeps: "keys unlike the others", paper: ["KeyDiff", "2504.15364"], cost: KEYS },
  snapkv: {
    keeps: "what the prompt's last tokens look at, and its neighbours",
    paper: ["SnapKV", "2404.14469"],
    cost: LAST_ROWS,
  },
  pyramidkv: { keeps: "the same, more in lower layers", paper: ["PyramidKV", "2406.02069"], cost: LAST_ROWS },
  adakv: {
    keeps: "the same, more in the heads of a layer that need it",
    paper: ["AdaKV", "2407.11550"],
    cost: LAST_ROWS,
  },
  criticalkv: {
    keeps: "what snapkv does, weighed by what its values can change",
    paper: ["CriticalKV", "2502.03805"],
    cost: `${LAST_ROWS}, ${CRITICAL}`,
  },
  criticaladakv: {
    keeps: "the same, dealt to heads as adakv does",
    paper: ["CriticalKV", "2502.03805"],
    cost: `${LAST_ROWS}, ${CRITICAL}`,
  },
  "expected-attention": {
    keeps: "what queries to come would look at, if they are like the prompt's",
    paper: ["Expected Attention", "2510.00636"],
    cost: EXPECTED,
  },
  "adakv-expected": {
    keeps: "the same, dealt to heads as adakv does",
    paper: ["Expected Attention", "2510.00636"],
    cost: EXPECTED,
  },
  "criticalkv-expected": {
    keeps: "the same, weighed by what its values can change",
    paper: ["CriticalKV", "2502.03805"],
    cost: `${EXPECTED}, ${CRITICAL}`,
  },
  "q-filter": {
    keeps: "keys that lie where queries of other texts point",
    paper: ["Q-Filters", "2503.02812"],
    cost: `${KEYS}; filters made once of texts`,
  },
  simlayerkv: {
    keeps: "everything, but in layers that look at the first and the newest only",
    paper: ["SimLayerKV", "2410.13846"],
    when: "a prompt's end",
    cost: LAST_ROW,
  },
  finch: {
    keeps: "what the prompt's last tokens look at, each for its share",
    paper: ["FINCH", "2408.00167"],
    cost: LAST_ROWS,
  },
  chunkkv: {
    keeps: "what snapkv would, in whole chunks of neighbours",
    paper: ["ChunkKV", "2502.00299"],
    cost: LAST_ROWS,
  },
  "observed-attention": {
    keeps: "what all tokens of the prompt look at, on average",
    paper: ["H2O", "2306.14048"],
    cost: ALL_ROWS,
  },
  kvzip: {
    keeps: "what the model needs to repeat the prompt, over all heads",
    paper: ["KVzip", "2505.23416"],
    cost: AGAIN,
  },
  "kvzip-layerwise": { keeps: "the same, as many in every layer", paper: ["KVzip", "2505.23416"], cost: AGAIN },
  compactor: {
    keeps: "leverage and non-causal-attention together",
    paper: ["Compactor", "2507.08143"],
    cost: `a sketch of the keys, ${CHUNKS}`,
  },
  leverage: {
    keeps: "keys that the others cannot stand for",
    paper: ["Compactor", "2507.08143"],
    cost: "a sketch of the keys",
  },
  "non-causal-attention": {
    keeps: "what the text around it looks at, before and behind",
    paper: ["Compactor", "2507.08143"],
    cost: CHUNKS,
  },
  h2o: {
    keeps: "what all tokens of the prompt look at, in sum, and the newest",
    paper: ["H2O", "2306.14048"],
    cost: ALL_ROWS,
  },
  tova: { keeps: "what the newest token looks at", paper: ["TOVA", "2401.06104"], cost: LAST_ROW },
  lagkv: {
    keeps: "what the tokens that follow cannot stand for",
    paper: ["LagKV", "2504.04704"],
    cost: "reads keys and values",
  },
};

/** Where nothing else is said. */
export const USUAL_TIME = "a prompt's end; a full session";
