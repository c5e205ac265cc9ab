// bin/mk-docker-opts as Docker's systemd unit calls it: what it writes, what it refuses, and that nothing in a value runs.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const program = new URL("../../bin/mk-docker-opts.sh", import.meta.url).pathname;
const sample = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n";
const individual = [
  'DOCKER_OPT_BIP="--bip=10.1.74.1/24"',
  'DOCKER_OPT_IPMASQ="--ip-masq=true"',
  'DOCKER_OPT_MTU="--mtu=1472"',
];
const combined = '" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mk-docker-opts-"));
  mkdirSync(join(directory, "bin"));
  setRoutes("default via 192.0.2.1 dev eth0\n10.1.74.0/24 dev docker0 proto kernel scope link src 10.1.74.1\n");
});
afterEach(() => rmSync(directory, { recursive: true }));

/** What `ip route show` prints. */
function setRoutes(text: string): void {
  writeFileSync(join(directory, "bin", "ip"), `#!/bin/sh\ncat <<'END'\n${text}END\n`, { mode: 0o755 });
}

interface Result {
  readonly status: number | null;
  readonly stderr: string;
  /** Lines of the file, or undefined when it was not written. */
  readonly lines: readonly string[] | undefined;
}

function run(argv: readonly string[], content = sample, env: Record<string, string> = {}): Result {
  const [input, output] = [join(directory, "subnet.env"), join(directory, "docker opts.env")];
  writeFileSync(input, content);
  const path = `${join(directory, "bin")}:${process.env["PATH"] ?? ""}`;
  const { status, stderr } = spawnSync(program, ["-f", input, "-d", output, ...argv], {
    encoding: "utf8",
    cwd: directory,
    env: { PATH: path, ...env },
  });
  const lines = existsSync(output) ? readFileSync(output, "utf8").split("\n").slice(0, -1) : undefined;
  return { status, stderr, lines };
}

describe("mk-docker-opts", () => {
  it.each<[string[], string[]]>([
    [[], [...individual, `DOCKER_OPTS=${combined}`]],
    [
      ["-i", "-c"],
      [...individual, `DOCKER_OPTS=${combined}`],
    ],
    [["-i"], individual],
    [["-c"], [`DOCKER_OPTS=${combined}`]],
    [
      ["-k", "CUSTOM_KEY"],
      [...individual, `CUSTOM_KEY=${combined}`],
    ],
    [["-m"], [individual[0] ?? "", individual[2] ?? "", 'DOCKER_OPTS=" --bip=10.1.74.1/24 --mtu=1472"']],
  ])("writes with %j", (argv, lines) => {
    expect(run(argv)).toEqual({ status: 0, stderr: "", lines });
  });

  it("turns Docker's masquerading off where flanneld does it", () => {
    expect(run(["-i"], sample.replace("false", "true")).lines).toContain('DOCKER_OPT_IPMASQ="--ip-masq=false"');
  });

  it("adds to options that the environment has", () => {
    const { lines } = run([], sample, { DOCKER_OPTS: "--debug", DOCKER_OPT_ZZZ: "--live-restore" });
    expect(lines).toEqual([
      ...individual,
      'DOCKER_OPT_ZZZ="--live-restore"',
      'DOCKER_OPTS="--debug --bip=10.1.74.1/24 --ip-masq=true --mtu=1472 --live-restore"',
    ]);
  });

  it("works without a subnet file, from the environment, and with IPv6 alone", () => {
    rmSync(join(directory, "subnet.env"), { force: true });
    const output = join(directory, "out.env");
    const argv = ["-f", join(directory, "missing"), "-d", output, "-c"];
    spawnSync(program, argv, { env: { PATH: process.env["PATH"] ?? "", FLANNEL_MTU: "1400" } });
    expect(readFileSync(output, "utf8")).toBe('DOCKER_OPTS=" --mtu=1400"\n');
    const ipv6Only = "FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\nFLANNEL_MTU=1430\n";
    expect(run(["-c"], ipv6Only)).toEqual({ status: 0, stderr: "", lines: ['DOCKER_OPTS=" --mtu=1430"'] });
  });

  it.each<[string[], string]>([
    [["-h"], "Usage: mk-docker-opts.sh"],
    [["-?"], "Usage: mk-docker-opts.sh"],
    [["-x"], "Usage: mk-docker-opts.sh"],
    [["-k"], "Usage: mk-docker-opts.sh"],
    [["more"], "Usage: mk-docker-opts.sh"],
    [["-k", "A;touch x"], "-k A;touch x: not the name of a variable"],
    [["-d", "/dev/null/x"], "cannot write /dev/null/x"],
  ])("refuses %j with exit code 1", (argv, message) => {
    const { status, stderr } = run(argv);
    expect(status).toBe(1);
    expect(stderr).toContain(message);
    expect(existsSync(join(directory, "x"))).toBe(false);
  });

  it("refuses a FLANNEL_IPMASQ that is neither true nor false, unless it is left out", () => {
    const odd = sample.replace("=false", "=maybe");
    expect(run([], odd)).toMatchObject({ status: 1, stderr: expect.stringContaining('FLANNEL_IPMASQ is "maybe"') });
    expect(run(["-m"], odd).status).toBe(0);
  });

  it("says so when the subnet is routed to another host", () => {
    setRoutes("default via 192.0.2.1 dev eth0\n10.1.74.0/24 via 192.0.2.7 dev eth0\n");
    const { status, stderr, lines } = run([]);
    expect(status).toBe(1);
    expect(stderr).toContain("10.1.74.0/24 is already routed to another host: 10.1.74.0/24 via 192.0.2.7 dev eth0");
    expect(lines).toHaveLength(4);
  });

  it("runs nothing that stands in a value, neither now nor when the result is sourced", () => {
    const hostile = '$(touch now) `touch now` "; touch now; \\\nXDOCKER_OPT_FAKE=$(touch now)';
    const { status } = run([], sample, { DOCKER_OPT_BAD: hostile });
    expect(status).toBe(0);
    const source = '. "./docker opts.env"; printf %s "$DOCKER_OPT_BAD"';
    const { stdout } = spawnSync("sh", ["-c", source], { cwd: directory, encoding: "utf8" });
    expect(stdout).toBe(hostile);
    expect(existsSync(join(directory, "now"))).toBe(false);
  });
});
