/**
 * Which packed form a GGUF tensor type is computed in, and how many bytes that takes. The same sums as
 * assembly/kernels/pack.ts, without memory.
 * @module
 */
import { Form, FormFlag, Size, TensorType } from "../assembly/memory/status.ts";

/**
 * How linear layers see their inputs. "int8": activations quantized in blocks of 32, the product's arithmetic. "f32":
 * weights dequantized to f32 at load and activations left alone, which needs up to 7 times the memory: an oracle for tests.
 */
export type ActivationMode = "int8" | "f32";

const FORMS: ReadonlyMap<number, Form> = new Map<number, Form>([
  [TensorType.F32, Form.F32],
  [TensorType.F16, Form.F16],
  [TensorType.BF16, Form.BF16],
  [TensorType.Q4_0, Form.Q4],
  [TensorType.Q4_1, Form.Q4_MIN],
  [TensorType.Q5_0, Form.Q8],
  [TensorType.Q5_1, Form.Q8_MIN],
  [TensorType.Q8_0, Form.Q8],
  [TensorType.Q2_K, Form.Q4_MIN_WIDE_16],
  [TensorType.Q3_K, Form.Q4_WIDE_16],
  [TensorType.Q4_K, Form.Q4_MIN_WIDE],
  [TensorType.Q5_K, Form.Q8_MIN_WIDE],
  [TensorType.Q6_K, Form.Q8_WIDE_16],
  [TensorType.IQ4_NL, Form.Q8],
  [TensorType.IQ4_XS, Form.Q8_WIDE],
]);

/** The form for a tensor type, undefined when this build cannot compute with it. */
export function weightForm(type: number, activations: ActivationMode): Form | undefined {
  const form = FORMS.get(type);
  return form === undefined || activations === "int8" ? form : Form.F32;
}

/** Names of the types `weightForm` knows, for messages. */
export const COMPUTABLE_TYPES =
  "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS";

/** Bytes of a packed matrix: tiles of 8 rows, the last one padded. */
export function packedBytes(form: Form, rows: number, columns: number): number {
  return Math.ceil(rows / Size.TILE_ROWS) * tileBytes(form, columns);
}

function tileBytes(form: Form, columns: number): number {
  if ((form & FormFlag.QUANTIZED) === 0) return columns * (form === Form.F32 ? 32 : 16);
  const quads = (form & FormFlag.GROUP_16 ? 2 : 1) * (form & FormFlag.MIN ? 2 : 1);
  const group = (form & FormFlag.BYTES ? 128 : 64) + quads * (form & FormFlag.WIDE ? 16 : 8);
  return (columns / Size.BLOCK) * 2 * group;
}
