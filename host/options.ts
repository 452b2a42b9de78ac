/**
 * Small guards for what callers pass in: they return the value, or throw `invalid_option` naming the option and its range.
 * @module
 */
import { ThimbleError } from "./errors.ts";

export function checkInteger(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw new ThimbleError("invalid_option", `${name} is ${String(value)}; it must be an integer from ${min} to ${max}`, {
    name,
  });
}

export function checkChoice<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T;
  throw new ThimbleError("invalid_option", `${name} is ${String(value)}; it must be one of ${choices.join(", ")}`, {
    name,
  });
}
