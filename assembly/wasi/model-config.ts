/**
 * The configuration section: every number within the limits that host/model-config.ts holds files to, then into the engine.
 * What a run chooses (context, rows, forms of keys and values) comes from its options.
 */
import { Engine, engine } from "../memory/records";
import { Config, KvForm, LayerField, Option, RopeField, Status } from "../memory/status";
import { setConfig, setLayer, setRope } from "../model/configure";
import { layoutRecords, layoutRunState } from "../model/layout";
import { ConfigSection } from "./format";

const MOST_LAYERS: f64 = 1024;
const MOST_DIM: f64 = 131072;
const MOST_HEADS: f64 = 1024;
const MOST_HEAD_DIM: f64 = 512;
const MOST_VOCABULARY: f64 = 2097152;
const MOST_CONTEXT: f64 = 16777216;

/** What a run chooses. */
@unmanaged
export class RunChoice {
  /** Most tokens; 0: what the file has. */
  context: u32;
  /** Rows of a prefill chunk. */
  chunk: u32;
  /** 0..3: f32, q8, q4, q3. */
  keys: u32;
  values: u32;
}

let section: usize = 0;

// @ts-ignore: decorator
@inline
function field(index: u32): f64 {
  return load<f64>(section + (index << 3));
}

/** Finite, and within [min, max]. */
function isWithin(x: f64, min: f64, max: f64): bool {
  return ((reinterpret<u64>(x) >> 52) & 0x7ff) != 0x7ff && x >= min && x <= max;
}

/** A whole number within [min, max]. */
function isCount(index: u32, min: f64, max: f64): bool {
  return isWithin(field(index), min, max) && nearest(field(index)) == field(index);
}

/** A dim: a multiple of 8. */
function isDim(index: u32, max: f64): bool {
  return isCount(index, 8, max) && (<u32>field(index) & 7) == 0;
}

function areCountsSound(): bool {
  return (
    isCount(Config.N_LAYERS, 1, MOST_LAYERS) &&
    isDim(Config.HIDDEN_DIM, MOST_DIM) &&
    isDim(Config.FFN_DIM, MOST_DIM) &&
    isCount(Config.N_HEADS, 1, MOST_HEADS) &&
    isCount(Config.SOURCE_KV_HEADS, 1, MOST_HEADS) &&
    isCount(Config.N_KV_HEADS, 1, field(Config.SOURCE_KV_HEADS)) &&
    isDim(Config.KEY_DIM, MOST_HEAD_DIM) &&
    isDim(Config.VALUE_DIM, MOST_HEAD_DIM) &&
    isDim(Config.ROPE_DIM, field(Config.KEY_DIM)) &&
    isCount(Config.VOCAB_SIZE, 1, MOST_VOCABULARY) &&
    isCount(Config.CONTEXT_LENGTH, 1, MOST_CONTEXT) &&
    isCount(Config.N_ROPES, 1, 2) &&
    isCount(Config.OPTIONS, 0, 15)
  );
}

function areFactorsSound(): bool {
  return (
    isWithin(field(Config.NORM_EPS), 0, 1) &&
    isWithin(field(Config.EMBEDDING_SCALE), 1e-6, 1e6) &&
    isWithin(field(Config.RESIDUAL_SCALE), 1e-6, 1e6) &&
    (field(Config.ATTENTION_SCALE) == 0 || isWithin(field(Config.ATTENTION_SCALE), 1e-6, 1e6)) &&
    isWithin(field(Config.ATTENTION_SOFTCAP), 0, 1e6) &&
    isWithin(field(Config.LOGIT_SCALE), 1e-6, 1e6) &&
    isWithin(field(Config.LOGIT_SOFTCAP), 0, 1e6)
  );
}

/** Whether heads can be shared out, and what else depends on two numbers. */
function fitTogether(): bool {
  const kvHeads = <u32>field(Config.N_KV_HEADS);
  const isEven = (<u32>field(Config.OPTIONS) & Option.KEY_DRIVEN) == 0;
  return (!isEven || <u32>field(Config.N_HEADS) % kvHeads == 0) && <u32>field(Config.SOURCE_KV_HEADS) % kvHeads == 0;
}

