/**
 * What a caller can allow a chat template; apart from the interpreter, so that the public types do not pull it in.
 * @module
 */

export interface TemplateLimits {
  /** Evaluations of template nodes. Default 200,000. */
  readonly steps: number;
  /** Time for one rendering, in milliseconds. Default 1,000. */
  readonly milliseconds: number;
  /** UTF-16 units of any string beyond the units of the input. Default 4 Mi. */
  readonly characters: number;
}

export const DEFAULT_LIMITS: TemplateLimits = { steps: 200_000, milliseconds: 1000, characters: 4 << 20 };
