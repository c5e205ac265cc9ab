// `flannelctl watch`: state, peers and the last events on one screen, again and again until Ctrl-C. On a terminal that knows no
// cursor (TERM=dumb) or where the output is no terminal, one screen follows the other.
import { setTimeout as sleep } from "node:timers/promises";
import type { Peers } from "../../../agent/control/journal-protocol.ts";
import { describeError, hasCode } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { printable, printableDeep } from "../../../terminal/foreign-text.ts";
import { count, type Paint } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, paintOf, present, type Terminal } from "../session/invocation.ts";
import { type WatchOutput, watchOutputSchema } from "../session/json-output.ts";
import { ofNamedNetwork, statusOfNamedNetwork } from "../session/one-network.ts";
import { historyRequest } from "./history.ts";
import { entryLines } from "./journal-view.ts";
import { peersRequest } from "./peers.ts";
import { peerTable, sortPeers } from "./peers-view.ts";
import { statusRequest } from "./status.ts";

export interface WatchOptions {
  readonly interval: number;
}

const ESCAPE = "\u001b[";
const enter = `${ESCAPE}?1049h${ESCAPE}?25l`;
const leave = `${ESCAPE}?25h${ESCAPE}?1049l`;
const EVENTS_SHOWN = 8;
const EVENTS_KEPT = 50;

/** Ends by Ctrl-C; with `--json` after one document. */
export async function watch(invocation: Invocation, { interval }: WatchOptions): Promise<ExitCode> {
  const { terminal, options } = invocation;
  if (options.json) {
    present(invocation, watchOutputSchema, await look(invocation), () => []);
    return exitCodes.ok;
  }
  const end = AbortSignal.any([invocation.signal, ...(terminal.outputGone === undefined ? [] : [terminal.outputGone])]);
  const drawsInPlace = terminal.stdoutIsTty && !["", "dumb"].includes(terminal.env["TERM"] ?? "");
  if (drawsInPlace) terminal.writeOut(enter);
  try {
    for (;;) {
      const lines = await screen({ ...invocation, signal: end });
      terminal.writeOut(drawsInPlace ? inPlace(lines, terminal) : `${lines.join("\n")}\n\n`);
      await sleep(interval * 1_000, undefined, { signal: end });
    }
  } catch (error) {
    if (terminal.outputGone?.aborted === true) return exitCodes.ok;
    throw error;
  } finally {
    if (drawsInPlace) terminal.writeOut(leave);
  }
}

async function look({ options, signal }: Pick<Invocation, "options" | "signal">): Promise<WatchOutput> {
  const [status, peers, history] = await Promise.all([
    askAgent(options.socketPaths, statusRequest, signal),
    askAgent(options.socketPaths, peersRequest, signal),
    askAgent(options.socketPaths, historyRequest, signal),
  ]);
  return {
    status: statusOfNamedNetwork(status, options),
    peers: ofNamedNetwork(peers, options).networks,
    entries: history.entries.slice(-EVENTS_KEPT),
  };
}

async function screen(invocation: Invocation): Promise<string[]> {
  const { terminal } = invocation;
  const paint = paintOf(terminal);
  const now = new Date(terminal.nowMs()).toISOString().slice(11, 19);
  try {
    return draw(printableDeep(await look(invocation)), paint, terminal, now);
  } catch (error) {
    if (invocation.signal.aborted || hasCode(error, "KERNEL_DENIED", "AGENT_INCOMPATIBLE")) throw error;
    return [`${now}  ${paint.bad("no answer")}`, printable(describeError(error))];
  }
}

function draw({ status, peers, entries }: WatchOutput, paint: Paint, terminal: Terminal, now: string): string[] {
  const rows = terminal.size?.().rows ?? 24;
  const colour = { ready: paint.good, degraded: paint.warn, notReady: paint.bad }[status.state];
  const head = [
    `${now}  flanneld ${status.agent.version} (pid ${status.agent.pid})  ${colour(status.state)}`,
    ...status.reasons.map(({ name, message }) => `  ${paint.warn(name)}: ${message}`),
    ...status.findings.map(({ name, evidence }) => `  ${paint.bad(name)}: ${evidence}`),
    `store ${status.store.description}: ${status.store.connected ? "connected" : paint.bad(status.store.problem ?? "not connected")}`,
  ].slice(0, Math.max(4, Math.floor(rows / 3)));
  const events = entryLines(entries.slice(-EVENTS_SHOWN), paint);
  const room = Math.max(3, rows - head.length - events.length - 4 * peers.length - 2);
  const networks = status.networks.flatMap((network) => [
    "",
    `${paint.bold(network.name)}  ${network.backendType ?? "no backend"}  ${network.lease?.key ?? "no lease"}  ` +
      `${network.peers.programmed} of ${count(network.peers.desired, "peer")} in the kernel, ${count(network.repairs.total, "repair")}`,
    ...peerLines(peers.find(({ name }) => name === network.name)?.peers ?? [], paint, room, terminal.nowMs()),
  ]);
  return [...head, ...networks, "", ...events];
}

/** The worst first, as many as there is room for. */
function peerLines(peers: Peers["networks"][number]["peers"], paint: Paint, room: number, nowMs: number): string[] {
  if (peers.length === 0) return ["no other host has a lease"];
  const shown = sortPeers(peers, "state").slice(0, room);
  const rest = peers.length - shown.length;
  return [
    ...peerTable(shown, paint, { wide: false, nowMs }),
    ...(rest > 0 ? [`… and ${rest} more: flannelctl peers`] : []),
  ];
}

/** Over what is there, so that nothing flickers. */
function inPlace(lines: readonly string[], terminal: Terminal): string {
  const { rows, columns } = terminal.size?.() ?? { rows: 24, columns: 80 };
  const cut = lines.slice(0, rows).map((line) => `${cutTo(line, columns)}${ESCAPE}0m${ESCAPE}K`);
  return `${ESCAPE}H${cut.join("\r\n")}${ESCAPE}J`;
}

/** Codes of colours take no room. */
function cutTo(line: string, columns: number): string {
  let room = columns;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what makePaint writes
  const pieces = line.split(/(\u001b\[\d+m)/);
  return pieces
    .map((piece, index) => {
      if (index % 2 === 1) return piece;
      const shown = piece.slice(0, Math.max(0, room));
      room -= shown.length;
      return shown;
    })
    .join("");
}
