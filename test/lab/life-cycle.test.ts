// The agent as a service: what it tells its manager, its probes and its log, which flags it refuses, how it ends.
// Stopping within 5 s is in stop.test.ts.
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { tryRun } from "../../lab/command.ts";
import { ServiceManager } from "../../lab/service-manager.ts";
import { until } from "../../lab/wait.ts";
import { probeHealth, Scene } from "../support/scene.ts";
import {
  leaseDirectory,
  leaseValue,
  linesOf,
  putConfig,
  putPeers,
  storePeer,
  vxlanLines,
} from "../support/store-peers.ts";

const healthPort = 8099;
let scene: Scene;

beforeAll(async () => {
  scene = await Scene.open(1);
});

beforeEach(async () => {
  await scene.clear();
  await putConfig(scene.etcd);
});

afterAll(() => scene[Symbol.asyncDispose]());

const probe = (path: string) => probeHealth(scene.host(1), healthPort, path);

describe("readiness", () => {
  it("is told to the service manager when subnet.env and peers are there, and taken back when it ends", async () => {
    await putPeers(scene.etcd, [storePeer(1), storePeer(2)]);
    await using manager = await ServiceManager.start("/run/notify.sock");
    const args = [`--healthz-port=${healthPort}`];
    const agent = scene.start(1, { args, env: { NOTIFY_SOCKET: manager.socketPath } });
    await manager.untilNotified("READY=1");
    expect(await readFile(agent.subnetFile, "utf8")).toContain("FLANNEL_SUBNET=10.5.");
    expect(await vxlanLines(agent.host.namespace)).toEqual(
      [storePeer(1), storePeer(2)].flatMap(linesOf).toSorted(byKind),
    );
    await agent.untilReady({ peers: 2 });
    expect(await probe("/healthz")).toEqual({ status: 200, text: "flanneld is running" });
    expect(await probe("/readyz")).toEqual({ status: 200, text: "flanneld is ready" });
    expect(JSON.parse((await probe("/readyz?verbose")).text)).toEqual({
      ready: true,
      state: "ready",
      reasons: [],
    });
    expect((await probe("/metricz")).status).toBe(404);

    // A second agent claims our address.
    const { lease } = await agent.status();
    const other = storePeer(9, { publicIp: agent.host.ipv4 ?? "" });
    await scene.etcd.put(leaseDirectory + lease?.key, leaseValue(other));
    await manager.untilNotified("STATUS=not ready: another agent announces this host's public IP");
    expect(await probe("/readyz")).toEqual({ status: 503, text: "flanneld is not ready yet" });
    expect((await probe("/healthz")).status).toBe(200);
    expect(JSON.parse((await probe("/readyz?verbose")).text)).toEqual({
      ready: false,
      state: "notReady",
      reasons: [{ name: "lease-invalid", state: "notReady", message: expect.stringContaining("another agent") }],
    });
    expect(await agent.term()).toEqual({ code: 0, signal: null });
    await manager.untilNotified("STOPPING=1");
  });
});

/** The order of `vxlanLines`: routes, neighbours, forwarding entries. */
function byKind(a: string, b: string): number {
  const order = (line: string) => ["route", "neigh", "fdb"].indexOf(line.split(" ")[0] ?? "");
  return order(a) - order(b) || (a < b ? -1 : 1);
}

describe("the control socket", () => {
  it("is for the owner alone, and gone with the agent", async () => {
    const agent = scene.start(1);
    await agent.untilReady();
    const { mode } = await stat(agent.controlSocket);
    expect((mode & 0o777).toString(8)).toBe("600");
    await agent.term();
    await expect(stat(agent.controlSocket)).rejects.toThrow("ENOENT");
  });

  it("of an agent that was killed is no obstacle", async () => {
    const first = scene.start(1);
    await first.untilReady();
    await first.kill9();
    const second = scene.start(1);
    expect((await second.untilReady()).agent.pid).toBe(second.pid);
  });
});

