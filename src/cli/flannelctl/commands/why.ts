// `flannelctl why`: which lease an address, a subnet or a kernel object is there for, and what is known of its past.
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { type Why, whySchema } from "../../../agent/control/journal-protocol.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { formatAgo, type Paint } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { whyOutputSchema } from "../session/json-output.ts";
import { ofNamedNetwork } from "../session/one-network.ts";
import { renderNetworks } from "../session/render-networks.ts";
import { entryLines } from "./journal-view.ts";

/** 1 when nothing of flannel's belongs to it. */
export async function showWhy(invocation: Invocation, of: string): Promise<ExitCode> {
  const path = `${controlPaths.why}?${new URLSearchParams({ of }).toString()}`;
  const request = { method: "GET", path, schema: whySchema } as const;
  const answer = await askAgent(invocation.options.socketPaths, request, invocation.signal);
  const why = ofNamedNetwork(answer, invocation.options);
  const nowMs = invocation.terminal.nowMs();
  present(invocation, whyOutputSchema, { of, ...why }, ({ networks }, paint) =>
    renderNetworks(networks, (network) => renderNetwork(network, of, nowMs, paint)),
  );
  return why.networks.some(isKnown) ? exitCodes.ok : exitCodes.failure;
}

type Network = Why["networks"][number];

function isKnown({ lease, objects, entries }: Network): boolean {
  return lease !== undefined || objects.length > 0 || entries.length > 0;
}

function renderNetwork(network: Network, of: string, nowMs: number, paint: Paint): string[] {
  if (!isKnown(network)) return [`${of}: no lease, no kernel object and no event of flannel has to do with it`];
  const { objects, findings, entries } = network;
  return [
    ...leaseLines(network, of, nowMs),
    ...(objects.length === 0 ? ["  no kernel object is there because of it alone"] : objectLines(objects, paint)),
    ...findings.map((finding) => `  ! ${paint.bad(finding)}`),
    "",
    entries.length === 0
      ? "the journal has nothing about it: flannelctl history shows how far it goes back"
      : "journal:",
    ...entryLines(entries, paint),
  ];
}

function leaseLines({ lease, peer, backendType = "no" }: Network, of: string, nowMs: number): string[] {
  if (lease === undefined) return [`${of}  <- kernel objects of this host, backend ${backendType}`];
  const who = lease.isOwn ? "this host" : `the host ${lease.publicIp ?? lease.publicIpv6 ?? "without a public IP"}`;
  const kind = lease.reserved ? "reservation" : "lease";
  const changed = peer?.changedAt === undefined ? "" : `, heard of ${formatAgo(peer.changedAt, nowMs)}`;
  return [
    `${of}  <- ${kind} ${lease.key} of ${who}, revision ${lease.revision}${changed}`,
    `  backend ${backendType}${peer === undefined ? "" : `, ${peer.state}${peer.reason === undefined ? "" : `: ${peer.reason}`}`}`,
    ...(peer?.programmedAt === undefined || peer.changedAt === undefined
      ? []
      : [`  in the kernel ${msBetween(peer.changedAt, peer.programmedAt)} ms after this agent heard of it`]),
  ];
}

function msBetween(from: string, to: string): number {
  return Math.max(0, Date.parse(to) - Date.parse(from));
}

function objectLines(objects: Network["objects"], paint: Paint): string[] {
  return objects.map(({ object, programmed, error }) =>
    programmed ? `  + ${object}` : `  ${paint.bad(`- ${object}  missing${error === undefined ? "" : `: ${error}`}`)}`,
  );
}
