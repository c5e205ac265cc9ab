// Keys of several networks below one prefix: `<root><name>/config`. Pure. Keys are bytes that anybody may have written.
import type { KeyRange, KeySpace } from "../../etcd-api/key-space.ts";

const SLASH = 0x2f;

export interface KeyPlace {
  readonly name: string;
  /** Of the network's configuration; undefined for a key that stands directly below the root. */
  readonly config: string | undefined;
  /** The first key that may belong to another network. */
  readonly next: Uint8Array;
}

export class NetworkKeys {
  readonly range: KeyRange;
  readonly #root: string;
  readonly #rootBytes: Buffer;

  constructor({ root, rootRange }: KeySpace) {
    this.#root = root;
    this.#rootBytes = Buffer.from(root);
    this.range = rootRange;
  }

  /** The network whose configuration stands at `key`. */
  nameOfConfig(key: Uint8Array): string | undefined {
    const { name, config } = this.placeOf(key);
    return config !== undefined && Buffer.from(config).equals(key) ? name : undefined;
  }

  /** `key` is in `range`. */
  placeOf(key: Uint8Array): KeyPlace {
    const rest = Buffer.from(key).subarray(this.#rootBytes.length);
    const end = rest.indexOf(SLASH);
    if (end <= 0)
      return { name: rest.toString("utf8"), config: undefined, next: Buffer.concat([key, Uint8Array.of(0)]) };
    const name = rest.subarray(0, end);
    // All of a network's keys begin with its name and a slash, and "0" follows the slash.
    const next = Buffer.concat([this.#rootBytes, name, Uint8Array.of(SLASH + 1)]);
    return { name: name.toString("utf8"), config: `${this.#root}${name.toString("utf8")}/config`, next };
  }
}
