/**
 * The cache as a picture: a row for each KV head, layer under layer; from left to right the conversation from its first token
 * to the newest; a page's colour is its form, and what a head has forgotten is hatched. Pages of which a policy has let slots
 * go are paler.
 *
 *   layer 0  head 0 |####______####|      # page    _ forgotten
 *            head 1 |####__##__####|
 * @module
 */
import { type CacheMap, MAP_FORMS } from "../../bindings/browser/page.ts";

/** CSS pixels: of a row at least and at most, and of the picture. */
const ROW = { least: 2, most: 10 } as const;
const HEIGHT = 190;
const LAYER_GAP = 2;
/** Tokens that the picture has room for before it is filled from edge to edge. */
const LEAST_TOKENS = 256;

interface Colours {
  readonly forms: readonly string[];
  readonly gone: string;
  readonly goneLine: string;
}

function coloursOf(canvas: HTMLCanvasElement): Colours {
  const style = getComputedStyle(canvas);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return { forms: MAP_FORMS.map(colour), gone: colour("gone"), goneLine: colour("gone-line") };
}

export function drawCache(canvas: HTMLCanvasElement, map: CacheMap): void {
  const { nLayers, nKvHeads } = map;
  const fitting = Math.floor((HEIGHT - nLayers * LAYER_GAP) / (nLayers * nKvHeads));
  const row = Math.max(ROW.least, Math.min(ROW.most, fitting));
  const width = canvas.clientWidth;
  const height = nLayers * (nKvHeads * row + LAYER_GAP);
  const scale = globalThis.devicePixelRatio;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * scale); // clears it, too
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  if (context === null || width === 0) return;
  context.scale(scale, scale);
  const colours = coloursOf(canvas);
  const perToken = width / Math.max(map.nTokens, LEAST_TOKENS);
  const hatched = hatching(context, colours);
  let at = 0;
  for (let head = 0; head < map.counts.length; ++head) {
    const top = head * row + Math.floor(head / nKvHeads) * LAYER_GAP;
    const shown = Math.max(1, row - 1);
    if (map.nTokens > 0) {
      context.globalAlpha = 1;
      context.fillStyle = hatched;
      context.fillRect(0, top, map.nTokens * perToken, shown);
    }
    for (const last = at + map.counts[head]!; at < last; ++at) {
      const [first, end] = [map.firsts[at]!, map.ends[at]!];
      const [left, wide] = [first * perToken, Math.max(1, (end - first) * perToken)];
      context.globalAlpha = 1;
      context.clearRect(left, top, wide, shown);
      context.globalAlpha = 0.3 + 0.7 * Math.min(1, map.slots[at]! / Math.max(1, end - first));
      // Keys above, values below: they may have forms apart.
      context.fillStyle = colours.forms[map.keys[at]!]!;
      context.fillRect(left, top, wide, shown / 2);
      context.fillStyle = colours.forms[map.values[at]!]!;
      context.fillRect(left, top + shown / 2, wide, shown / 2);
    }
  }
}

/** Fine lines, so that it is told from colours by its shape too. */
function hatching(context: CanvasRenderingContext2D, { gone, goneLine }: Colours): CanvasPattern | string {
  const tile = document.createElement("canvas");
  tile.width = 6;
  tile.height = 6;
  const on = tile.getContext("2d");
  if (on === null) return gone;
  on.fillStyle = gone;
  on.fillRect(0, 0, 6, 6);
  on.strokeStyle = goneLine;
  on.beginPath();
  on.moveTo(0, 6);
  on.lineTo(6, 0);
  on.stroke();
  return context.createPattern(tile, "repeat") ?? gone;
}
