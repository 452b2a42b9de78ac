/** The dialog in which settings are changed. @module */
import { byId, make } from "./element.ts";
import { CHOICES, checked, type Settings } from "./settings.ts";

/** @param onApply - called with what the user has chosen */
export function setUpSettings(current: () => Settings, onApply: (settings: Settings) => void): void {
  const dialog = byId<HTMLDialogElement>("settings");
  const form = byId<HTMLFormElement>("settings-form");
  const field = (name: keyof Settings): HTMLInputElement | HTMLSelectElement =>
    form.elements.namedItem(name) as HTMLInputElement | HTMLSelectElement;
  for (const [name, choices] of Object.entries(CHOICES)) {
    const options = choices.map(([value, label]) => Object.assign(make("option", "", label), { value }));
    field(name as keyof Settings).append(...options);
  }
  byId("open-settings").addEventListener("click", () => {
    for (const [name, value] of Object.entries(current())) {
      field(name as keyof Settings).value = name === "budget" && value === 0 ? "" : String(value);
    }
    dialog.returnValue = "";
    dialog.showModal();
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "apply") return;
    const number = (name: keyof Settings): number => Number(field(name).value);
    const { policy, keys, values } = Object.fromEntries(new FormData(form)) as Record<string, string>;
    const numbers = { slots: number("slots"), budget: number("budget"), temperature: number("temperature") };
    onApply(checked({ policy: policy!, keys: keys!, values: values!, ...numbers }));
  });
}
