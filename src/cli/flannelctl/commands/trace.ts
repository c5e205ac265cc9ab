// `flannelctl trace`: the way of packets to one address, first as the kernel of this host has it beside what the agent wants, then as
// a few marked packets really go it.
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { type DesiredWay, type Trace, traceSchema } from "../../../agent/control/trace-protocol.ts";
import { desiredWay } from "../../../agent/lifecycle/desired-way.ts";
import { FlannelError, hasCode } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { type Address, tryParseAddress } from "../../../ip/address.ts";
import { knowHost } from "../doctor/known-host.ts";
import { askAgent } from "../session/control-client.ts";
import { type GlobalOptions, type Invocation, present } from "../session/invocation.ts";
import { ofNamedNetwork } from "../session/one-network.ts";
import { type NetworkTrace, type TraceOutput, traceOutputSchema } from "../session/trace-output.ts";
import { traceNetwork } from "../trace/trace-network.ts";
import { renderTrace } from "./trace-view.ts";

export interface TraceFlags {
  /** Send no packets. */
  readonly static: boolean;
  /** Send them as a container of this host would. */
  readonly asContainer: boolean;
}

/** 0: packets arrive and all is as desired; 1: they do not, or it is not; 4: it could not be found out. */
export async function tracePackets(invocation: Invocation, target: string, flags: TraceFlags): Promise<ExitCode> {
  const address = tryParseAddress(target);
  if (address === undefined) throw new FlannelError("USAGE", `${target} is no IP address`);
  const { trace, agent } = await desiredTrace(invocation, address);
  const named = ofNamedNetwork(trace, invocation.options).networks;
  const networks: NetworkTrace[] = [];
  for (const network of concerned(named)) {
    networks.push(
      await traceNetwork(invocation, network, address, { isLive: !flags.static, asContainer: flags.asContainer }),
    );
  }
  const output = { target: address, agent, networks };
  present(invocation, traceOutputSchema, output, renderTrace);
  return exitCodeOf(networks, !flags.static);
}

function exitCodeOf(networks: readonly NetworkTrace[], isLive: boolean): ExitCode {
  const isBad = ({ lines, lost, place }: NetworkTrace) =>
    lost === true ||
    place === "nobody" ||
    place === "outside" ||
    lines.some(({ verdict }) => verdict === "bad" || verdict === "differs");
  if (networks.length === 0 || networks.some(isBad)) return exitCodes.failure;
  const isOpen = ({ lost, lines }: NetworkTrace) =>
    lost === undefined && (isLive || lines.some(({ verdict }) => verdict === "unknown"));
  return networks.some(isOpen) ? exitCodes.unknown : exitCodes.ok;
}

/** In whose subnets it lies; else the networks around it; else any one, which says so. */
function concerned(networks: readonly DesiredWay[]): readonly DesiredWay[] {
  const of = (...places: DesiredWay["place"][]) => networks.filter(({ place }) => places.includes(place));
  const found = of("peer", "here", "host");
  if (found.length > 0) return found;
  const around = of("nobody");
  return around.length > 0 ? around : networks.slice(0, 1);
}

/** From the agent; when none runs, from what it remembered. Rejects with `AGENT_ABSENT` when there is neither. */
async function desiredTrace(
  { options, signal }: Invocation,
  address: Address,
): Promise<{ readonly trace: Trace; readonly agent: TraceOutput["agent"] }> {
  const path = `${controlPaths.trace}?${new URLSearchParams({ to: address }).toString()}`;
  try {
    const trace = await askAgent(options.socketPaths, { method: "GET", path, schema: traceSchema }, signal);
    return { trace, agent: "running" };
  } catch (error) {
    if (!hasCode(error, "AGENT_ABSENT", "AGENT_SILENT")) throw error;
    const remembered = await rememberedWay(options, address, signal);
    if (remembered === undefined) throw error;
    return { trace: { networks: [remembered] }, agent: hasCode(error, "AGENT_SILENT") ? "silent" : "absent" };
  }
}

async function rememberedWay(
  options: GlobalOptions,
  address: Address,
  signal: AbortSignal,
): Promise<DesiredWay | undefined> {
  const { plan, backend, facts, context, state, peers } = await knowHost(options, signal);
  if (plan === undefined || backend === undefined || facts === undefined || context === undefined) return undefined;
  return desiredWay(
    {
      name: options.network ?? options.etcd.prefix,
      ...(state !== undefined && { own: state.own }),
      ...{ peers, plan, backend, context, mtuBytes: (family) => backend.mtuBytes(facts, family) },
    },
    address,
  );
}