function isRopeSound(table: usize): bool {
  return (
    isWithin(load<f64>(table + (RopeField.BASE << 3)), 1.0001, 1e12) &&
    isWithin(load<f64>(table + (RopeField.FACTOR << 3)), 1e-6, 1e12) &&
    isWithin(load<f64>(table + (RopeField.ORIGINAL_CONTEXT << 3)), 0, 4294967296) &&
    isWithin(load<f64>(table + (RopeField.BETA_FAST << 3)), 0, 1e12) &&
    isWithin(load<f64>(table + (RopeField.BETA_SLOW << 3)), 0, 1e12) &&
    isWithin(load<f64>(table + (RopeField.MAGNITUDE << 3)), 1e-12, 1e24)
  );
}

/** Looks at a section; returns what is wrong with it, "" when nothing is. */
export function checkModelConfig(at: usize, bytes: u32): string {
  section = at;
  if (bytes < <u32>ConfigSection.N_FIELDS * 8 || !areCountsSound() || !areFactorsSound() || !fitTogether())
    return "its configuration has a number that makes no sense";
  const nLayers = <u32>field(Config.N_LAYERS);
  const nRopes = <u32>field(Config.N_ROPES);
  const layers = section + ConfigSection.N_FIELDS * 8;
  if (bytes != ConfigSection.N_FIELDS * 8 + nLayers * ConfigSection.LAYER_BYTES + nRopes * ConfigSection.ROPE_BYTES)
    return "its configuration does not fill its section";
  for (let i: u32 = 0; i < nLayers; ++i) {
    const layer = layers + i * ConfigSection.LAYER_BYTES;
    if (<f64>load<u32>(layer) > MOST_CONTEXT || load<i32>(layer, 4) < -1 || load<i32>(layer, 4) >= <i32>nRopes)
      return "its configuration has a layer that makes no sense";
  }
  for (let i: u32 = 0; i < nRopes; ++i) {
    if (!isRopeSound(layers + nLayers * ConfigSection.LAYER_BYTES + i * ConfigSection.ROPE_BYTES))
      return "its configuration has a rotation that makes no sense";
  }
  return "";
}

/** Tokens that the model's context has at most. */
export function contextLimit(): u32 {
  return <u32>field(Config.CONTEXT_LENGTH);
}

export function vocabularySize(): u32 {
  return <u32>field(Config.VOCAB_SIZE);
}

// @ts-ignore: decorator
@inline
function isFew(form: u32): bool {
  return form > <u32>KvForm.Q8;
}

/** Keys of fewer than 8 bits have scales by channel; forms of fewer bits keep pages at 8 (host/kv-cache.ts has the defaults). */
function setForms(choice: RunChoice): void {
  const ages = isFew(choice.keys) || isFew(choice.values);
  setConfig(Config.KEY_FORM, isFew(choice.keys) ? choice.keys + (KvForm.Q4_CHANNELS - KvForm.Q4) : choice.keys);
  setConfig(Config.VALUE_FORM, choice.values);
  setConfig(Config.KV_GROUP, 64);
  setConfig(Config.RECENT_PAGES, ages ? 2 : 0);
  setConfig(Config.SINK_PAGES, ages ? 1 : 0);
  setConfig(Config.ROTATE_KEYS, choice.keys == <u32>KvForm.F32 ? 0 : 1);
}

/** Sets the engine up by a section that was checked, and lays out records and run state; false: memory is out. */
export function layoutModel(choice: RunChoice): bool {
  for (let i: u32 = 0; i < <u32>ConfigSection.N_FIELDS; ++i) setConfig(i, field(i));
  if (choice.context != 0) setConfig(Config.CONTEXT_LENGTH, choice.context);
  setConfig(Config.MAX_ROWS, choice.chunk);
  setConfig(Config.MAX_OUTPUTS, 1);
  setConfig(Config.N_THREADS, 1);
  setForms(choice);
  if (layoutRecords() != Status.OK) return false;
  const e: Engine = engine();
  const layers = section + ConfigSection.N_FIELDS * 8;
  for (let i: u32 = 0; i < e.nLayers; ++i) {
    const layer = layers + i * ConfigSection.LAYER_BYTES;
    setLayer(i, LayerField.WINDOW, load<u32>(layer));
    setLayer(i, LayerField.ROPE, load<i32>(layer, 4));
  }
  for (let i: u32 = 0; i < e.nRopes; ++i) {
    const table = layers + e.nLayers * ConfigSection.LAYER_BYTES + i * ConfigSection.ROPE_BYTES;
    for (let f: u32 = 0; f < 6; ++f) setRope(i, f, load<f64>(table + (f << 3)));
  }
  return layoutRunState(0) == Status.OK;
}