describe("files", () => {
  it("come back, whoever removes or changes them", async () => {
    const agent = scene.start(1);
    await agent.untilReady();
    await putPeers(scene.etcd, [storePeer(1)]);
    await agent.untilReady({ peers: 1 });
    const state = join(agent.directory, "state");
    const content = async () => ({
      env: await readFile(agent.subnetFile, "utf8"),
      lock: await readFile(`${agent.subnetFile}.lock`, "utf8"),
      state: (await readdir(state)).sort(),
    });
    await until(async () => (await content()).state.length === 2, { what: "the state of agent and peers" });
    const before = await content();
    const untilBack = async (what: string) => {
      await until(async () => isDeepStrictEqual(await content(), before), { what });
      await until(async () => (await agent.status()).state === "ready", { what: `an answer after ${what}` });
    };
    for (const path of [agent.subnetFile, `${agent.subnetFile}.lock`, agent.controlSocket]) {
      await rm(path);
      await untilBack(`${path} to come back`);
    }
    await writeFile(agent.subnetFile, "FLANNEL_SUBNET=10.9.9.1/24\n");
    await untilBack("the right content");
    await rm(agent.directory, { recursive: true });
    await untilBack("everything to come back");
    expect((await scene.start(1).exited).code).toBe(1);
    expect(await agent.untilEvent("files.restored")).toContain("restoring it");
    expect((await agent.status()).repairs.total).toBe(0);
  });
});

describe("the log", () => {
  const login = ["--etcd-username=flannel", "--etcd-password=s3cr3t-word"];

  /** A life with everything in it: start, peers, garbage, bad configuration, reload, stop. */
  async function live(args: readonly string[]): Promise<string> {
    const agent = scene.start(1, { args: [...args, ...login, "-v=6"], env: { FLANNELD_TYPO: "s3cr3t-word" } });
    await agent.untilReady();
    await putPeers(scene.etcd, [storePeer(1)]);
    await scene.etcd.put(`${leaseDirectory}gar bage`, "x\ny");
    await putConfig(scene.etcd, { Network: 5 });
    await agent.untilEvent("config.rejected");
    await agent.untilEvent("lease.unreadable");
    await agent.untilReady({ peers: 1 });
    agent.signal("SIGHUP");
    await agent.untilEvent("agent.reload");
    await agent.term();
    return agent.output;
  }

  it("is text for people, each line with time, level and event", async () => {
    const lines = (await live([])).trimEnd().split("\n");
    expect(lines.length).toBeGreaterThan(15);
    for (const line of lines) {
      expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO |WARN |ERROR) .* event=[a-z][a-z0-9.-]+( |$)/);
      expect(line).not.toContain("s3cr3t-word");
    }
  });

  it("is JSON when asked for, each line an object with the same", async () => {
    const lines = (await live(["--log-format=json"])).trimEnd().split("\n");
    for (const line of lines) {
      const entry = JSON.parse(line) as Record<string, unknown>;
      expect(entry).toMatchObject({
        time: expect.stringMatching(/^\d{4}-.*Z$/),
        level: expect.stringMatching(/^(debug|info|warn|error)$/),
        event: expect.stringMatching(/^[a-z][a-z0-9.-]+$/),
        message: expect.any(String),
      });
      expect(line).not.toContain("s3cr3t-word");
    }
  });
});

