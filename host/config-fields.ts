/** What the kernels know of a model, beside its layers and rotation tables, and of a policy, as numbers. @module */
import { Config, Option } from "../assembly/memory/status.ts";
import { sketchColumns } from "./budget.ts";
import type { ModelConfig } from "./model-config.ts";
import { type PolicySpec, policyScratch } from "./policy.ts";

export type ConfigField = readonly [field: Config, value: number];

/** Fields that hold for every run. */
export function modelFields(config: ModelConfig): ConfigField[] {
  return [
    [Config.N_LAYERS, config.nLayers],
    [Config.HIDDEN_DIM, config.hiddenDim],
    [Config.FFN_DIM, config.ffnDim],
    [Config.N_HEADS, config.nHeads],
    [Config.N_KV_HEADS, config.nKvHeads],
    [Config.KEY_DIM, config.keyDim],
    [Config.VALUE_DIM, config.valueDim],
    [Config.ROPE_DIM, config.ropeDim],
    [Config.VOCAB_SIZE, config.vocabSize],
    [Config.NORM_EPS, config.normEps],
    [Config.N_ROPES, config.ropes.length],
    [Config.OPTIONS, optionBits(config)],
    [Config.EMBEDDING_SCALE, config.embeddingScale],
    [Config.RESIDUAL_SCALE, config.residualScale],
    [Config.ATTENTION_SCALE, config.attentionScale],
    [Config.ATTENTION_SOFTCAP, config.attentionSoftcap],
    [Config.LOGIT_SCALE, config.logitScale],
    [Config.LOGIT_SOFTCAP, config.logitSoftcap],
    [Config.SOURCE_KV_HEADS, config.sourceKvHeads],
  ];
}

/** Fields that are 0 where there is no policy. */
export function policyFields(policy: PolicySpec, config: ModelConfig): ConfigField[] {
  return [
    [Config.SLOT_POSITIONS, 1],
    [Config.OBSERVE_ROWS, policy.observeRows],
    [Config.POLICY_SCRATCH, policyScratch(policy, config)],
    [Config.QUERY_STATISTICS, policy.queryStatistics],
    [Config.FILTERS, policy.needsFilters ? 1 : 0],
    [Config.OBSERVED_SUMS, policy.observed],
    [Config.OBSERVED_CHUNK, policy.values.get("chunk") ?? 0],
    [Config.OBSERVED_SINKS, policy.values.get("sinks") ?? 0],
    [Config.SKETCH, sketchColumns(policy, config.keyDim)],
  ];
}

function optionBits({ norm, parallel, activation, queryGrouping }: ModelConfig): number {
  return (
    (norm === "layer" ? Option.LAYER_NORM : 0) |
    (parallel ? Option.PARALLEL : 0) |
    (activation === "gelu" ? Option.GELU : 0) |
    (queryGrouping === "key_norm" ? Option.KEY_DRIVEN : 0)
  );
}
