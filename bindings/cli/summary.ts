/**
 * A header cut down to what fits a screen: tensors by type, long metadata by its beginning.
 * @module
 */
import { Form, FormFlag } from "../../assembly/memory/status.ts";
import type { GgufHeader } from "../../host/header.ts";
import { weightForm } from "../../host/weight-form.ts";

export interface TypeSummary {
  readonly type: string;
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
  /** How this build computes with it; undefined when it cannot. */
  readonly computedAs: string | undefined;
}

/** Weights and, behind "x", activations; the integers and scales are the file's own, so nothing is lost. */
function formName(form: Form): string {
  if (form === Form.F32) return "f32 x f32";
  if (form === Form.F16) return "f16 x f32";
  if (form === Form.BF16) return "bf16 x f32";
  const group = form & FormFlag.GROUP_16 ? "groups of 16" : "groups of 32";
  return `int${form & FormFlag.BYTES ? 8 : 4} in ${group}${form & FormFlag.MIN ? " with minimum" : ""} x int8`;
}

/** Elements of a long array that are shown. */
const SHOWN = 4;
/** Arrays up to this length are shown whole. */
const WHOLE = 8;

export function summarizeTypes(header: GgufHeader): TypeSummary[] {
  const byType = new Map<string, TypeSummary>();
  for (const { type, typeName, rows, columns, bytes } of header.tensors) {
    const form = weightForm(type, "int8");
    const before = byType.get(typeName);
    byType.set(typeName, {
      type: typeName,
      tensors: (before?.tensors ?? 0) + 1,
      parameters: (before?.parameters ?? 0) + rows * columns,
      bytes: (before?.bytes ?? 0) + bytes,
      computedAs: form === undefined ? undefined : formName(form),
    });
  }
  return [...byType.values()];
}

/** A metadata value for JSON: long arrays as their length and beginning, 64-bit integers as strings where they must be. */
export function shortenJson(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (!isLong(value)) return Array.isArray(value) ? value.map(shortenJson) : value;
  return { length: value.length, first: Array.from(value.slice(0, SHOWN), shortenJson) };
}

/** A metadata value for a table's cell of about `width` characters. */
export function shortenText(value: unknown, width: number): string {
  if (typeof value === "string") {
    return value.length <= width ? value : `${value.slice(0, width)}... (${value.length} characters)`;
  }
  // Most numbers of a file are f32; seven digits are theirs, the others noise.
  if (typeof value === "number") return String(Number.isInteger(value) ? value : Number(value.toPrecision(7)));
  if (!Array.isArray(value)) return String(value);
  const shown = (isLong(value) ? value.slice(0, SHOWN) : value).map((item) =>
    typeof item === "string" ? JSON.stringify(shortenText(item, 20)) : shortenText(item, width),
  );
  return isLong(value) ? `[${shown.join(", ")}, ...] (${value.length} values)` : `[${shown.join(", ")}]`;
}

function isLong(value: unknown): value is unknown[] {
  return Array.isArray(value) && value.length > WHOLE;
}
