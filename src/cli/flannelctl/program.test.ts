import { expect, test } from "vitest";
import { flannelctl } from "../../../test/support/flannelctl.ts";
import { globalOptions, resolveGlobalOptions } from "./global-options.ts";

test.each<[string[], string]>([
  [[], "which command?"],
  [["lease"], "which command?"],
  [["config"], "which command?"],
  [["stauts"], "unknown command 'stauts' (Did you mean status?)"],
  [["lease", "lost"], "unknown command 'lost' (Did you mean list?)"],
  [["help"], "unknown command 'help'"],
  [["status", "extra"], "too many arguments"],
  [["status", "--jsn"], "unknown option '--jsn' (Did you mean --json?)"],
  [["status", "--socket"], "option '--socket <path>' argument missing"],
  [["wait", "--timeout", "soon"], "give a number of seconds."],
  [["wait", "--timeout", "-1"], "give a number of seconds."],
  [["lease", "show"], "missing required argument 'lease'"],
  [["lease", "show", "10.5.34.0/24", "10.5.35.0/24"], "too many arguments"],
  [["lease", "reserve", "10.5.34.0/24"], "--public-ip"],
  [["lease", "reserve", "10.5.34.0/24", "--public-ip", "fd00::1"], "is not an IPv4 address of a host"],
  [["lease", "reserve", "10.5.34.9/24", "--public-ip", "192.0.2.1"], "the subnet is 10.5.34.0/24"],
  [["lease", "release", "all"], "is not a subnet"],
  [["config", "set"], "missing required argument 'file'"],
  [["cleanup", "--dry-run=yes"], "--dry-run"],
])("%j is wrong use: exit 2, one line on stderr with a hint, nothing on stdout", async (argv, reason) => {
  const plain = await flannelctl(argv);
  expect(plain).toMatchObject({ exitCode: 2, stdout: "" });
  expect(plain.stderr).toMatch(/^flannelctl: [^\n]*\n$/);
  expect(plain.stderr).toContain(reason);
  const json = await flannelctl(["--json", ...argv]);
  expect(json).toMatchObject({ exitCode: 2, stdout: "" });
  expect(JSON.parse(json.stderr)).toEqual({ error: { code: "usage", message: expect.stringContaining(reason) } });
});

test("--help and --version go to standard output and exit 0", async () => {
  const help = await flannelctl(["--help"]);
  expect(help).toMatchObject({ exitCode: 0, stderr: "" });
  for (const word of [
    "status",
    "wait",
    "lease",
    "config",
    "plan",
    "handover",
    "cleanup",
    "--etcd-endpoints",
    "Exit codes",
  ]) {
    expect(help.stdout).toContain(word);
  }
  const verb = await flannelctl(["lease", "reserve", "--help"]);
  expect(verb).toMatchObject({ exitCode: 0, stderr: "" });
  expect(verb.stdout).toContain("--public-ip <address>");
  expect(await flannelctl(["--version"])).toEqual({ exitCode: 0, stdout: "1.2.3\n", stderr: "" });
});

test("options come from the command line, then the environment, then the defaults; empty variables count as unset", () => {
  const env = {
    FLANNELD_SUBNET_FILE: "/run/other/subnet.env",
    FLANNELD_ETCD_PREFIX: "",
    FLANNELD_ETCD_PASSWORD: "secret",
  };
  expect(resolveGlobalOptions({ etcdUsername: "root", json: true }, env)).toEqual({
    json: true,
    subnetFile: "/run/other/subnet.env",
    socketPaths: ["/run/other/flanneld-subnet.sock", "/run/other/flanneld.sock"],
    stateDirectory: "/var/lib/flannel",
    etcd: {
      endpoints: "http://127.0.0.1:4001,http://127.0.0.1:2379",
      prefix: "/coreos.com/network",
      caFile: "",
      certFile: "",
      keyFile: "",
      username: "root",
      password: "secret",
    },
  });
  expect(resolveGlobalOptions({ socket: "/s", subnetFile: "/a/b" }, env)).toMatchObject({
    socketPaths: ["/s"],
    subnetFile: "/a/b",
  });
});

test("every option names the environment variable it shares with flanneld", () => {
  for (const option of globalOptions().filter(({ long }) => long !== "--json")) {
    expect(option.description).toMatch(/\[env: FLANNELD_[A-Z_]+\]$/);
  }
});
