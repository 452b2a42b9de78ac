/** The gated feed-forward of a layer. */
import { geglu } from "../kernels/geglu";
import { swiglu } from "../kernels/swiglu";
import { Engine, engine, Layer } from "../memory/records";
import { Option, Slot } from "../memory/status";
import { parallelRows, partStart } from "../thread/pool";
import { linearAt } from "./layout";
import { linear, linearFrom, newInput } from "./linear";

/** engine.h -> down(act(gate h) * up h) in engine.projected; engine.h stays. */
export function feedForward(e: Engine, layer: Layer, nRows: u32): void {
  linear(e.gate, linearAt(layer.linears, Slot.GATE), nRows);
  linear(e.up, linearAt(layer.linears, Slot.UP), nRows);
  e.job = changetype<usize>(layer);
  e.jobRows = nRows;
  parallelRows(e, nRows, activatePart);
  newInput();
  linearFrom(e.projected, linearAt(layer.linears, Slot.DOWN), e.gate, nRows);
  newInput();
}

/** A share of the rows. */
function activatePart(part: u32, parts: u32): void {
  const e = engine();
  const first = partStart(e.jobRows, part, parts);
  const n = (partStart(e.jobRows, part + 1, parts) - first) * e.ffnDim;
  const at = (<usize>first * e.ffnDim) << 2;
  if (changetype<Layer>(e.job).options & Option.GELU) geglu(e.gate + at, e.up + at, n);
  else swiglu(e.gate + at, e.up + at, n);
}
