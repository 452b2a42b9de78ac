/**
 * A pre-tokenizer's pattern as an automaton, for a command that has no regular expressions (assembly/wasi/split.ts draws it).
 *
 * A pattern (the part of the syntax that host/pre-tokenizer.ts uses: classes, escapes, groups, `|`, `?`, `*`, `+`, `{n,m}`, and
 * the look-ahead `(?!x)` for one character) becomes instructions, and a state of the automaton is a list of them, the preferred
 * one first: what a backtracking matcher would try in turn goes on side by side (Pike's way; https://swtch.com/~rsc/regexp/).
 * A match cuts off what is less preferred and is reported one character late, so that a look-ahead has seen what it asks about.
 * @module
 */
import { Automaton } from "../../assembly/wasi/format.ts";
import { ThimbleError } from "../errors.ts";
import { collapse, widen } from "../unicode-kind.ts";
import type { SplitStep } from "../word-split.ts";

/** An alternation of sequences of parts. */
type Tree =
  | { readonly kind: "any"; readonly of: readonly Tree[] }
  | { readonly kind: "all"; readonly of: readonly Tree[] }
  | { readonly kind: "repeat"; readonly of: Tree; readonly min: number; readonly max: number }
  | { readonly kind: "set" | "not-before"; readonly set: number };

/** The source of a set of characters: a class, an escape or a character. */
const SET = /\[(?:\\.|[^\]\\])*\]|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\[a-zA-Z.*+?^$()|[\]{}/\\-]|[^\\()|?*+{}[\]^$]/y;
const REPEAT = /[?*+]|\{(\d+)(?:,(\d+))?\}/y;

function unsupported(what: string): never {
  throw new ThimbleError("unsupported_tokenizer", `the words of this tokenizer cannot be made a table: ${what}`);
}

/** A recursive-descent parser. */
class Parser {
  readonly sets: string[] = [];
  #at = 0;

  constructor(private readonly pattern: string) {}

  parse(): Tree {
    const tree = this.#alternatives();
    return this.#at < this.pattern.length ? unsupported(`"${this.pattern.slice(this.#at, this.#at + 20)}"`) : tree;
  }

  #take(text: string): boolean {
    if (!this.pattern.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #match(expression: RegExp): RegExpExecArray | null {
    expression.lastIndex = this.#at;
    const found = expression.exec(this.pattern);
    this.#at += found?.[0].length ?? 0;
    return found;
  }

