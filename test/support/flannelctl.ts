// Runs flannelctl in this process with a captured terminal, and a stand-in for the agent's control socket.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NetworkStatus, Status } from "../../src/agent/control/control-protocol.ts";
import { runFlannelctl } from "../../src/cli/flannelctl/program.ts";
import { expectPublishedShape } from "./output-schema.ts";

export interface CliResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliWorld {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  readonly isTty?: boolean;
  readonly nowMs?: () => number;
  readonly signal?: AbortSignal;
}

export async function flannelctl(argv: readonly string[], world: CliWorld = {}): Promise<CliResult> {
  let stdout = "";
  let stderr = "";
  const terminal = {
    env: world.env ?? {},
    stdoutIsTty: world.isTty ?? false,
    writeOut: (text: string) => {
      stdout += text;
    },
    writeErr: (text: string) => {
      stderr += text;
    },
    readInput: () => Promise.resolve(world.input ?? ""),
    nowMs: world.nowMs ?? Date.now,
  };
  const exitCode = await runFlannelctl(argv, terminal, world.signal ?? new AbortController().signal, "1.2.3");
  if (argv.includes("--json")) expectPublishedShape(argv, stdout, stderr);
  return { exitCode, stdout, stderr };
}

/** A directory that is gone at the end of the test. */
export class TemporaryDirectory implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "flannelctl-"));

  file(name: string): string {
    return join(this.path, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Answers every request on a unix socket as `answer` does. */
export class StandInAgent implements AsyncDisposable {
  readonly requests: string[] = [];
  readonly #server: Server;

  private constructor(answer: (path: string, response: ServerResponse) => void) {
    this.#server = createServer((request, response) => {
      this.requests.push(`${request.method} ${request.url}`);
      answer(request.url ?? "", response);
    });
  }

  static async listen(
    socketPath: string,
    answer: (path: string, response: ServerResponse) => void,
  ): Promise<StandInAgent> {
    const agent = new StandInAgent(answer);
    await new Promise<void>((resolve, reject) => {
      agent.#server.once("error", reject);
      agent.#server.listen(socketPath, resolve);
    });
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export function replyJson(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

export function notReady(name: string, message: string): Pick<Status, "state" | "reasons"> {
  return { state: "notReady", reasons: [{ name, state: "notReady", message }] };
}

export const healthyNetwork: NetworkStatus = {
  name: "/coreos.com/network",
  subnetFile: "/run/flannel/subnet.env",
  backendType: "vxlan",
  externalInterface: { name: "eth0", mtuBytes: 1500, address: "192.0.2.11", publicIp: "192.0.2.11" },
  mtuBytes: 1450,
  lease: {
    key: "10.5.34.0-24",
    subnet: "10.5.34.0/24",
    publicIp: "192.0.2.11",
    backendType: "vxlan",
    expiresAt: "2026-03-02T10:00:00.000Z",
    reserved: false,
  },
  warmStart: false,
  revision: "42",
  unreadableKeys: [],
  peers: { known: 2, desired: 2, programmed: 2, skipped: [] },
  failures: [],
  repairs: { total: 0, last: [] },
};

/** A healthy agent with two peers. */
export const healthyStatus: Status = {
  agent: {
    version: "1.2.3",
    pid: 4711,
    startedAt: "2026-03-01T10:00:00.000Z",
    stateDirectory: "/var/lib/flannel",
  },
  state: "ready",
  stateChangedAt: "2026-03-01T10:00:01.000Z",
  reasons: [],
  findings: [],
  store: { description: "etcd http://192.0.2.1:2379", connected: true, ageSeconds: 3 },
  networks: [healthyNetwork],
};
