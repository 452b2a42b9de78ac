/**
 * The options in which model families differ. architecture.ts has the table.
 * @module
 */

/** What a family fixes that no metadata key of its files says. */
export interface Family {
  /** Norm of the residual stream and of q and k: root mean square, or layer norm without bias. */
  readonly norm: "rms" | "layer";
  /** Norms before a branch, after it (before it is added), or both. */
  readonly normPlaces: "before" | "after" | "both";
  /** Attention and feed-forward read the same normed input. */
  readonly parallel: boolean;
  /** Norm of q and k before RoPE: of each head with one head's weights, or of the whole projection. */
  readonly qkNorm: "none" | "head" | "projection";
  /** q, k and v have biases. Any matrix may have one in any family; here they must be there. */
  readonly qkvBias: boolean;
  /** q, k and v are one tensor, gate and up another. */
  readonly fused: boolean;
  /** q and k rows are stored in RoPE pair order (2i, 2i + 1). */
  readonly pairOrder: boolean;
  readonly activation: "silu" | "gelu";
  /** Embeddings are multiplied by sqrt(hiddenDim); else by the file's `embedding_scale`, which is 1 when absent. */
  readonly embeddingRoot: boolean;
  /** What the file's `logit_scale` does to logits. */
  readonly logitScale: "multiply" | "divide";
  /** Caps of scores and logits where the file does not say; 0: none. */
  readonly softcaps: { readonly attention: number; readonly logit: number };
  /** Where the file has a sliding window: every `fullEvery`-th layer does without; 0: all layers have it. */
  readonly fullEvery: number;
  /** Layers without RoPE: none, those without a window, or every n-th. */
  readonly noRope: "none" | "full" | number;
  /** RoPE base of layers with a window where the file does not say; 0: the same as of all layers. */
  readonly windowRopeBase: number;
}
