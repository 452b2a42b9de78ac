/**
 * A plot of curves as SVG: points with standard errors over bytes on a logarithmic axis, a curve for each name, and a line
 * across for what all are compared with. Fixed colours on white, since an image knows nothing of the page around it.
 * @module
 */

export interface CurvePoint {
  readonly x: number;
  readonly y: number;
  /** Standard error; NaN: none. */
  readonly error: number;
}

export interface Curves {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly curves: readonly { readonly name: string; readonly points: readonly CurvePoint[] }[];
  readonly reference: { readonly value: number; readonly label: string };
  /** Where y ends; what lies beyond is drawn on the edge. */
  readonly yMost: number;
}

const WIDTH = 860;
const HEIGHT = 420;
const LEFT = 64;
const RIGHT = 190;
const TOP = 44;
const BOTTOM = 52;
const COLOURS = [
  "#3b6fb6",
  "#e08a2c",
  "#3f8f4f",
  "#c0392b",
  "#7d5ba6",
  "#8c6d4f",
  "#d36fa8",
  "#7a7a7a",
  "#a8a83a",
  "#35a3b0",
];
/** Marks on the axis of bytes. */
const TICKS = [0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 4];

export function curvePlot({ title, xLabel, yLabel, curves, reference, yMost }: Curves): string {
  const points = curves.flatMap((curve) => curve.points);
  const [xLeast, xMost] = [Math.min(...points.map(({ x }) => x)) * 0.9, Math.max(...points.map(({ x }) => x)) * 1.1];
  const yLeast = Math.min(0, reference.value, ...points.map(({ y }) => y));
  const right = WIDTH - RIGHT;
  const bottom = HEIGHT - BOTTOM;
  const atX = (x: number): number => LEFT + (Math.log(x / xLeast) / Math.log(xMost / xLeast)) * (right - LEFT);
  const atY = (y: number): number =>
    bottom - ((Math.min(yMost, Math.max(yLeast, y)) - yLeast) / (yMost - yLeast)) * (bottom - TOP);
  const parts: string[] = [text(12, 24, title, 'font-weight="bold" font-size="15"')];
  for (const x of TICKS.filter((tick) => tick >= xLeast && tick <= xMost)) {
    parts.push(line(atX(x), TOP, atX(x), bottom, "#e4e4e4"));
    parts.push(text(atX(x), bottom + 16, `${Math.round(100 * x)}%`, 'text-anchor="middle"'));
  }
  for (let i = 0; i <= 5; ++i) {
    const y = yLeast + ((yMost - yLeast) * i) / 5;
    parts.push(line(LEFT, atY(y), right, atY(y), "#e4e4e4"));
    parts.push(text(LEFT - 6, atY(y) + 4, Number(y.toPrecision(2)).toString(), 'text-anchor="end"'));
  }
  parts.push(line(LEFT, atY(reference.value), right, atY(reference.value), "#222", 'stroke-dasharray="4 3"'));
  parts.push(text(right - 4, atY(reference.value) - 5, reference.label, 'text-anchor="end"'));
  curves.forEach(({ name, points: own }, i) => {
    const colour = COLOURS[i % COLOURS.length]!;
    const dash = i < COLOURS.length ? "" : 'stroke-dasharray="6 3"';
    const sorted = [...own].sort((a, b) => a.x - b.x);
    const path = sorted
      .map(({ x, y }, at) => `${at === 0 ? "M" : "L"}${atX(x).toFixed(1)} ${atY(y).toFixed(1)}`)
      .join("");
    parts.push(`<path d="${path}" stroke="${colour}" stroke-width="1.5" fill="none" ${dash}/>`);
    for (const { x, y, error } of sorted) {
      if (error > 0) parts.push(line(atX(x), atY(y - error), atX(x), atY(y + error), colour));
      parts.push(`<circle cx="${atX(x).toFixed(1)}" cy="${atY(y).toFixed(1)}" r="3" fill="${colour}"/>`);
    }
    parts.push(line(right + 14, TOP + 18 * i, right + 34, TOP + 18 * i, colour, dash));
    parts.push(text(right + 40, TOP + 18 * i + 4, name));
  });
  parts.push(text((LEFT + right) / 2, HEIGHT - 12, xLabel, 'text-anchor="middle"'));
  parts.push(text(0, 0, yLabel, `text-anchor="middle" transform="translate(16 ${(TOP + bottom) / 2}) rotate(-90)"`));
  const open = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`;
  return [open, `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`, ...parts, "</svg>", ""].join("\n");
}

function line(x1: number, y1: number, x2: number, y2: number, colour: string, attributes = ""): string {
  const [a, b, c, d] = [x1, y1, x2, y2].map((value) => value.toFixed(1));
  return `<path d="M${a} ${b}L${c} ${d}" stroke="${colour}" fill="none" ${attributes}/>`;
}

function text(x: number, y: number, words: string, attributes = ""): string {
  const escaped = words.replace(/&/g, "&amp;").replace(/</g, "&lt;");
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" fill="#222" ${attributes}>${escaped}</text>`;
}
