// `flannelctl init`: makes this host the first of a cluster, and the one that keeps its store. Whatever stops it half-way,
// it can simply be run again; later it takes other addresses.
import { join } from "node:path";
import type { ExitCode } from "../../../exit-codes.ts";
import { hostAndPort } from "../../../flannel-store/grpc/store-address.ts";
import type { CreatedToken } from "../../../flannel-store/membership/cluster-setup.ts";
import { formatDuration, shellLine } from "../../../terminal/text.ts";
import { flannelctlOn } from "../../install/host-paths.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { type InitOutput, initOutputSchema } from "../session/json-output.ts";
import { bringUp, exitCodeOf, renderBroughtUp, requireRoot, usesSystemd } from "./bring-up.ts";
import { makeClusterFiles } from "./init-files.ts";
import { type InitOptions, planInit } from "./init-plan.ts";
import { lockMembership } from "./membership-lock.ts";
import { withStoreStopped } from "./store-pause.ts";

/** 0 done and, with systemd, ready; else 1. */
export async function initCluster(invocation: Invocation, given: InitOptions): Promise<ExitCode> {
  const systemd = usesSystemd(invocation, given);
  requireRoot(invocation, systemd, "init");
  using _alone = lockMembership(invocation.options.paths);
  const plan = await planInit(invocation, given, systemd);
  const { config, token, broughtUp } = await withStoreStopped(invocation, plan, systemd, async () => {
    const made = await makeClusterFiles(invocation, plan);
    return { ...made, broughtUp: await bringUp(invocation, plan.services, systemd) };
  });
  const addresses = plan.addresses.map((address) => hostAndPort(address, plan.port));
  const output: InitOutput = {
    host: plan.name,
    addresses,
    ...(config !== undefined && { configText: config }),
    ...(token !== undefined && describeToken(token, join(plan.services.installation.directory, "bin"), addresses[0])),
    ...broughtUp,
  };
  present(invocation, initOutputSchema, output, (value, paint) => [
    "",
    `${paint.bold(value.host)} runs the store of ${plan.step === "new" ? "a new" : "the"} cluster and is its first host`,
    ...renderBroughtUp(value, plan.services, paint),
    ...(plan.step === "addresses" ? ["", newAddressAdvice] : []),
    ...nextStep(value, given.tokenTtl, `${flannelctlOn(invocation.options.paths)} token create`),
  ]);
  return exitCodeOf(broughtUp, invocation);
}

const newAddressAdvice =
  "on each host that still uses an old address of the store: change FLANNELD_ETCD_ENDPOINTS in /etc/flannel/flanneld.env, then restart flanneld";

function describeToken({ id, text, expiresAt }: CreatedToken, programs: string, address = "") {
  return {
    token: { id, expiresAt: expiresAt.toISOString() },
    joinCommand: [join(programs, "flannelctl"), "join", address, "--token", text],
  };
}

function nextStep({ joinCommand }: InitOutput, ttlSeconds: number, tokenCreate: string): string[] {
  if (joinCommand === undefined) return ["", `to let another host join: ${tokenCreate}`];
  const head = `run as root on the next host, within ${formatDuration(ttlSeconds)}`;
  return ["", `${head} (a token is for one host; ${tokenCreate} creates more):`, `  ${shellLine(joinCommand)}`];
}
