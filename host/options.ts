/**
 * Small guards for what callers pass in: they return the value, or throw `invalid_option` naming the option and its range.
 * @module
 */
import { ThimbleError } from "./errors.ts";

/** The error for option `name`: `message` is what it says and may say, with the amounts where it is too much or too little. */
export function wrongOption(name: string, message: string, needed?: number, available?: number): ThimbleError {
  const amounts = needed === undefined || available === undefined ? {} : { needed, available };
  return new ThimbleError("invalid_option", message, { name, ...amounts });
}

export function checkInteger(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw wrongOption(name, `${name} is ${String(value)}; it must be an integer from ${min} to ${max}`);
}

export function checkChoice<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T;
  throw wrongOption(name, `${name} is ${String(value)}; it must be one of ${choices.join(", ")}`);
}