  #alternatives(): Tree {
    const of = [this.#sequence()];
    while (this.#take("|")) of.push(this.#sequence());
    return { kind: "any", of };
  }

  #sequence(): Tree {
    const of: Tree[] = [];
    while (this.#at < this.pattern.length && !/[|)]/.test(this.pattern[this.#at]!)) of.push(this.#repeated());
    return { kind: "all", of };
  }

  #repeated(): Tree {
    const of = this.#atom();
    const found = this.#match(REPEAT);
    if (found === null) return of;
    if (this.pattern[this.#at] === "?") unsupported("a repetition that takes as little as it can");
    const [sign, low, high] = found;
    if (low !== undefined) return { kind: "repeat", of, min: Number(low), max: Number(high ?? low) };
    return { kind: "repeat", of, min: sign === "+" ? 1 : 0, max: sign === "?" ? 1 : Number.POSITIVE_INFINITY };
  }

  #atom(): Tree {
    if (this.#take("(?:")) {
      const inner = this.#alternatives();
      return this.#take(")") ? inner : unsupported("a group without an end");
    }
    if (this.#take("(?!")) {
      const set = this.#set();
      return this.#take(")") ? { kind: "not-before", set } : unsupported("a look-ahead for more than one character");
    }
    return { kind: "set", set: this.#set() };
  }

  #set(): number {
    const source = this.#match(SET)?.[0] ?? unsupported(`"${this.pattern.slice(this.#at, this.#at + 20)}"`);
    if (!this.sets.includes(source)) this.sets.push(source);
    return this.sets.indexOf(source);
  }
}

type Instruction =
  | { readonly op: "set" | "not-before"; readonly set: number; readonly next: number }
  | { op: "split"; first: number; second: number }
  | { readonly op: "match" };

/** Instructions, each pointing to what follows it; the last one made is the first one run. */
function compile(tree: Tree): { program: Instruction[]; first: number } {
  const program: Instruction[] = [{ op: "match" }];
  const add = (instruction: Instruction): number => program.push(instruction) - 1;
  const emit = (node: Tree, next: number): number => {
    if (node.kind === "all") return node.of.reduceRight((after, part) => emit(part, after), next);
    if (node.kind === "any") {
      const starts = node.of.map((part) => emit(part, next));
      return starts.reduceRight((second, first) => add({ op: "split", first, second }));
    }
    if (node.kind !== "repeat") return add({ op: node.kind, set: node.set, next });
    let after = next;
    if (node.max === Number.POSITIVE_INFINITY) {
      const loop: Instruction = { op: "split", first: 0, second: next };
      after = add(loop);
      loop.first = emit(node.of, after);
    } else {
      for (let i = node.min; i < node.max; ++i) after = add({ op: "split", first: emit(node.of, after), second: next });
    }
    for (let i = 0; i < node.min; ++i) after = emit(node.of, after);
    return after;
  };
  return { first: emit(tree, 0), program };
}

/** Code points from `first` on look like `unit` to the step's pattern, up to the next run. */
interface Run {
  readonly first: number;
  readonly unit: number;
}

/** What all code points look like; surrogates like what is before them. */
function runsOf({ on, astral }: SplitStep): Run[] {
  const runs: Run[] = [];
  const PIECE = 2048;
  for (let first = 0; first < 0x110000; first += PIECE) {
    if (first >= 0xd800 && first < 0xe000) continue;
    const text = Array.from({ length: PIECE }, (_, i) => String.fromCodePoint(first + i)).join("");
    const view = on === "characters" ? widen(text, astral) : collapse(text, on === "han");
    for (let i = 0; i < PIECE; ++i) {
      const unit = view.charCodeAt(i);
      if (unit !== runs.at(-1)?.unit) runs.push({ first: first + i, unit });
    }
  }
  return runs;
}

const knownRuns = new Map<unknown, readonly Run[]>();

function cachedRuns(step: SplitStep): readonly Run[] {
  const key = step.astral ?? step.on;
  const runs = knownRuns.get(key) ?? runsOf(step);
  knownRuns.set(key, runs);
  return runs;
}

/** Classes of characters that no set of the pattern tells apart: where each begins, and which sets it is in. */
function classify(step: SplitStep, sets: readonly string[]): { runs: number[]; members: boolean[][] } {
  const tests = sets.map((source) => new RegExp(`^${source}$`));
  const byUnit = new Map<number, number>();
  const bySignature = new Map<string, number>();
  const members: boolean[][] = [];
  const runs: number[] = [];
  let last = -1;
  for (const { first, unit } of cachedRuns(step)) {
    let kind = byUnit.get(unit);
    if (kind === undefined) {
      const within = tests.map((test) => test.test(String.fromCharCode(unit)));
      const signature = within.join();
      if (!bySignature.has(signature)) bySignature.set(signature, members.push(within) - 1);
      kind = bySignature.get(signature)!;
      byUnit.set(unit, kind);
    }
    if (kind !== last) runs.push(((first << 8) | kind) >>> 0);
    last = kind;
  }
  if (members.length > 255) unsupported(`${members.length} kinds of characters`);
  return { runs, members };
}

/**
 * The words of a step: states, classes, runs; runs; table.
 * @throws ThimbleError unsupported_tokenizer where it is no pattern, or one of another syntax
 */
export function stepTable(step: SplitStep): Uint32Array {
  if (step.pattern === undefined) unsupported("a function cuts them, not a pattern");
  const parser = new Parser(step.pattern);
  const tree = parser.parse();
  const { program, first } = compile(tree);
  const { runs, members } = classify(step, parser.sets);
  const rows = determinize(program, first, members);
  const table = rows.flat();
  if (table.length % 2 === 1) table.push(0);
  const packed = new Uint32Array(table.length / 2);
  for (const [i, entry] of table.entries()) packed[i >> 1]! |= entry << (16 * (i & 1));
  return Uint32Array.from([rows.length, members.length, runs.length, ...runs, ...packed]);
}

const MOST_STATES = 0x7fff;

/** Entries by state and class, the end of the piece last; state 0 is the end of the walk, 1 its beginning. */
function determinize(program: readonly Instruction[], first: number, members: readonly boolean[][]): number[][] {
  const states = new Map<string, number>([
    ["", 0],
    [`${first}`, 1],
  ]);
  const kernels: number[][] = [[], [first]];
  const rows: number[][] = [];
  for (let state = 0; state < kernels.length; ++state) {
    const row: number[] = [];
    for (let kind = 0; kind <= members.length; ++kind) {
      const { next, matched } = advance(program, kernels[state]!, members[kind]);
      const key = next.join();
      if (!states.has(key)) states.set(key, kernels.push(next) - 1);
      row.push(states.get(key)! | (matched ? Automaton.MATCH : 0));
    }
    rows.push(row);
    if (kernels.length > MOST_STATES) unsupported("a pattern with too many states");
  }
  return rows;
}

/** One character on, of these sets; undefined is the end of the piece. */
function advance(program: readonly Instruction[], kernel: readonly number[], within: readonly boolean[] | undefined) {
  const next: number[] = [];
  const seen = new Set<number>();
  let matched = false;
  const visit = (at: number): void => {
    if (matched || seen.has(at)) return;
    seen.add(at);
    const instruction = program[at]!;
    if (instruction.op === "match") matched = true;
    else if (instruction.op === "split") {
      visit(instruction.first);
      visit(instruction.second);
    } else if (instruction.op === "not-before") {
      if (within?.[instruction.set] !== true) visit(instruction.next);
    } else if (within?.[instruction.set] === true && !next.includes(instruction.next)) next.push(instruction.next);
  };
  for (const at of kernel) visit(at);
  return { next, matched };
}
