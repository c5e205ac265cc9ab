// Where flannel's keys stand in etcd: `<prefix>/config` and `<prefix>/subnets/<lease>`. Pure.
import { posix } from "node:path";

/** Keys from `start` up to, not including, `end`. */
export interface KeyRange {
  readonly start: Uint8Array;
  /** Empty: only the key `start`. */
  readonly end: Uint8Array;
}

export interface KeySpace {
  readonly prefix: string;
  /** `<prefix>/`, cleaned: all that is flannel's begins with it. */
  readonly root: string;
  readonly rootRange: KeyRange;
  readonly config: string;
  /** `<prefix>/subnets/`: with the slash, so that `subnets_backup` is not ours. */
  readonly directory: string;
  readonly directoryRange: KeyRange;
}

const everything: KeyRange = { start: Uint8Array.of(0), end: Uint8Array.of(0) };

/** Cleans as upstream does: double and trailing slashes go, a missing leading slash is not added. */
export function keySpaceOf(prefix: string): KeySpace {
  const config = posix.join(prefix, "config");
  const root = config.slice(0, -"config".length);
  const directory = `${posix.join(prefix, "subnets")}/`;
  return {
    prefix,
    root,
    rootRange: root === "" ? everything : prefixRange(root),
    config,
    directory,
    directoryRange: prefixRange(directory),
  };
}

export function singleKey(key: string): KeyRange {
  return { start: Buffer.from(key), end: new Uint8Array(0) };
}

/** All keys that begin with `prefix`, which must end in an ASCII character. */
export function prefixRange(prefix: string): KeyRange {
  const start = Buffer.from(prefix);
  const end = Buffer.from(start);
  const last = end.length - 1;
  end[last] = (end[last] ?? 0) + 1;
  return { start, end };
}
