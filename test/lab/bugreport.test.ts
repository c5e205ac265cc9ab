// `flannelctl bugreport`: what is needed is in it, no secret is, and it is small and private; with the agent and without.
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { run, tryRun } from "../../lab/command.ts";
import { Scene } from "../support/scene.ts";
import { putConfig } from "../support/store-peers.ts";

const secrets = {
  key: "Kk3-preshared-9Qz7wLm2",
  password: "Pw8-etcd-4Rt6yBn1",
  url: "Uu5-proxy-2Wq9eVx7",
  token: "Tt1-token-8Zx4cMj6",
  rule: "Rr7-rule-3Hg5fKp9",
  file: "Ff9-keyfile-7Jd2sLq4",
};

/** What drives a terminal, or turns the direction of text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
const driving = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

let scene: Scene;
let agent: LabAgent;
let directory: string;

beforeAll(async () => {
  scene = await Scene.open(1);
  directory = await mkdtemp("/tmp/bugreport-");
  // As a network of wireguard or ipsec has them; the file's content stands in no configuration.
  await writeFile(`${directory}/psk`, `${secrets.file}\n`, { mode: 0o600 });
  const PSKFile = `${directory}/psk`;
  const config = { Network: "10.5.0.0/16", Backend: { Type: "vxlan", PSK: secrets.key, PSKFile } };
  await putConfig(scene.etcd, config);
  agent = scene.start(1, {
    env: {
      FLANNELD_ETCD_USERNAME: "",
      HTTPS_PROXY: `http://flannel:${secrets.url}@proxy:3128`,
      FLANNEL_JOIN_TOKEN: secrets.token,
    },
  });
  await agent.untilReady();
  const { namespace } = scene.host(1);
  await namespace.run([
    "iptables",
    "-A",
    "INPUT",
    "-m",
    "comment",
    "--comment",
    `password=${secrets.rule} and ${secrets.file}`,
    "-j",
    "RETURN",
  ]);
  await run(["mkdir", "-p", `${directory}/root/etc/flannel`]);
  await writeFile(
    `${directory}/root/etc/flannel/flanneld.env`,
    `FLANNELD_ETCD_PASSWORD=${secrets.password}\nFLANNELD_ETCD_USERNAME=x\n# \u001b]0;owned\u0007\u202e\u009b2J\n`,
  );
});

afterAll(async () => {
  await scene[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

async function report(name: string): Promise<{ readonly files: ReadonlyMap<string, string>; readonly index: string }> {
  const file = join(directory, name);
  const words = [`--root=${directory}/root`, `--state-dir=${agent.directory}/state`, "--json", "bugreport", "-o", file];
  const { exitCode, stdout, stderr } = await scene.ctl(agent, ...words);
  expect(exitCode, stderr).toBe(0);
  const { packedBytes, unpackedBytes } = JSON.parse(stdout) as Record<string, number>;
  const { size, mode } = await stat(file);
  expect(mode & 0o777).toBe(0o600);
  expect(packedBytes).toBe(size);
  expect(size).toBeLessThan(5 * 1_048_576);
  expect(unpackedBytes).toBeLessThan(20 * 1_048_576);
  const unpacked = `${file}.d`;
  await run(["mkdir", unpacked]);
  await run(["tar", "-xzf", file, "-C", unpacked, "--strip-components=1"]);
  const files = new Map<string, string>();
  for (const entry of await readdir(unpacked, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(path.slice(unpacked.length + 1), await readFile(path, "utf8"));
  }
  for (const [what, secret] of Object.entries(secrets)) {
    const { stdout: found } = await tryRun(["grep", "-rlF", secret, unpacked]);
    expect(found, what).toBe("");
  }
  for (const [name, text] of files) expect(driving.test(text), name).toBe(false);
  return { files, index: files.get("index.json") ?? "" };
}

it("holds what is needed, and no secret", async () => {
  const { files, index } = await report("first.tar.gz");
  const parts = (JSON.parse(index) as { parts: { file: string; failure?: string; redactions: number }[] }).parts;
  const there = parts.filter(({ failure }) => failure === undefined).map(({ file }) => file);
  expect(there).toEqual(
    expect.arrayContaining([
      ...[
        "doctor.json",
        "journal.json",
        "peers.json",
        "status.json",
        "plan.json",
        "rules.json",
        "metrics.json",
        "config.json",
        "leases.json",
        "versions.json",
      ],
      ...[
        "network/link.json",
        "network/route.json",
        "network/fdb.json",
        "rules/nft.json",
        "rules/iptables-nft-save.txt",
      ],
      ...[
        "files/subnet.env",
        "files/flanneld.env",
        "agent/environment.txt",
        "agent/command-line.txt",
        "host/sysctl.txt",
      ],
    ]),
  );
  expect([...files.keys()].filter((file) => !["README.txt", "index.json"].includes(file)).toSorted()).toEqual(
    there.toSorted(),
  );
  expect(parts.reduce((sum, { redactions }) => sum + redactions, 0)).toBeGreaterThan(4);
  expect(files.get("config.json")).toMatch(/"Network":"10\.5\.0\.0\/16".*<secret [\da-f]{8}>/);
  expect(files.get("agent/environment.txt")).toMatch(/http:\/\/flannel:<secret [\da-f]{8}>@proxy/);
  expect(files.get("journal.json")).toContain('"event": "agent.ready"');
  expect(files.get("status.json")).toContain(`"pid": ${agent.pid}`);
});

it("works without an agent, and says what is missing and why", async () => {
  await agent.kill9();
  const { files, index } = await report("second.tar.gz");
  expect(files.get("doctor.json")).toContain('"agent": "absent"');
  expect(index).toMatch(/"file": "status\.json",[^}]*"failure": "[^"]+/s);
  expect(files.get("config.json")).toContain("10.5.0.0/16");
});
