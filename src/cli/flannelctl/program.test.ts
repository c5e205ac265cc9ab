import { mkdirSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { flannelctl, TemporaryDirectory } from "../../../test/support/flannelctl.ts";
import { agentEnvironment, renderEnvFile } from "../install/env-file.ts";
import { hostPaths } from "../install/host-paths.ts";
import { globalOptions, resolveGlobalOptions } from "./session/global-options.ts";

test.each<[string[], string]>([
  [[], "a command is missing"],
  [["lease"], "a command is missing"],
  [["config"], "a command is missing"],
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
  expect(JSON.parse(json.stderr)).toEqual({
    version: 1,
    error: { code: "USAGE", message: expect.stringContaining(reason) },
  });
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

const noFiles = { root: "/nowhere" };

test("options come from the command line, then the environment, then the defaults; empty variables count as unset", () => {
  const env = {
    FLANNELD_SUBNET_FILE: "/run/other/subnet.env",
    FLANNELD_ETCD_PREFIX: "",
    FLANNELD_ETCD_PASSWORD: "secret",
  };
  expect(resolveGlobalOptions({ ...noFiles, etcdUsername: "root", json: true }, env)).toEqual({
    json: true,
    cniStateDirectory: "/var/lib/cni",
    paths: hostPaths("/nowhere"),
    subnetFile: "/run/other/subnet.env",
    socketPaths: ["/run/other/flanneld-subnet.sock", "/run/other/flanneld.sock"],
    stateDirectory: "/nowhere/var/lib/flannel",
    isStoreNamed: false,
    etcd: {
      endpoints: "http://127.0.0.1:4001,http://127.0.0.1:2379",
      prefix: "/coreos.com/network",
      caFile: "",
      certFile: "",
      keyFile: "",
      username: "root",
      password: "secret",
      passwordFile: "",
    },
  });
  expect(resolveGlobalOptions({ ...noFiles, socket: "/s", subnetFile: "/a/b" }, env)).toMatchObject({
    socketPaths: ["/s"],
    subnetFile: "/a/b",
  });
});

test("on a host of a cluster its file names the store, unless flags or environment name one", () => {
  using directory = new TemporaryDirectory();
  const paths = hostPaths(directory.path);
  const root = directory.path;
  mkdirSync(paths.etcDirectory, { recursive: true });
  const settings = { endpoint: "https://192.0.2.1:2379", prefix: "/mine" };
  writeFileSync(paths.envFile, renderEnvFile(agentEnvironment(paths, settings)));
  const fromFile = resolveGlobalOptions({ root }, {});
  expect(fromFile).toMatchObject({
    subnetFile: `${root}/run/flannel/subnet.env`,
    stateDirectory: `${root}/var/lib/flannel`,
    isStoreNamed: true,
    etcd: {
      endpoints: "https://192.0.2.1:2379",
      prefix: "/mine",
      caFile: `${root}/etc/flannel/ca.pem`,
      certFile: `${root}/etc/flannel/host.pem`,
      keyFile: `${root}/etc/flannel/host-key.pem`,
    },
  });
  expect(resolveGlobalOptions({ root, etcdPrefix: "/other" }, {}).etcd).toEqual({
    ...fromFile.etcd,
    prefix: "/other",
  });
  const other = { endpoints: "http://192.0.2.9:2379", prefix: "/coreos.com/network", caFile: "", certFile: "" };
  expect(resolveGlobalOptions({ root, etcdEndpoints: other.endpoints }, {}).etcd).toMatchObject(other);
  expect(resolveGlobalOptions({ root }, { FLANNELD_ETCD_ENDPOINTS: other.endpoints }).etcd).toMatchObject(other);
});

test("every option names the environment variable it shares with flanneld", () => {
  const ofFlannelctl = ["--json", "--root", "--network"];
  for (const option of globalOptions().filter(({ long = "" }) => !ofFlannelctl.includes(long))) {
    expect(option.description).toMatch(/\[env: FLANNELD_[A-Z_]+\]$/);
  }
});

test("a password given by a flag outweighs a file of the environment; two of a kind, or a file without a user, are refused", () => {
  const file = { FLANNELD_ETCD_PASSWORD_FILE: "/f", FLANNELD_ETCD_USERNAME: "u" };
  const login = (flags: object, env: Record<string, string>) => {
    const { username, password, passwordFile } = resolveGlobalOptions({ ...noFiles, ...flags }, env).etcd;
    return [username, password, passwordFile];
  };
  expect(login({ etcdPassword: "x" }, file)).toEqual(["u", "x", ""]);
  expect(login({ etcdPasswordFile: "/g" }, { ...file, FLANNELD_ETCD_PASSWORD: "x" })).toEqual(["u", "", "/g"]);
  expect(login({}, file)).toEqual(["u", "", "/f"]);
  expect(() => login({}, { ...file, FLANNELD_ETCD_PASSWORD: "x" })).toThrow("give one of them");
  expect(() => login({ etcdPassword: "x", etcdPasswordFile: "/g" }, {})).toThrow("give one of them");
  expect(() => login({ etcdPasswordFile: "/g" }, {})).toThrow("needs --etcd-username");
});
