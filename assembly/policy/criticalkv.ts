/**
 * CriticalKV: what counts is how much a slot can change the layer's output. https://arxiv.org/abs/2502.03805
 *
 *   of a head's budget the share `first` goes to the highest scores of another policy, the rest to the highest
 *   (score_j + epsilon) * mean over the heads h of the group of |v_j Wo_h|_1,   Wo_h [valueDim][hiddenDim]
 *
 * As kvpress has it, but for what stays in any case: it takes of the first stage. Wo is the packed output matrix in f32,
 * each weight exactly: as many products as the output projection of the slots, once a prompt.
 *
 *   policyScratch:  | Linear | f32 [4][8]: v Wo of four slots, a tile | f32 [valueDim][8]: the tile | f32 [valueDim + 64]: a row |
 */
import { gemmFloat } from "../kernels/gemm-float";
import { isQuantized, tileBytes, unpackRow } from "../kernels/pack";
import { Engine, HeadView, Layer, Linear } from "../memory/records";
import { Form, Part, Size, Slot } from "../memory/status";
import { keepHighest } from "./select";
import { readAt, readHead, scoresOf } from "./slots";

const OUT: usize = 64;
const TILE: usize = OUT + 128;

/** out f32 [n][8] = columns [first, first + n) of tile `t` of a matrix; whole blocks of a row, n + 64 f32, lie behind it. */
export function unpackTile(out: usize, matrix: Linear, t: u32, first: u32, n: u32): void {
  const form = matrix.form;
  const block: u32 = isQuantized(form) ? Size.BLOCK : 1;
  const start = first - (first % block);
  const columns = ((first + n - start + block - 1) / block) * block;
  const tile = matrix.data + <usize>t * tileBytes(form, matrix.nCols) + tileBytes(form, start);
  const row = out + (n << 5);
  for (let r: u32 = 0; r < <u32>Size.TILE_ROWS; ++r) {
    unpackRow(row, tile, form, r, columns);
    for (let c: u32 = 0; c < n; ++c) store<f32>(out + (c << 5) + (r << 2), load<f32>(row + ((first - start + c) << 2)));
  }
}

/** policyWeights [length] = mean over the heads of the group of |v_j Wo_h|_1. */
export function outputNorms(e: Engine, layer: Layer, head: HeadView, kv: u32): void {
  const group = layer.nHeads / layer.nKvHeads;
  const weights = changetype<Linear>(layer.linears + <usize>Slot.OUT * offsetof<Linear>());
  const tile = changetype<Linear>(e.policyScratch);
  const out = e.policyScratch + OUT;
  tile.data = e.policyScratch + TILE;
  tile.form = Form.F32;
  tile.nCols = e.valueDim;
  tile.nTiles = 1;
  readHead(e, head, Part.VALUES);
  memory.fill(e.policyWeights, 0, head.length << 2);
  for (let h = kv * group; h < (kv + 1) * group; ++h) {
    for (let t: u32 = 0; t < weights.nTiles; ++t) {
      unpackTile(tile.data, weights, t, h * e.valueDim, e.valueDim);
      for (let j: u32 = 0; j < head.length; j += 4) {
        gemmFloat(out, 32, readAt(e, j, e.valueDim), tile);
        for (let i: u32 = 0; i < min<u32>(4, head.length - j); ++i) {
          const at = out + (i << 5);
          const sum = f32x4.add(f32x4.abs(v128.load(at)), f32x4.abs(v128.load(at, 16)));
          const low: f32 = f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1);
          const high: f32 = f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3);
          const norm = e.policyWeights + ((j + i) << 2);
          store<f32>(norm, load<f32>(norm) + (low + high));
        }
      }
    }
  }
  const factor: f32 = <f32>1 / <f32>group;
  for (let j: u32 = 0; j < head.length; ++j) {
    const norm = e.policyWeights + (j << 2);
    store<f32>(norm, load<f32>(norm) * factor);
  }
}

/** keepMap of a head, n slots: `budget` of them, in two stages; slots at Infinity stay, those at -Infinity come last. */
export function keepCritical(e: Engine, layer: Layer, head: HeadView, kv: u32, n: u32, budget: u32, first: f32, epsilon: f32): void {
  const scores = scoresOf(e, kv);
  const keep = e.keepMap + <usize>kv * e.policySlots;
  keepHighest(e, kv, kv + 1, n, first > 0 ? max<u32>(1, <u32>(<f32>budget * first)) : 0);
  outputNorms(e, layer, head, kv);
  for (let j: u32 = 0; j < head.length; ++j) {
    const at = scores + (j << 2);
    const score = load<f32>(at);
    if (load<u8>(keep + j) != 0) store<f32>(at, Infinity);
    else if (abs<f32>(score) != Infinity) store<f32>(at, (score + epsilon) * load<f32>(e.policyWeights + (j << 2)));
  }
  keepHighest(e, kv, kv + 1, n, budget);
}
