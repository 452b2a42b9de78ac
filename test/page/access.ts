/** Who can use the page: by keyboard, by screen reader, in the dark, on a small screen. @module */
import type { Browser, Page } from "playwright-core";
import type { Check } from "../binding/conformance.ts";
import { ask, STORY, visit } from "./visit.ts";

/** Roles and names that assistive technology must find, of Playwright's snapshot. */
const ROLES = [
  'link "Skip to the message"',
  "banner",
  'heading "Thimble" [level=1]',
  'button "New chat"',
  'button "Open a GGUF file"',
  'button "Settings"',
  "main",
  'region "Conversation"',
  'region "Messages"',
  'textbox "Message"',
  'button "Send" [disabled]',
  'button "Stop"',
  'log "The answer, sentence by sentence"',
  'complementary "What the model holds"',
  'region "Speed and memory"',
  'meter "Memory"',
  'region "The cache"',
  "img ",
  'list "Forms of pages"',
  'region "Forgotten"',
];

/** Where Tab leads from the page's beginning. */
const ORDER = ["skip", "new-chat", "file", "open-settings", "scroller", "message", "send"];

/** Text and what it stands on, by the names of the style sheet; WCAG asks for 4.5, of large and graphic things for 3. */
const TEXTS = [
  ...["ink panel", "ink ground", "ink yours", "quiet panel", "quiet ground", "quiet yours"],
  ...["warn ground", "on-strong strong"],
];
const CONTRAST = 4.5;

export function accessChecks(browser: Browser, shot: (page: Page, name: string) => Promise<unknown>): Check[] {
  return [
    {
      name: "assistive technology finds roles and names",
      async run() {
        const { page, close } = await visit(browser);
        await page.getByLabel("Message", { exact: true }).fill(STORY);
        await page.keyboard.press("Enter");
        await page.locator("#stop:enabled").waitFor();
        const snapshot = await page.locator("body").ariaSnapshot();
        const missing = ROLES.filter((role) => !snapshot.includes(`- ${role}`));
        if (missing.length > 0) throw new Error(`missing: ${missing.join(", ")} in\n${snapshot}`);
        await page.getByRole("button", { name: "Settings" }).press("Enter");
        const dialog = await page.getByRole("dialog", { name: "Settings" }).ariaSnapshot();
        const unnamed = dialog.split("\n").filter((line) => /^\s*- (combobox|spinbutton|button)(:|$)/.test(line));
        if (unnamed.length > 0) throw new Error(`without a name: ${unnamed.join()}`);
        await shot(page, "settings");
        await close();
        return `${ROLES.length} roles`;
      },
    },
    {
      name: "Tab goes in the order of reading, the focus is seen, the dialog gives it back",
      async run() {
        const { page, close } = await visit(browser);
        const found: string[] = [];
        await page.getByLabel("Message", { exact: true }).fill("Hi");
        await page.evaluate(() => (document.activeElement as HTMLElement).blur());
        await page.locator(".skip").focus();
        for (const _ of ORDER) {
          const state = await page.evaluate(() => {
            const element = document.activeElement as HTMLElement;
            const shown = element.id === "file" ? element.parentElement! : element;
            const { outlineStyle, outlineWidth } = getComputedStyle(shown);
            const isSeen = outlineStyle !== "none" && Number.parseFloat(outlineWidth) >= 2;
            return `${element.id || element.className}${isSeen ? "" : " unseen"}`;
          });
          found.push(state);
          await page.keyboard.press("Tab");
        }
        if (found.join() !== ORDER.join()) throw new Error(`${found}`);
        await page.getByRole("button", { name: "Settings" }).press("Enter");
        await page.keyboard.press("Escape");
        const back = await page.evaluate(() => document.activeElement?.id);
        if (back !== "open-settings") throw new Error(`the focus is at ${back}`);
        await close();
        return found.join(", ");
      },
    },
    {
      name: "light and dark have contrast, nothing moves, and a small screen needs no sideways scrolling",
      async run() {
        let least = Number.POSITIVE_INFINITY;
        for (const colorScheme of ["light", "dark"] as const) {
          const options = { colorScheme, reducedMotion: "reduce", viewport: { width: 360, height: 740 } };
          const { page, close } = await visit(browser, {}, options);
          await ask(page, STORY);
          for (const pair of TEXTS) {
            const [ink, ground] = await colours(page, pair.split(" "));
            const contrast = contrastOf(ink!, ground!);
            if (contrast < CONTRAST) throw new Error(`${colorScheme}: ${pair} has ${contrast.toFixed(2)}`);
            least = Math.min(least, contrast);
          }
          const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          if (wide > 0) throw new Error(`${wide} pixels too wide`);
          const moving = await page.evaluate(() => document.getAnimations().length);
          if (moving > 0) throw new Error(`${moving} animations`);
          await page.screenshot({ path: `build/page-shots/chromium-small-${colorScheme}.png`, fullPage: true });
          await page.setViewportSize({ width: 1200, height: 800 });
          await shot(page, colorScheme);
          await close();
        }
        return `least contrast ${least.toFixed(1)}`;
      },
    },
  ];
}

/** Red, green and blue of the style sheet's names. */
function colours(page: Page, names: readonly string[]): Promise<number[][]> {
  return page.evaluate(
    (all) =>
      all.map((name) => {
        const canvas = document.createElement("canvas").getContext("2d")!;
        canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
      }),
    names,
  );
}

/** https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio */
function contrastOf(a: readonly number[], b: readonly number[]): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: readonly number[]): number {
  const [r, g, b] = colour.map((byte) => {
    const c = byte / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
