/**
 * What a chat template may use up: steps, time, and the size of what it makes. The interpreter in template.ts reports
 * every evaluation here before and after it; the rules are stated there.
 * @module
 */
import type { Interpreter } from "@huggingface/jinja";
import { ThimbleError } from "./errors.ts";
import type { TemplateLimits } from "./template-limits.ts";

/** A value inside a template: text, number, list, mapping or function, in `value`; `type` names which. */
export type Value = ReturnType<Interpreter["evaluate"]>;

/** Nesting of lists and mappings. */
const MAX_NESTING = 64;
/** UTF-16 units of a string that is searched for. */
const MAX_NEEDLE = 1024;
/** What all made strings and lists may have together, in units of the limit for one. */
const VOLUME = 16;
/** What a list element weighs against a character of text. */
const ELEMENT = 8;

/** The values of the arguments of a call or filter. */
export interface ArgumentValues {
  readonly positional: readonly Value[];
  readonly named: ReadonlyMap<string, Value>;
}

interface Size {
  /** Characters of the value written out in full; every element counts at least one. */
  readonly size: number;
  /** How many lists and mappings lie within each other. */
  readonly nesting: number;
}

export const failed = (message: string, cause?: unknown): ThimbleError =>
  new ThimbleError("template_failed", message, cause === undefined ? {} : { cause });

/** One rendering's account; each method throws ThimbleError template_failed when a limit is passed. */
export class TemplateBudget {
  private steps = 0;
  private volume = 0;
  private readonly deadline: number;
  private readonly characters: number;
  private readonly sizes = new WeakMap<object, Size>();

  /** @param inputSize - characters of the input, granted on top of the limit */
  constructor(
    private readonly limits: TemplateLimits,
    inputSize: number,
  ) {
    this.deadline = performance.now() + limits.milliseconds;
    this.characters = limits.characters + inputSize;
  }

  /** Python's range, of at most the steps that are left. */
  range(bounds: readonly unknown[]): number[] {
    if (bounds.length === 0 || !bounds.every((bound) => Number.isSafeInteger(bound))) {
      throw failed("the chat template calls range() with something that is no integer");
    }
    const [first, second, step = 1] = bounds as [number, number?, number?];
    const [start, stop] = second === undefined ? [0, first] : [first, second];
    if (step === 0) throw failed("the chat template calls range() with a step of zero");
    const length = Math.max(0, Math.ceil((stop - start) / step));
    this.spend(length);
    return Array.from({ length }, (_, index) => start + index * step);
  }

  spend(steps: number): void {
    this.steps += steps;
    if (this.steps > this.limits.steps) {
      throw failed(`the chat template took more than ${this.limits.steps} steps`);
    }
    if (performance.now() > this.deadline) {
      throw failed(`the chat template took longer than ${this.limits.milliseconds} ms`);
    }
  }

  /** Before a call or filter that could multiply `subject` or search it for long. */
  checkOperation(name: string, subject: Value, { positional, named }: ArgumentValues): void {
    const text = (value: Value | undefined) => (typeof value?.value === "string" ? value.value : "");
    const first = positional[0];
    if (name === "tojson") this.checkJson(subject, named);
    if (name === "join") {
      const count = Array.isArray(subject.value) ? subject.value.length : text(subject).length;
      this.checkSize(this.weigh(subject).size + count * text(first ?? named.get("separator")).length);
    }
    if (typeof subject.value !== "string") return;
    const length = subject.value.length;
    if (name === "replace") {
      this.checkSize(length + this.count(subject.value, text(first)) * text(positional[1]).length);
    } else if (name === "split") {
      const separator = text(first);
      const pieces = separator === "" ? length / 2 : this.count(subject.value, separator);
      this.checkSize(length + ELEMENT * pieces);
    } else if (name === "indent") {
      const width = Number((first ?? named.get("width"))?.value ?? 4);
      this.checkSize(length + (this.count(subject.value, "\n") + 1) * Math.max(0, width));
    } else if (name === "startswith" || name === "endswith") {
      this.checkNeedle(text(first));
    }
  }

  /** Bounds the text of a value as JSON: escapes, separators and indentation. */
  checkJson(subject: Value, named: ReadonlyMap<string, Value>): void {
    const { size, nesting } = this.weigh(subject);
    const indent = Number(named.get("indent")?.value ?? 0);
    const separators = named.get("separators");
    const around = separators === undefined ? 4 : this.weigh(separators).size;
    // `size` counts every element at least once, so it bounds their number too.
    if (indent > 0 || separators !== undefined) this.checkSize((size * (around + indent * (nesting + 1))) / VOLUME);
  }

  private checkSize(size: number): void {
    if (!(size <= this.characters)) throw failed(`the chat template makes more than ${this.characters} characters`);
  }

  checkNeedle(needle: string): void {
    if (needle.length > MAX_NEEDLE) throw failed(`the chat template searches for more than ${MAX_NEEDLE} characters`);
  }

  private count(text: string, needle: string): number {
    this.checkNeedle(needle);
    if (needle === "") return text.length + 1;
    let count = 0;
    for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length)) count++;
    return count;
  }

  /** Characters of a value written out in full, and how deep it is nested. Values never change, but for namespaces. */
  weigh(value: Value, inside = false): Size {
    const content: unknown = value.value;
    if (typeof content === "string") {
      this.checkSize(content.length);
      return { size: content.length + 2, nesting: 0 };
    }
    if (!Array.isArray(content) && !(content instanceof Map)) return { size: ELEMENT, nesting: 0 };
    const mutable = value.type === "NamespaceValue";
    if (mutable && inside) throw failed("the chat template puts a namespace into another value");
    const known = this.sizes.get(value);
    if (known !== undefined) return known;
    let size = ELEMENT;
    let nesting = 0;
    for (const item of content.values() as Iterable<Value>) {
      const part = this.weigh(item, true);
      size += part.size + 2;
      nesting = Math.max(nesting, part.nesting + 1);
    }
    if (content instanceof Map) for (const key of content.keys()) size += String(key).length + 4;
    this.checkSize(size);
    if (nesting > MAX_NESTING) throw failed(`the chat template nests lists deeper than ${MAX_NESTING} levels`);
    if (!mutable) this.sizes.set(value, { size, nesting });
    return { size, nesting };
  }

  /** Adds up what operations made. */
  charge(value: Value): void {
    const content: unknown = value.value;
    if (typeof content === "string") this.volume += content.length;
    else if (Array.isArray(content)) this.volume += ELEMENT * content.length;
    if (this.volume > VOLUME * this.characters) throw failed("the chat template makes too many strings and lists");
  }
}
