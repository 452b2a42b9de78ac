/**
 * What an HTTP answer's headers say about the bytes in it and about the file they are of.
 * @module
 */

/** What a file's answers have in common as long as it is the same file. */
export interface Version {
  readonly size: number;
  readonly tag: string | null;
  readonly modified: string | null;
}

/** `end` is past the last byte; the size is undefined where the server does not say it. */
export function contentRange(response: Response): { start: number; end: number; size: number | undefined } | undefined {
  const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
  if (match === null) return undefined;
  const [start, last, size] = match.slice(1).map(Number) as [number, number, number];
  const end = last + 1;
  if (start >= end || end > size) return undefined;
  return { start, end, size: Number.isNaN(size) ? undefined : size };
}

export function validators({ headers }: Response): Pick<Version, "tag" | "modified"> {
  return { tag: headers.get("etag"), modified: headers.get("last-modified") };
}

/** Two answers contradict each other; one without the header says nothing. */
export function differs(now: string | null, before: string | null): boolean {
  return now !== null && before !== null && now !== before;
}

export function isEncoded({ headers }: Response): boolean {
  return (headers.get("content-encoding") ?? "identity") !== "identity";
}
