// A process of its own in the agent's network namespace: stands between the agent and the API server, so that it sees when
// the last byte of a list and the event of a new Node pass, and takes the time until the kernel reports the objects of
// peers. Prints one line of JSON for each thing it was asked for; all times are milliseconds since 1970.
//
//   kube-probe.ts SERVER CA CERTIFICATE KEY PORT SERVER-CERTIFICATE SERVER-KEY
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Agent, createServer, request } from "node:https";
import { createInterface } from "node:readline";
import { type MonitorMessage, RtnetlinkMonitor } from "../src/netlink/rtnetlink/monitor.ts";
import { silentLogger } from "../src/telemetry/logger.ts";
import { nodeName } from "./kube-nodes.ts";
import { type Peer, peer, peers } from "./peers.ts";

/** What the probe reads from its standard input, a line each. */
export type ProbeOrder =
  /** Tells when the kernel has all objects of so many peers: a `ProgrammedReport`. */
  | { readonly wait: "programmed"; readonly peers: number }
  /** Tells when the Node of that peer passes, and when its objects are there: a `NewNodeReport`. */
  | { readonly wait: "new-node"; readonly peer: number };

export interface ProgrammedReport {
  /** Of the last list that was complete before. */
  readonly listedAtMs: number;
  readonly programmedAtMs: number;
}

export interface NewNodeReport {
  readonly toldAtMs: number;
  readonly programmedAtMs: number;
}

type PeerKind = "route" | "neighbour" | "fdb";

let listedAtMs = Number.NaN;
let onObjects: (messages: readonly MonitorMessage[]) => void = () => undefined;
let onWatchBytes: (bytes: Buffer) => void = () => undefined;

function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

function say(report: ProgrammedReport | NewNodeReport | "ready" | "looking"): void {
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

/** Calls `done` when the kernel has reported each of them as new; removals are not looked at. */
function waitForObjects(wanted: readonly Peer[], done: (atMs: number) => void): void {
  const missing: Record<PeerKind, Set<string>> = {
    route: new Set(wanted.map(({ subnet }) => subnet)),
    neighbour: new Set(wanted.map(({ gateway }) => gateway)),
    fdb: new Set(wanted.map(({ mac }) => mac)),
  };
  onObjects = (messages) => {
    const atMs = nowMs();
    for (const { kind, action, message } of messages) {
      if (action !== "new") continue;
      if (kind === "route") missing.route.delete(message.destination);
      else if (kind === "neighbour") missing.neighbour.delete(message.address);
      else if (kind === "fdb") missing.fdb.delete(message.mac);
    }
    if (missing.route.size + missing.neighbour.size + missing.fdb.size > 0) return;
    onObjects = () => undefined;
    done(atMs);
  };
}

function waitForNew(number: number): void {
  const name = `"name":"${nodeName(number)}"`;
  let toldAtMs = Number.NaN;
  // It stands at the object's beginning, whose other pieces follow at once.
  onWatchBytes = (bytes) => {
    if (!bytes.includes(name)) return;
    toldAtMs = nowMs();
    onWatchBytes = () => undefined;
  };
  waitForObjects([peer(number)], (programmedAtMs) => say({ toldAtMs, programmedAtMs }));
}

function serve([
  server = "",
  caFile = "",
  certificateFile = "",
  keyFile = "",
  port = "",
  ...own
]: readonly string[]): void {
  const [ca, cert, key, ownCert, ownKey] = [caFile, certificateFile, keyFile, ...own].map((file) => readFileSync(file));
  const agent = new Agent({ keepAlive: true, ...(ca && cert && key ? { ca, cert, key } : {}) });
  const { hostname, port: serverPort } = new URL(server);
  const pass = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    const { method = "GET", url: path = "/" } = incoming;
    const options = { hostname, port: serverPort, method, path, headers: incoming.headers, agent };
    const sent = request(options, (response) => {
      outgoing.writeHead(response.statusCode ?? 502, response.headers);
      const isWatch = path.includes("watch=");
      const isList = method === "GET" && path.startsWith("/api/v1/nodes?") && !isWatch;
      response.on("data", (bytes: Buffer) => {
        if (isWatch) onWatchBytes(bytes);
      });
      response.pipe(outgoing);
      outgoing.once("finish", () => {
        // A look at one object is not a list.
        if (isList && !path.includes("limit=1&") && !path.endsWith("limit=1")) listedAtMs = nowMs();
      });
    });
    sent.on("error", () => outgoing.destroy());
    outgoing.once("close", () => sent.destroy());
    incoming.pipe(sent);
  };
  createServer(ownCert && ownKey ? { cert: ownCert, key: ownKey } : {}, pass).listen(Number(port), "127.0.0.1", () =>
    say("ready"),
  );
}

function main(args: readonly string[]): void {
  new RtnetlinkMonitor().follow({
    kinds: ["route", "neighbour", "fdb"],
    onMessages: (messages) => onObjects(messages),
    onOverflow: () => {
      console.error("the probe lost kernel notifications");
      process.exit(1);
    },
    logger: silentLogger,
  });
  createInterface({ input: process.stdin }).on("line", (line) => {
    const order = JSON.parse(line) as ProbeOrder;
    if (order.wait === "new-node") waitForNew(order.peer);
    else waitForObjects(peers(order.peers), (programmedAtMs) => say({ listedAtMs, programmedAtMs }));
    say("looking");
  });
  serve(args);
}

main(process.argv.slice(2));
