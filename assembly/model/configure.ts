/** What the host says of a model before its layout: sizes, factors, and what layers and RoPE tables do differently. */
import { engine, layerAt, ropeAt } from "../memory/records";
import { Config, LayerField, RopeField, Status } from "../memory/status";

/** Before `layoutRecords`. */
export function setConfig(field: Config, value: f64): Status {
  const e = engine();
  const n = <u32>value;
  const x = <f32>value;
  switch (field) {
    case Config.N_LAYERS:
      e.nLayers = n;
      break;
    case Config.HIDDEN_DIM:
      e.hiddenDim = n;
      break;
    case Config.FFN_DIM:
      e.ffnDim = n;
      break;
    case Config.N_HEADS:
      e.nHeads = n;
      break;
    case Config.N_KV_HEADS:
      e.nKvHeads = n;
      break;
    case Config.KEY_DIM:
      e.keyDim = n;
      break;
    case Config.VALUE_DIM:
      e.valueDim = n;
      break;
    case Config.ROPE_DIM:
      e.ropeDim = n;
      break;
    case Config.VOCAB_SIZE:
      e.vocabSize = n;
      break;
    case Config.CONTEXT_LENGTH:
      e.contextLength = n;
      break;
    case Config.MAX_ROWS:
      e.maxRows = n;
      break;
    case Config.MAX_OUTPUTS:
      e.maxOutputs = n;
      break;
    case Config.NORM_EPS:
      e.normEps = x;
      break;
    case Config.N_ROPES:
      e.nRopes = n;
      break;
    case Config.OPTIONS:
      e.options = n;
      break;
    case Config.EMBEDDING_SCALE:
      e.embeddingScale = x;
      break;
    case Config.RESIDUAL_SCALE:
      e.residualScale = x;
      break;
    case Config.ATTENTION_SCALE:
      e.attentionScale = x;
      break;
    case Config.ATTENTION_SOFTCAP:
      e.attentionSoftcap = x;
      break;
    case Config.LOGIT_SCALE:
      e.logitScale = x;
      break;
    case Config.LOGIT_SOFTCAP:
      e.logitSoftcap = x;
      break;
    case Config.SOURCE_KV_HEADS:
      e.sourceKvHeads = n;
      break;
    case Config.N_THREADS:
      e.nThreads = n;
      break;
    case Config.KEY_FORM:
      e.keyForm = n;
      break;
    case Config.VALUE_FORM:
      e.valueForm = n;
      break;
    case Config.KV_GROUP:
      e.kvGroup = n;
      break;
    case Config.RECENT_PAGES:
      e.recentPages = n;
      break;
    case Config.SINK_PAGES:
      e.sinkPages = n;
      break;
    case Config.ROTATE_KEYS:
      e.rotateKeys = n;
      break;
    case Config.SLOT_POSITIONS:
      e.slotPositions = n;
      break;
    case Config.OBSERVE_ROWS:
      e.observeRows = n;
      break;
    case Config.OBSERVED_SUMS:
      e.observedKind = n;
      break;
    case Config.OBSERVED_CHUNK:
      e.observedChunk = n;
      break;
    case Config.OBSERVED_SINKS:
      e.observedSinks = n;
      break;
    case Config.SKETCH:
      e.sketch = n;
      break;
    case Config.KV_SECTIONS:
      e.kvSections = n;
      break;
    case Config.KV_FLAT:
      e.kvFlat = x;
      break;
    case Config.POLICY_SCRATCH:
      e.policyScratchBytes = n;
      break;
    case Config.QUERY_STATISTICS:
      e.queryStatistics = n;
      break;
    case Config.FILTERS:
      e.filters = n;
      break;
    case Config.STREAM_ROWS:
      e.streamRows = n;
      break;
    default:
      return Status.BAD_ARGUMENT;
  }
  return Status.OK;
}

/** After `layoutRecords`. */
export function setLayer(index: u32, field: LayerField, value: f64): Status {
  const e = engine();
  if (index >= e.nLayers) return Status.BAD_ARGUMENT;
  const layer = layerAt(e, index);
  if (field == LayerField.WINDOW) layer.window = <u32>value;
  else if (field == LayerField.WIDE_HEADS) layer.wideHeads = <u64>value;
  else if (field == LayerField.ROPE && value < <f64>e.nRopes) layer.rope = value < 0 ? 0 : changetype<usize>(ropeAt(e, <u32>value));
  else return Status.BAD_ARGUMENT;
  return Status.OK;
}

/** After `layoutRecords`. */
export function setRope(index: u32, field: RopeField, value: f64): Status {
  const e = engine();
  if (index >= e.nRopes) return Status.BAD_ARGUMENT;
  const table = ropeAt(e, index);
  if (field == RopeField.BASE) table.base = value;
  else if (field == RopeField.FACTOR) table.factor = value;
  else if (field == RopeField.ORIGINAL_CONTEXT) table.originalContext = value;
  else if (field == RopeField.BETA_FAST) table.betaFast = value;
  else if (field == RopeField.BETA_SLOW) table.betaSlow = value;
  else if (field == RopeField.MAGNITUDE) table.magnitude = value;
  else return Status.BAD_ARGUMENT;
  return Status.OK;
}
