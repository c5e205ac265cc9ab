// Asked to end, the agent does so at once (5 s at most on an idle machine) and with exit code 0, whatever it is doing or waiting for.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { Cluster } from "../../lab/cluster.ts";
import { DEADLINE_MS } from "../../lab/wait.ts";
import { runAgent } from "../../src/agent/lifecycle/run-agent.ts";
import { backends } from "../../src/backend/registry.ts";
import { resolveAgentOptions } from "../../src/cli/flags/flanneld-flags.ts";
import { createLogger } from "../../src/telemetry/create-logger.ts";

let cluster: Cluster;

// From outside this moment can only be hit by chance.
it("ends when it is asked to while its parts are being opened", async () => {
  const directory = "/run/flannel/opening";
  const files = [`--subnet-file=${directory}/subnet.env`, `--state-dir=${directory}/state`];
  const invocation = resolveAgentOptions([...files, "--etcd-endpoints=http://127.0.0.1:2379"], {});
  if (invocation.action !== "run") throw new Error(`no agent with ${files.join(" ")}`);
  const stop = new AbortController();
  const lines: string[] = [];
  const write = (line: string) => {
    lines.push(line);
    if (line.includes("store.opened")) stop.abort();
  };
  const logger = createLogger({ format: "json", verbosity: 0, write });
  const onReload = () => ({ [Symbol.dispose]: () => undefined });
  const options = { options: invocation.options, version: "0", logger, storeProgram: "", onReload };
  const run = runAgent({ backends, ...options, signal: stop.signal });
  expect(await run).toBe(0);
  expect(lines.at(-1)).toContain("agent.stopped");
});

// The kernel gives process 1 no signal by which it would end: Node's own handler, which there is while it starts, ends nobody.
it.each([
  ["flanneld", ["--etcd-endpoints=http://127.0.0.1:2379", "--subnet-file=/run/flannel/first/subnet.env"]],
  ["flannel-store", ["--data-dir=/run/flannel/first/store", "--listen=unix:///run/flannel/first/store.sock"]],
])("%s ends as process 1 of a container that is asked to while Node starts", (program, args) => {
  mkdirSync("/run/flannel/first", { recursive: true });
  const asker = "/run/flannel/first/asker.cjs";
  writeFileSync(asker, 'process.kill(process.pid, "SIGTERM");');
  const container = ["--pid", "--mount-proc", "--fork", "--kill-child=SIGKILL"];
  const launcher = fileURLToPath(new URL(`../../bin/${program}`, import.meta.url));
  const env = { ...process.env, FLANNEL_NODE_OPTIONS: `--require=${asker}` };
  const options = { encoding: "utf8", env, timeout: DEADLINE_MS, killSignal: "SIGKILL" } as const;
  const { status, signal, stdout, stderr } = spawnSync("unshare", [...container, launcher, ...args], options);
  expect({ status, signal, stdout, stderr }).toEqual({ status: 0, signal: null, stdout: "", stderr: "" });
});

describe.each(["SIGTERM", "SIGINT"] as const)("%s ends the agent with exit code 0", (signal) => {
  beforeAll(async () => {
    const config = { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } };
    cluster = await Cluster.start({ hosts: 1, config });
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  async function expectPromptEnd(agent: LabAgent): Promise<void> {
    const sinceMs = performance.now();
    agent.signal(signal);
    expect(await agent.exited, agent.output).toEqual({ code: 0, signal: null });
    expect(performance.now() - sinceMs).toBeLessThan(50_000);
    expect(agent.events("agent.stopped")).toHaveLength(1);
  }

  /** A further agent on the host, with files of its own. */
  function start(name: string, prefix: string, etcdEndpoints = cluster.etcd.endpoints): LabAgent {
    const { host } = cluster.agent(1);
    return LabAgent.start(host, {
      etcdEndpoints,
      directory: `${host.runDirectory}/${name}`,
      args: [`--etcd-prefix=${prefix}`],
    });
  }

  it("as soon as it listens to signals", async () => {
    await using agent = start("starting", "/coreos.com/network");
    await agent.untilEvent("agent.starting");
    await expectPromptEnd(agent);
  });

  it("while nobody answers at etcd's address", async () => {
    await using agent = start("refused", "/x", "http://192.168.50.1:2999");
    await agent.untilEvent("config.unavailable");
    await expectPromptEnd(agent);
  });

  it("while packets to etcd vanish", async () => {
    await using agent = start("vanish", "/x", "http://192.168.50.77:2379");
    await agent.untilEvent("config.unavailable");
    await expectPromptEnd(agent);
  });

  it("while there is no configuration", async () => {
    await using agent = start("unconfigured", "/nothing");
    await agent.untilEvent("config.unavailable");
    await expectPromptEnd(agent);
  });

  it("while there is no free subnet", async () => {
    const network = { Network: "10.9.0.0/22", SubnetLen: 24, SubnetMin: "10.9.1.0", SubnetMax: "10.9.1.0" };
    await cluster.etcd.put("/full/config", JSON.stringify({ ...network, Backend: { Type: "vxlan", VNI: 9 } }));
    await cluster.etcd.put("/full/subnets/10.9.1.0-24", '{"PublicIP":"192.168.50.99","PublicIPv6":null}');
    await using agent = start("full", "/full");
    await agent.untilEvent("lease.unavailable");
    await expectPromptEnd(agent);
  });

  it("when it is ready", async () => {
    const agent = cluster.agent(1);
    await agent.untilReady();
    // What has no meaning for it changes nothing.
    for (const other of ["SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "SIGHUP"] as const) agent.signal(other);
    await agent.untilEvent("agent.reload");
    expect((await agent.status()).state).toBe("ready");
    expect(agent.output).not.toContain("Debugger");
    await expectPromptEnd(agent);
    await cluster.startAgent(1).untilReady();
  });

  it("while etcd says nothing any more", async () => {
    const agent = cluster.agent(1);
    const [member] = cluster.etcd.members;
    member?.pause();
    try {
      await expectPromptEnd(agent);
    } finally {
      member?.resume();
    }
    await cluster.startAgent(1).untilReady();
  });

  it("while etcd is away, and after a start from what it remembered", async () => {
    const [member] = cluster.etcd.members;
    await member?.kill9();
    const running = cluster.agent(1);
    await running.untilEvent("store.disconnected");
    await expectPromptEnd(running);
    const warm = cluster.startAgent(1);
    await warm.untilEvent("warm-start");
    await expectPromptEnd(warm);
    member?.start();
    await cluster.startAgent(1).untilReady();
  });
});
