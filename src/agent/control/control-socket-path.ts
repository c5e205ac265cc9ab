// Where the control socket goes when several agents keep their subnet files in one directory.
import { basename, dirname, join } from "node:path";
import { FlannelError } from "../../errors.ts";
import { isAnswering } from "../../sys/socket-file.ts";
import type { Logger } from "../../telemetry/logger.ts";

export function defaultControlSocket(subnetFile: string): string {
  return join(dirname(subnetFile), "flanneld.sock");
}

/** Used when the default one belongs to another agent: `flanneld-<subnet file's name>.sock`. */
export function secondControlSocket(subnetFile: string): string {
  return join(dirname(subnetFile), `flanneld-${basename(subnetFile).replace(/\.env$/, "")}.sock`);
}

/** The caller holds the lock of its own subnet file: whoever answers on the default socket is another agent. */
export async function chooseControlSocket(asked: string, subnetFile: string, logger: Logger): Promise<string> {
  if (!(await isAnswering(asked))) return asked;
  if (asked !== defaultControlSocket(subnetFile)) {
    throw new FlannelError("AGENT_RUNNING", `another agent listens on ${asked}: choose another --control-socket`);
  }
  const second = secondControlSocket(subnetFile);
  logger.info("control.second-socket", `another agent listens on ${asked}: this agent listens on ${second}`);
  return second;
}
