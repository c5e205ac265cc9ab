// Settings under /proc/sys. They are never taken back, and nobody tells of their changes.
import { readSysctl, writeSysctl } from "../../sys/sysctl.ts";
import type { Kind } from "./kind.ts";
import { oneByOne } from "./programming.ts";

/** Written under /proc/sys; `key` with slashes. */
export interface HostSysctl {
  /** Below /proc/sys, with slashes. */
  readonly key: string;
  /** As it is read, without the end of the line. */
  readonly value: string;
  /** What has the same effect without a write, where /proc/sys may be read-only: all of these. */
  readonly sameAs?: readonly { readonly key: string; readonly value: string }[];
}

export const sysctlKind: Kind<"sysctl", HostSysctl, HostSysctl> = {
  name: "sysctl",
  key: ({ key }) => key,
  observedKey: ({ key }) => key,
  compare: (desired, observed) => (desired.value === observed.value ? "same" : "replace"),
  isRemovable: () => false,
  line: sysctlLine,
  observedLine: sysctlLine,
  source: {
    look: ({ slots }) => {
      const found: HostSysctl[] = [];
      for (const { desired } of slots.slots(sysctlKind)) {
        if (desired === undefined) continue;
        const value = readOrUnknown(desired.key);
        // What this kernel does not have needs no value.
        const isRight = value === undefined || value === desired.value || isSame(desired);
        found.push(isRight ? desired : { key: desired.key, value });
      }
      return found;
    },
  },
  notices: {},
  auditRound: 0,
  program: oneByOne(({ slot }) => {
    const { desired } = slot;
    if (desired === undefined) return;
    writeSysctl(desired.key, desired.value);
    slot.observed = desired;
  }),
};

function isSame({ sameAs }: HostSysctl): boolean {
  return sameAs?.every(({ key, value }) => readOrUnknown(key) === value) === true;
}

/** One that cannot be read is to be written: if that is refused, too, the failure is reported. */
function readOrUnknown(key: string): string | undefined {
  try {
    return readSysctl(key);
  } catch {
    return "unreadable";
  }
}

/** As `sysctl` prints it: dots and slashes of the path change places. */
function sysctlLine({ key, value }: HostSysctl): string {
  return `${key.replaceAll(/[./]/g, (mark) => (mark === "." ? "/" : "."))} = ${value}`;
}
