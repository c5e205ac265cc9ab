// What of our devices' settings could not be written, usually since /proc/sys is read-only in a container. Pure.
import type { Finding } from "../../doctor/finding.ts";
import type { ScopedFailure } from "./agent-state.ts";

export function settingFindings(failures: readonly ScopedFailure[]): Finding[] {
  return failures
    .filter(({ isSetting }) => isSetting === true)
    .map(({ object, error }) => ({
      name: /\b(EROFS|EACCES|EPERM)\b|read-only|not permitted|permission denied/i.test(error)
        ? "privilege-denied"
        : "device-sysctl-off",
      severity: "warning",
      evidence: `${object} could not be set (${error})`,
      remedy: `sysctl -w ${object.replaceAll(" ", "")} # on the host, or make /proc/sys writable for flanneld`,
    }));
}
