/**
 * Random lives of sessions, as data that fast-check draws and shrinks: which operation, and numbers that whoever does it
 * takes modulo what there is.
 * @module
 */
import fc from "fast-check";

/** How often each is drawn. */
const WEIGHTS = {
  /** A session; one that is fed through `forward` alone. */
  open: 4,
  openRaw: 2,
  /** A whole turn; the last answer once more; a message changed and told another way. */
  turn: 14,
  regenerate: 4,
  edit: 3,
  /** A turn stepped through while others go on: its beginning, a step, a step of all at once, an abort, leaving it. */
  begin: 6,
  step: 8,
  stepAll: 4,
  abort: 3,
  leave: 2,
  /** A turn that runs out of its quota; going on with it. */
  pause: 6,
  resume: 6,
  fork: 5,
  /** A capsule kept; one whose reader gives up; a session from one that was kept, was damaged, or was made up. */
  save: 4,
  saveHalf: 1,
  restore: 4,
  restoreDamaged: 2,
  restoreForged: 3,
  trim: 3,
  /** Prefill of a raw session; one token of all of them in one call; going back. */
  feed: 6,
  decode: 6,
  cut: 3,
  close: 5,
  /** Tokens that may not be forgotten from the next turn on; none that may not. */
  pin: 4,
  unpin: 1,
  /** Forgotten tokens that the next turn brings once more; none that it does. */
  recall: 6,
  unrecall: 1,
} as const;

export type OperationKind = keyof typeof WEIGHTS;

export interface Operation {
  readonly kind: OperationKind;
  /** Which session, turn or capsule. */
  readonly which: number;
  /** How many tokens. */
  readonly amount: number;
  /** Everything else: what is said, seeds, bytes that are damaged. */
  readonly seed: number;
}

/** A model and how little memory it has. */
export interface Setup {
  /** Which of the models. */
  readonly model: number;
  /** Which forms of pages, which policy, and how long a context. */
  readonly forms: number;
  readonly policy: number;
  readonly context: number;
  /** 64 KiB that memory may have beyond one session with a full context. */
  readonly extra: number;
  /** Tokens of a prefill chunk. */
  readonly chunk: number;
}

export interface Life {
  readonly setup: Setup;
  readonly operations: readonly Operation[];
}

const operation: fc.Arbitrary<Operation> = fc.record({
  kind: fc.oneof(
    ...Object.entries(WEIGHTS).map(([kind, weight]) => ({
      arbitrary: fc.constant(kind as OperationKind),
      weight,
    })),
  ),
  which: fc.nat(1000),
  amount: fc.integer({ min: 1, max: 64 }),
  seed: fc.nat(),
});

/** What is one of several. */
type Choice = "model" | "forms" | "policy" | "context";

/** Lives of up to `most` operations; about half as many in the middle. */
export function arbitraryLife(counts: Readonly<Record<Choice, number>>, most: number): fc.Arbitrary<Life> {
  return fc.record({
    setup: fc.record({
      model: fc.nat(counts.model - 1),
      forms: fc.nat(counts.forms - 1),
      policy: fc.nat(counts.policy - 1),
      context: fc.nat(counts.context - 1),
      extra: fc.nat(10),
      chunk: fc.constantFrom(7, 33, 64),
    }),
    operations: fc.array(operation, { maxLength: most, size: "max" }),
  });
}

export const OPERATION_KINDS = Object.keys(WEIGHTS) as OperationKind[];
