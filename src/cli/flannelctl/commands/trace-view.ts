// A trace for people: the stations, the live test, and what follows from both.
import { formatTable, type Paint } from "../../../terminal/text.ts";
import type { NetworkTrace, TraceOutput } from "../session/trace-output.ts";

export function renderTrace({ target, agent, networks }: TraceOutput, paint: Paint): string[] {
  return [
    ...(agent === "running"
      ? []
      : [
          `the agent ${agent === "absent" ? "does not run" : "does not answer"}: what is desired is as it remembered it`,
        ]),
    ...networks.flatMap((network) => [
      headOf(target, network, networks.length > 1, paint),
      ...lineRows(network, paint),
      ...liveRows(network, paint),
      `  so: ${network.lost === true ? paint.bad(network.verdict) : network.verdict}`,
      ...causeRows(network, paint),
      ...(network.next === undefined ? [] : [`  next: ${network.next}`]),
    ]),
  ];
}

/** Where the packets arrive, it explains nothing, and may still hit others. */
function causeRows({ cause, lost }: NetworkTrace, paint: Paint): string[] {
  return cause === undefined ? [] : [`  ${lost === false ? "but" : "since"}: ${paint.bad(cause)}`];
}

function headOf(target: string, network: NetworkTrace, isOneOfSeveral: boolean, paint: Paint): string {
  const { place, lease, backendType = "no backend", name } = network;
  const of = isOneOfSeveral ? ` of network ${name}` : "";
  const host = lease?.publicIp ?? lease?.publicIpv6 ?? "a host without a public IP";
  const subnet = [lease?.subnet, lease?.ipv6Subnet].filter((one) => one !== undefined).join(", ");
  const whats: Readonly<Record<NetworkTrace["place"], string>> = {
    peer: `is in ${subnet} of ${host}${of}, ${lease?.backendType ?? backendType}, lease revision ${lease?.revision ?? "?"}`,
    here: `is in ${subnet} of this host${of}, ${backendType}`,
    host: `is the host of ${subnet}${of}`,
    nobody: `lies in the network${of}, but no host has a lease for it`,
    outside: "lies outside of the network: flannel has nothing to do with it",
  };
  return `${paint.bold(target)} ${whats[place]}`;
}

function lineRows({ lines }: NetworkTrace, paint: Paint): string[] {
  const words: Readonly<Record<NetworkTrace["lines"][number]["verdict"], string>> = {
    ok: "ok",
    differs: paint.bad("differs"),
    bad: paint.bad("bad"),
    unknown: "?",
    note: "",
  };
  return lines.flatMap(({ station, text, verdict, desired, remedy }) => [
    `  ${station.padEnd(9)}  ${text}${words[verdict] === "" ? "" : `  ${words[verdict]}`}`,
    ...(desired === undefined ? [] : [`             desired: ${desired}`]),
    ...(remedy === undefined ? [] : [`             remedy: ${remedy}`]),
  ]);
}

function liveRows({ live, lost }: NetworkTrace, paint: Paint): string[] {
  if (live === undefined) return [];
  const { hops, drops, errors, gaps, peer, fullSize, from, source, packetBytes, sent } = live;
  const lostAt = lost === true ? hops.findIndex(({ seen, of }) => seen < of) : -1;
  const table = formatTable(
    ["", "", ""],
    hops.map(({ text, seen, of }, at) => [`${seen} of ${of}`, text, at === lostAt ? paint.bad("<- lost here") : ""]),
  );
  const who = from === "container" ? "as a container" : "from this host";
  return [
    `live: ${sent} echo requests of ${packetBytes} bytes ${who}${source === undefined ? "" : ` (${source})`}`,
    ...table.slice(1).map((line) => `  ${line}`),
    ...drops.map(
      ({ chain, rule, packet, isOfTunnel, count }) =>
        `  ${paint.bad(`${chain} dropped ${count} ${packet === "request" ? "packets" : "answers"}${isOfTunnel ? " of the tunnel" : ""}: ${rule ?? "policy drop"}`)}`,
    ),
    ...(fullSize === undefined
      ? []
      : [`  ${fullSize.answered} of ${fullSize.sent}  answers to packets of ${fullSize.bytes} bytes`]),
    ...errors.map((error) => `  ${error}`),
    ...(peer.length === 0
      ? []
      : [
          `  seen of the other host: ${peer.map(({ name, answered, sent: of }) => `${name} ${answered} of ${of}`).join(", ")}`,
        ]),
    ...gaps.map((gap) => `  not looked at: ${gap}`),
  ];
}
