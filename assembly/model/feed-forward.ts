/** The gated feed-forward of a layer. */
import { geglu } from "../kernels/geglu";
import { swiglu } from "../kernels/swiglu";
import { Engine, Layer } from "../memory/records";
import { Option, Slot } from "../memory/status";
import { linearAt } from "./layout";
import { linear, linearFrom, newInput } from "./linear";

/** engine.h -> down(act(gate h) * up h) in engine.projected; engine.h stays. */
export function feedForward(e: Engine, layer: Layer, nRows: u32): void {
  linear(e.gate, linearAt(layer.linears, Slot.GATE), nRows);
  linear(e.up, linearAt(layer.linears, Slot.UP), nRows);
  if (layer.options & Option.GELU) geglu(e.gate, e.up, nRows * e.ffnDim);
  else swiglu(e.gate, e.up, nRows * e.ffnDim);
  newInput();
  linearFrom(e.projected, linearAt(layer.linears, Slot.DOWN), e.gate, nRows);
  newInput();
}
