/** The cache: its picture, the sentence that says the same, and a table for who cannot see the picture. @module */
import { type CacheMap, MAP_FORMS } from "../../bindings/browser/page.ts";
import { drawCache } from "./cache-picture.ts";
import { byId, counted, make } from "./element.ts";

const LEGEND = [
  ["f32", "exact, being filled"],
  ["q8", "8 bits"],
  ["q4", "4 bits"],
  ["q3", "3 bits"],
  ["gone", "forgotten"],
] as const;

export class CacheView {
  readonly #canvas = byId<HTMLCanvasElement>("cache");
  readonly #rows = byId("cache-rows");
  #map: CacheMap | undefined;

  constructor() {
    const items = LEGEND.map(([name, label]) => make("li", name, label));
    byId("legend").append(...items);
    const draw = (): void => void (this.#map && drawCache(this.#canvas, this.#map));
    new ResizeObserver(draw).observe(this.#canvas.parentElement!);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  /** The picture and its sentence, without the table: what changes many times a second. */
  draw(map: CacheMap): void {
    this.#map = map;
    drawCache(this.#canvas, map);
    byId("cache-text").textContent = describe(map);
  }

  /** There is no model. */
  clear(): void {
    this.#map = undefined;
    this.#canvas.width = 0;
    byId("cache-text").textContent = "There is none.";
    this.#rows.replaceChildren();
  }

  show(map: CacheMap): void {
    this.draw(map);
    this.#rows.replaceChildren(...rowsOf(map).map(row));
  }
}

function describe({ nTokens, counts, slots }: CacheMap): string {
  if (nTokens === 0) return "It is empty.";
  const held = slots.reduce((sum, n) => sum + n, 0) / counts.length;
  const all = `${counts.length} heads hold ${counted(Math.round(held), "token")} of ${nTokens.toLocaleString("en")}`;
  return `${all}${Number.isInteger(held) ? "" : " on average"}, in ${counted(slots.length, "page")}.`;
}

interface LayerRow {
  readonly tokens: string;
  readonly pages: number;
  readonly forms: string;
}

function rowsOf({ nLayers, nKvHeads, counts, slots, keys, values }: CacheMap): LayerRow[] {
  let at = 0;
  return Array.from({ length: nLayers }, (_, layer) => {
    const held: number[] = [];
    const forms = new Map<string, number>();
    const begin = at;
    for (let head = 0; head < nKvHeads; ++head) {
      let tokens = 0;
      for (const last = at + counts[layer * nKvHeads + head]!; at < last; ++at) {
        tokens += slots[at]!;
        const [key, value] = [MAP_FORMS[keys[at]!]!, MAP_FORMS[values[at]!]!];
        const form = key === value ? key : `${key}/${value}`;
        forms.set(form, (forms.get(form) ?? 0) + 1);
      }
      held.push(tokens);
    }
    const [least, most] = [Math.min(...held), Math.max(...held)];
    return {
      tokens: least === most ? `${most}` : `${least} to ${most}`,
      pages: at - begin,
      forms: [...forms].map(([form, n]) => `${n} ${form}`).join(", ") || "none",
    };
  });
}

function row({ tokens, pages, forms }: LayerRow, layer: number): HTMLTableRowElement {
  const made = make("tr");
  const name = make("th", "", `${layer}`);
  name.scope = "row";
  made.append(name, make("td", "", tokens), make("td", "", `${pages}`), make("td", "", forms));
  return made;
}
