/**
 * What the user has chosen, kept in the browser's local storage, as options of the model and its sessions.
 * @module
 */
import type { LoadOptions, SessionOptions } from "../../bindings/browser/page.ts";

export interface Settings {
  readonly policy: string;
  readonly slots: number;
  readonly keys: string;
  readonly values: string;
  /** Megabytes; 0 leaves it to the page. */
  readonly budget: number;
  readonly temperature: number;
}

export const DEFAULTS: Settings = { policy: "pages", slots: 1024, keys: "", values: "", budget: 0, temperature: 0.7 };

type Choices = readonly (readonly [value: string, label: string])[];

/** docs/forgetting.md says what each costs; those that need files of their own are not here. */
const POLICIES: Choices = [
  ["pages", "the oldest pages (no cost)"],
  ["h2o", "what got least attention so far (h2o)"],
  ["tova", "what the newest token attends to least (tova)"],
  ["snapkv", "what the newest tokens attend to least (snapkv)"],
  ["expected-attention", "what will be attended to least (expected-attention)"],
  ["key-diff", "keys like most others (key-diff)"],
  ["lagkv", "what differs least from what follows (lagkv)"],
  ["kvzip", "what does not help to repeat the text (kvzip)"],
];
const FORMS: Choices = [
  ["", "as the budget allows"],
  ["f32", "32 bits (exact)"],
  ["q8", "8 bits"],
  ["q4", "4 bits"],
  ["q3", "3 bits"],
];
const SLOTS: Choices = [256, 512, 1024, 2048, 4096, 8192].map((n) => [String(n), n.toLocaleString("en")]);

export const CHOICES: Readonly<Record<"policy" | "slots" | "keys" | "values", Choices>> = {
  policy: POLICIES,
  slots: SLOTS,
  keys: FORMS,
  values: FORMS,
};

const KEY = "thimble-page-settings";

/** What was kept, as far as it still is a choice. */
export function keptSettings(): Settings {
  let kept: Partial<Settings> = {};
  try {
    kept = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Settings>;
  } catch {
    // no storage, or something else in it
  }
  return checked({ ...DEFAULTS, ...kept });
}

export function keepSettings(settings: Settings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // private windows have none: the settings hold until the page is closed
  }
}

export function checked(settings: Settings): Settings {
  const choice = (name: keyof typeof CHOICES): string => {
    const value = String(settings[name]);
    return CHOICES[name].some(([known]) => known === value) ? value : String(DEFAULTS[name]);
  };
  const amount = (value: number, most: number, usual: number): number => (value >= 0 && value <= most ? value : usual);
  return {
    policy: choice("policy"),
    slots: Number(choice("slots")),
    keys: choice("keys"),
    values: choice("values"),
    budget: amount(settings.budget, 4000, DEFAULTS.budget),
    temperature: amount(settings.temperature, 2, DEFAULTS.temperature),
  };
}

/** Whether the model has to be loaded again. */
export function needsLoading(before: Settings, after: Settings): boolean {
  return JSON.stringify({ ...before, temperature: 0 }) !== JSON.stringify({ ...after, temperature: 0 });
}

/** @param fileBytes - of the model: the budget is made of it where the user names none */
export function loadOptions({ policy, slots, keys, values, budget }: Settings, fileBytes: number): LoadOptions {
  return {
    contextLength: slots,
    budget: budget > 0 ? budget * 1e6 : Math.ceil((fileBytes * 1.25) / 1e6 + 20) * 1e6,
    ...(policy === "pages" ? {} : { policy }),
    ...(keys === "" ? {} : { keys: keys as NonNullable<LoadOptions["keys"]> }),
    ...(values === "" ? {} : { values: values as NonNullable<LoadOptions["values"]> }),
  };
}

/** A chat never ends: what is oldest, or what the policy chooses, goes. */
export const SESSION_OPTIONS: SessionOptions = { overflow: "evict" };
