/** What a kernel request is prepared to. @module */
export interface Run {
  /** Multiplications of one call. */
  readonly macs: number;
  call(): void;
}
