/**
 * Command line options as a table: what each is called, takes and does. `readArguments` turns an argument list into typed
 * values; help.ts prints the same table, so that neither can know an option that the other does not.
 * @module
 */
import { parseArgs } from "node:util";

/** What a value must look like. */
export interface Kind<T> {
  /** Stands for the value in help. */
  readonly placeholder: string;
  /** The values it takes, in words; undefined where any text will do. */
  readonly allowed?: string;
  /** Undefined when the text is none. */
  read(text: string): T | undefined;
}

interface Described {
  readonly help: string;
  /** One letter. */
  readonly short?: string;
  /** A second long name. */
  readonly alias?: string;
  /** What happens without it, in words. */
  readonly default?: string;
}

export interface Flag extends Described {
  readonly form: "flag";
}
/** The last one given counts. */
export interface Single<T> extends Described {
  readonly form: "single";
  readonly kind: Kind<T>;
}
/** May be given again; all count. */
export interface List<T> extends Described {
  readonly form: "list";
  readonly kind: Kind<T>;
}

export type Option = Flag | Single<unknown> | List<unknown>;
/** By long name, in the order of help. */
export type OptionTable = Readonly<Record<string, Option>>;

export type Values<T extends OptionTable> = {
  readonly [Name in keyof T]: T[Name] extends Flag
    ? boolean
    : T[Name] extends List<infer V>
      ? readonly V[]
      : T[Name] extends Single<infer V>
        ? V | undefined
        : never;
};

/** The command line says something that cannot be meant; one line, exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The largest count that the library takes; in words there is no such limit. */
export const MAX_COUNT = 0x7fffffff;

export const flag = (help: string, more: Omit<Described, "help"> = {}): Flag => ({ form: "flag", help, ...more });

export function single<T>(kind: Kind<T>, help: string, more: Omit<Described, "help"> = {}): Single<T> {
  return { form: "single", kind, help, ...more };
}

export function list<T>(kind: Kind<T>, help: string, more: Omit<Described, "help"> = {}): List<T> {
  return { form: "list", kind, help, ...more };
}

export const text = (placeholder: string): Kind<string> => ({ placeholder, read: (given) => given });

export function integer(min: number, max = Number.MAX_SAFE_INTEGER): Kind<number> {
  const range = max >= MAX_COUNT ? `from ${min}` : `from ${min} to ${max}`;
  return {
    placeholder: "N",
    allowed: `an integer ${range}`,
    read: (given) => (/^[+-]?\d+$/.test(given) ? within(Number(given), min, max) : undefined),
  };
}

export function decimal(min: number, max: number): Kind<number> {
  return {
    placeholder: "X",
    allowed: `a number from ${min} to ${max}`,
    read: (given) => (given.trim() === "" ? undefined : within(Number(given), min, max)),
  };
}

export function choice<T extends string>(...choices: readonly T[]): Kind<T> {
  const allowed = choices.join(" or ");
  return { placeholder: choices.join("|"), allowed, read: (given) => choices.find((one) => one === given) };
}

/** Written so that NaN fails. */
function within(value: number, min: number, max: number): number | undefined {
  return value >= min && value <= max ? value : undefined;
}

/**
 * Reads `args`. An option may stand anywhere before a `--`; a value may be negative, but else a value that begins with a
 * dash must be written `--name=value`, so that a forgotten value does not swallow the next option.
 * @throws UsageError
 */
export function readArguments<T extends OptionTable>(
  table: T,
  args: readonly string[],
): { values: Values<T>; positionals: readonly string[] } {
  const nameOf = new Map<string, string>();
  const config: Record<string, { type: "boolean" | "string"; short?: string }> = {};
  for (const [name, { form, short, alias }] of Object.entries(table)) {
    const type = form === "flag" ? "boolean" : "string";
    config[name] = short === undefined ? { type } : { type, short };
    nameOf.set(name, name);
    if (alias === undefined) continue;
    config[alias] = { type };
    nameOf.set(alias, name);
  }
  const values: Record<string, unknown> = {};
  for (const [name, { form }] of Object.entries(table)) {
    values[name] = form === "flag" ? false : form === "list" ? [] : undefined;
  }
  // Not strict: its own messages name neither the allowed values nor the way out, and it refuses negative numbers.
  const { tokens, positionals } = parseArgs({
    args: [...args],
    options: config,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const name = nameOf.get(token.name);
    const option = name === undefined ? undefined : table[name];
    if (name === undefined || option === undefined) throw unknownOption(token.rawName, table);
    if (option.form === "flag") {
      if (token.value !== undefined) throw new UsageError(`${token.rawName} takes no value, got "${token.value}"`);
      values[name] = true;
      continue;
    }
    const value = readValue(option.kind, token.rawName, token.value, token.inlineValue ?? false);
    values[name] = option.form === "list" ? [...(values[name] as unknown[]), value] : value;
  }
  return { values: values as Values<T>, positionals };
}

function readValue<T>(kind: Kind<T>, rawName: string, given: string | undefined, isInline: boolean): T {
  const allowed = kind.allowed ?? `a ${kind.placeholder}`;
  if (given === undefined) throw new UsageError(`${rawName} needs a value: ${allowed}`);
  if (!isInline && /^-[^\d.]/.test(given)) {
    const hint = rawName.startsWith("--") ? `; if "${given}" is meant, write ${rawName}=${given}` : "";
    throw new UsageError(`${rawName} needs a value: ${allowed}${hint}`);
  }
  const value = kind.read(given);
  if (value === undefined) throw new UsageError(`${rawName} takes ${allowed}, got "${given}"`);
  return value;
}

function unknownOption(rawName: string, table: OptionTable): UsageError {
  const names = Object.keys(table).map((name) => `--${name}`);
  return new UsageError(`there is no option ${rawName}; the options are ${names.join(" ")}`);
}
