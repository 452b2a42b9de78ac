/** The merge of online softmax: spans in ascending order, the first taken as it is. See attend-f32.ts. */
import { exp1 } from "./exp";

/** Folds a span's (max, sum, out) into the running ones; the first span is taken as it is. */
export function mergeSpan(out: usize, running: usize, spanOut: usize, span: usize, valueDim: u32, isFirst: bool): void {
  const m = load<f32>(span);
  const z = load<f32>(span, 4);
  if (isFirst) {
    store<f32>(running, m);
    store<f32>(running, z, 4);
    memory.copy(out, spanOut, valueDim << 2);
    return;
  }
  const M = load<f32>(running);
  const top: f32 = M > m ? M : m;
  const a = exp1(M - top);
  const b = exp1(m - top);
  store<f32>(running, top);
  store<f32>(running, load<f32>(running, 4) * a + z * b, 4);
  for (let i: u32 = 0; i < valueDim << 2; i += 4) {
    store<f32>(out + i, load<f32>(out + i) * a + load<f32>(spanOut + i) * b);
  }
}
