/**
 * stdout and stderr. stdout gets what was asked for and nothing else; notes go to stderr. What files and models say is
 * shown without its control characters where a terminal would obey them.
 * @module
 */

let isLineOpen = false;

/** A reader that goes away (`| head`) ends the program without a word. */
export function endQuietlyOnBrokenPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") process.exit(0);
      throw error;
    });
  }
}

/** To stdout as it is. */
export function printText(text: string): void {
  if (text === "") return;
  process.stdout.write(text);
  isLineOpen = !text.endsWith("\n");
}

/** A model's text: exact into a file or pipe, harmless on a terminal. */
export function printModelText(text: string): void {
  printText(process.stdout.isTTY ? text.replace(/[^\P{Cc}\n\t]/gu, "\ufffd") : text);
}

/** Ends the line that an interrupted text left open, on a terminal. */
export function closeLine(): void {
  if (isLineOpen && process.stdout.isTTY) printText("\n");
}

/** One object, one line. */
export function printJson(value: unknown): void {
  printText(`${JSON.stringify(value)}\n`);
}

/** A line on stderr. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Text of a file in one line: control and formatting characters (which can turn text around) as escapes. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) => {
    if (character === "\n") return "\\n";
    if (character === "\t") return "\\t";
    return `\\u{${character.codePointAt(0)!.toString(16)}}`;
  });
}

const UNITS = ["bytes", "KiB", "MiB", "GiB"] as const;

/** 10724672 -> "10.2 MiB". */
export function formatBytes(bytes: number): string {
  let unit = 0;
  let amount = bytes;
  while (amount >= 1024 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? amount : amount.toFixed(1)} ${UNITS[unit]}`;
}

/** 1234.5 -> "1.23 s". */
export function formatTime(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`;
}
