/**
 * The capsules that a session could continue: those it was last saved as or made from, with the checksums of their pages.
 * @module
 */
import { toHex } from "./format.ts";
import type { PageSums } from "./page-sums.ts";

/** What is known of a capsule that a session was saved as or made from. */
export interface SavedCapsule {
  /** Stands for every byte of it (64 hex digits). */
  readonly id: string;
  /** Capsules that are the session together; 1: it is a full one. */
  readonly links: number;
}

export interface KnownLink {
  readonly id: Uint8Array;
  readonly links: number;
  /** A pack is not the session's own: it may be continued, but is not what the session was saved as. */
  readonly isOwn: boolean;
  readonly sums: PageSums;
}

/** A save that was lost on its way leaves the one before to go on from. */
const KEPT = 2;

export class KnownLinks {
  #links: readonly KnownLink[];

  constructor(links: readonly KnownLink[] = []) {
    this.#links = links;
  }

  /** The newest of the session's own. */
  get saved(): SavedCapsule | undefined {
    return this.#newest(true);
  }

  /** The pack that it began with. */
  get pack(): SavedCapsule | undefined {
    return this.#newest(false);
  }

  #newest(isOwn: boolean): SavedCapsule | undefined {
    const last = this.#links.filter((link) => link.isOwn === isOwn).pop();
    return last && { id: toHex(last.id), links: last.links };
  }

  find(id: string): KnownLink | undefined {
    return this.#links.find((link) => toHex(link.id) === id);
  }

  /** The newest of its kind; older ones are forgotten. */
  add(link: KnownLink): void {
    const others = this.#links.filter(({ isOwn }) => isOwn !== link.isOwn);
    const same = this.#links.filter(({ isOwn }) => isOwn === link.isOwn);
    this.#links = [...others, ...same.slice(1 - KEPT), link];
  }

  copy(): KnownLinks {
    return new KnownLinks(this.#links);
  }
}
