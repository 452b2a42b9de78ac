/**
 * A plot of horizontal bars as SVG: groups of bars, a value written behind each, a line across at a reference value and a
 * mark on a bar that has a target. Fixed colours on white, since an image knows nothing of the page around it.
 * @module
 */

export interface PlotBar {
  readonly name: string;
  readonly value: number;
  /** Where the bar should reach. */
  readonly target?: number;
}

export interface Plot {
  readonly title: string;
  readonly groups: readonly { readonly label: string; readonly bars: readonly PlotBar[] }[];
  /** A line across all groups: 1 for ratios. */
  readonly reference?: { readonly value: number; readonly label: string };
}

const WIDTH = 860;
const LEFT = 300;
const RIGHT = 70;
const BAR = 14;
const GAP = 10;
const TOP = 64;
/** Room that a value takes. */
const WORD = 36;
const COLOURS = ["#3b6fb6", "#e08a2c", "#7a7a7a", "#a7b8c9", "#c9bda7", "#8fae8b"];

export function barPlot({ title, groups, reference }: Plot): string {
  const names = [...new Set(groups.flatMap(({ bars }) => bars.map(({ name }) => name)))];
  const colour = (name: string): string => COLOURS[names.indexOf(name) % COLOURS.length]!;
  const values = groups.flatMap(({ bars }) => bars.flatMap(({ value, target = 0 }) => [value, target]));
  const scale = (WIDTH - LEFT - RIGHT) / Math.max(...values, reference?.value ?? 0);
  const parts: string[] = [text(12, 24, title, 'font-weight="bold" font-size="15"')];
  let x = 12;
  for (const name of names) {
    parts.push(rect(x, 36, 12, 12, colour(name)), text(x + 17, 46, name));
    x += 40 + 6.6 * name.length;
  }
  let y = TOP;
  for (const { label, bars } of groups) {
    parts.push(text(LEFT - 8, y + (bars.length * BAR) / 2 + 4, label, 'text-anchor="end"'));
    for (const { name, value, target } of bars) {
      const length = value * scale;
      const mark = (target ?? 0) * scale;
      const end = mark > length && mark < length + WORD ? mark : length; // not across the mark
      parts.push(rect(LEFT, y, length, BAR - 2, colour(name)), text(LEFT + end + 5, y + BAR - 4, short(value)));
      if (target !== undefined) parts.push(rect(LEFT + mark - 1, y - 1, 2, BAR, "#c0392b"));
      y += BAR;
    }
    y += GAP;
  }
  if (reference !== undefined) {
    const at = LEFT + reference.value * scale;
    parts.push(`<path d="M${at.toFixed(1)} ${TOP - 6}V${y}" stroke="#222" stroke-dasharray="4 3" fill="none"/>`);
    parts.push(text(at, y + 12, reference.label, 'text-anchor="middle"'));
  }
  const height = y + 20;
  const open = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`;
  return [open, rect(0, 0, WIDTH, height, "#fff"), ...parts, "</svg>", ""].join("\n");
}

function rect(x: number, y: number, width: number, height: number, fill: string): string {
  return `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${width.toFixed(1)}" height="${height}" fill="${fill}"/>`;
}

function text(x: number, y: number, words: string, attributes = ""): string {
  const escaped = words.replace(/&/g, "&amp;").replace(/</g, "&lt;");
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" fill="#222" ${attributes}>${escaped}</text>`;
}

/** Three digits. */
function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
