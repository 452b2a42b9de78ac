/**
 * Sessions driven as `forward` drives them: every token into every head, with numbers that say which token, head and dim
 * they belong to.
 * @module
 */
import * as assert from "uvu/assert";
import { Option } from "../../assembly/memory/status.ts";
import { createEngine, HEAD_BYTES, openAt, pagesAt, SESSION_BYTES, type Shape, SQUARES_AT, slotAt } from "./engine.ts";

/** A HeadView's fields, in the order of the record. */
export interface Head {
  readonly length: number;
  readonly base: number;
  readonly nPages: number;
}

/** What head h of a token holds in dim d, values behind keys: in f32 exact, and another number for each. */
function linear(token: number, h: number, d: number): number {
  return token + h * 2 ** -4 + d * 2 ** -10;
}

export function createCache(shape: Shape, numberOf = linear) {
  const instance = createEngine(shape);
  const { exports } = instance;
  const scratch = instance.output((shape.keyDim + shape.valueDim) * 4);
  const heads = shape.nLayers * shape.nKvHeads;
  const headAt = (session: number, h: number): number => session + SESSION_BYTES + HEAD_BYTES * h;
  const headOf = (session: number, h: number): Head => {
    const [length, base, nPages] = new Uint32Array(exports.memory.buffer, headAt(session, h), 3);
    return { length: length!, base: base!, nPages: nPages! };
  };
  return {
    instance,
    exports,
    heads,
    headAt,
    headOf,
    /** One token into every head, and what the model does once it has attended: full pages age. */
    append(session: number, token: number): void {
      for (let h = 0; h < heads; ++h) {
        const head = headAt(session, h);
        scratch.f32.set(scratch.f32.map((_, d) => numberOf(token, h, d)));
        const value = scratch.address + shape.keyDim * 4;
        exports.append(head, scratch.address, value, shape.keyDim, shape.valueDim);
        if (((shape.options ?? 0) & Option.KEY_DRIVEN) !== 0) {
          const square = exports.keySquare(scratch.address, shape.keyDim, 4);
          new Float64Array(exports.memory.buffer, head + SQUARES_AT, 1)[0]! += square;
          exports.closeSquares(head);
        }
        exports.closeFull(head);
      }
      new Uint32Array(exports.memory.buffer, session, 1)[0]! += 1;
    },
    openOf: (session: number, h: number): number => openAt(instance, headAt(session, h)),
    pagesOf: (session: number, h: number): number[] => pagesAt(instance, headAt(session, h)),
    /**
     * The tokens a head holds from slot `from` on (default: all it has pages for), read from its pages of f32; fails when
     * key, value and head do not belong together.
     */
    tokens(session: number, h: number, from?: number): number[] {
      const { length, base } = headOf(session, h);
      const first = from ?? base;
      const pages = pagesAt(instance, headAt(session, h));
      return Array.from({ length: length - first }, (_, i) => {
        const at = first + i - base;
        const { key, value } = slotAt(instance, pages[at >> 5]!, at % 32, shape.keyDim, shape.valueDim);
        const token = key[0]! - h * 2 ** -4;
        for (const [d, x] of [...key, ...value].entries()) {
          if (x !== linear(token, h, d)) assert.unreachable(`slot ${first + i} of head ${h}, dim ${d}`);
        }
        return token;
      });
    },
  };
}

export type Cache = ReturnType<typeof createCache>;
