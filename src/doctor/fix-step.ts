// What `flannelctl doctor --fix` runs to end a finding, and what undoes it. Programs are run without a shell: names of devices
// and addresses in a step are arguments, whatever characters they have. Pure.

export type FixStep =
  /** `key` with slashes, below /proc/sys; undone with the value from before. */
  | { readonly kind: "sysctl"; readonly key: string; readonly value: string }
  /** No `undo` where the kernel finds out again by itself what was thrown away. */
  | { readonly kind: "run"; readonly command: ProgramCall; readonly undo: ProgramCall | undefined };

export type ProgramCall = readonly ["ip" | "modprobe", ...string[]];

export function setSysctl(key: string, value: string): FixStep {
  return { kind: "sysctl", key, value };
}

/** Words of `ip`, apart by single spaces. */
export function runIp(command: string, undo: string | undefined): FixStep {
  const call = (text: string): ProgramCall => ["ip", ...text.split(" ")];
  return { kind: "run", command: call(command), undo: undo === undefined ? undefined : call(undo) };
}

/** As a person would type it. */
export function stepText(step: FixStep): string {
  return step.kind === "sysctl" ? `sysctl -w ${step.key}=${step.value}` : commandText(step.command);
}

function commandText(words: readonly string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(" ");
}