describe("flags and environment", () => {
  const flanneld = fileURLToPath(new URL("../../bin/flanneld", import.meta.url));
  const flanneldWith = (argv: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    tryRun(scene.host(1).namespace.command([flanneld, ...argv]), { env });

  it("prints version and help to standard output: exit 0", async () => {
    const version = await flanneldWith(["--version"]);
    expect(version).toMatchObject({ exitCode: 0, stderr: "" });
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\S*\n$/);
    for (const flag of ["--help", "-h"]) {
      const help = await flanneldWith([flag]);
      expect(help).toMatchObject({ exitCode: 0, stderr: "" });
      for (const name of ["--etcd-endpoints", "--iface", "--state-dir"]) expect(help.stdout).toContain(name);
    }
  });

  it.each<[string, readonly string[], Record<string, string>, RegExp]>([
    ["an unknown flag", ["--etcd-endpoint=x"], {}, /etcd-endpoint.*--help/s],
    ["a bad number", ["--healthz-port=many"], {}, /healthz-port.*many/],
    ["a number out of range", ["--subnet-lease-renew-margin=1440"], {}, /subnet-lease-renew-margin.*1440/],
    ["a bad address", ["--public-ip=300.1.1.1"], {}, /public-ip.*300\.1\.1\.1/],
    ["a word too many", ["now"], {}, /now/],
    ["a bad variable", [], { FLANNELD_HEALTHZ_PORT: "many" }, /FLANNELD_HEALTHZ_PORT.*many/],
    ["a bad endpoint", ["--etcd-endpoints=ftp://x"], {}, /ftp/],
    ["a certificate file that is not there", ["--etcd-endpoints=https://x:1", "--etcd-cafile=/no"], {}, /\/no/],
    ["a flag whose feature is not there yet", ["--kube-subnet-mgr"], {}, /kube-subnet-mgr/],
  ])("refuses %s: exit 2, one message", async (_what, argv, env, message) => {
    const files = ["--subnet-file=/run/flannel/x/subnet.env", "--state-dir=/run/flannel/x"];
    const result = await flanneldWith([...files, ...argv], env);
    expect(result.exitCode).toBe(2);
    expect(result.stdout).toBe("");
    expect(result.stderr).toMatch(message);
    expect(result.stderr).not.toContain("    at ");
  });

  it("takes flags from the environment, and only warns of a variable it does not know", async () => {
    const env = { FLANNELD_HEALTHZ_PORT: String(healthPort), FLANNELD_HEALTZ_PORT: "1" };
    const agent = scene.start(1, { env });
    await agent.untilReady();
    expect((await probe("/healthz")).status).toBe(200);
    expect(agent.events("flags.odd").join()).toContain("FLANNELD_HEALTZ_PORT");
  });

  it("goes on with what flannel's command lines give without need, with a warning", async () => {
    const idle = ["--vmodule=main=4", "--log_backtrace_at=main.go:1"];
    const files = ["--etcd-cafile=/no/ca.pem", "--etcd-certfile=/no/c.pem", "--etcd-keyfile=/no/k.pem"];
    const agent = scene.start(1, { args: [...idle, ...files] });
    await agent.untilReady();
    expect(agent.events("flags.odd")).toHaveLength(idle.length);
    expect(agent.events("store.odd")).toEqual([
      expect.stringContaining("certificate files that are given are not used"),
    ]);
    agent.signal("SIGHUP");
    await agent.untilEvent("agent.reload");
    expect((await agent.status()).state).toBe("ready");
    expect(agent.events("agent.reload-failed")).toEqual([]);
  });

  it("a port for health checks that is taken: exit 2", async () => {
    const first = scene.start(1, { args: [`--healthz-port=${healthPort}`] });
    await first.untilReady();
    const args = [`--healthz-port=${healthPort}`];
    const second = scene.start(1, { args, directory: "/run/flannel/h1/second" });
    expect(await second.exited).toEqual({ code: 2, signal: null });
    expect(second.events("agent.failed")[0]).toContain(`${healthPort}`);
    expect(first.isRunning).toBe(true);
  });

  it("an interface that is not there: exit 1, naming it", async () => {
    const agent = scene.start(1, { args: ["--iface=eth9"] });
    expect(await agent.exited).toEqual({ code: 1, signal: null });
    expect(agent.events("agent.failed")[0]).toContain("eth9");
  });
});
