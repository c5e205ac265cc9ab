// Versions of the tools. Pure.

/** The numbers after the first `v`: of `nftables v1.0.6 (…)`, `iptables v1.8.9 (legacy)`. Empty when there are none. */
export function readVersion(text: string): readonly number[] {
  return /v(\d+(?:\.\d+)*)/.exec(text)?.[1]?.split(".").map(Number) ?? [];
}

/** Compares number by number, missing ones as 0. */
export function isAtLeast(version: readonly number[], minimum: readonly number[]): boolean {
  for (const [index, needed] of minimum.entries()) {
    const given = version[index] ?? 0;
    if (given !== needed) return given > needed;
  }
  return true;
}
