// What flannelctl does to the kernel while no agent runs; iproute2 is the witness.
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { link, routes } from "../../lab/kernel-view.ts";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { type RememberedState, WarmState } from "../../src/agent/state/warm-state.ts";
import { backends } from "../../src/backend/registry.ts";
import { cleanupOutputSchema, handoverOutputSchema } from "../../src/cli/flannelctl/session/json-output.ts";
import { renderBootFile } from "../../src/config/cni-boot-lines.ts";
import { etcdLease } from "../../src/etcd-api/etcd-lease.ts";
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { etcdLeaseCodec } from "../../src/store/etcd/lease-codec.ts";
import { FileLock } from "../../src/sys/file-lock.ts";
import { EtcdServer } from "../etcd/etcd-server.ts";
import { flannelctl, TemporaryDirectory } from "../support/flannelctl.ts";

const configText = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
const leaseKey = "/coreos.com/network/subnets/10.5.1.0-24";
const leaseValue =
  '{"PublicIP":"192.168.50.11","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:00:00:00:00:01"}}';
const foreignRoutes = ["10.5.200.0/24 via 192.168.50.20 dev eth0", "10.9.9.0/24 via 192.168.50.20 dev eth0 proto 241"];

let directory: TemporaryDirectory;
let etcd: EtcdServer;

function ctl(...argv: string[]) {
  const files = ["--subnet-file", directory.file("subnet.env"), "--state-dir", directory.file("state")];
  return flannelctl([...files, ...argv], { env: { FLANNELD_ETCD_ENDPOINTS: etcd.endpoints } });
}

async function remember(change: Partial<RememberedState> = {}): Promise<void> {
  const own = etcdLease({
    key: "10.5.1.0-24",
    subnet: parsePrefix("10.5.1.0/24"),
    attributes: { publicIp: parseAddress("192.168.50.11") },
    revision: 5n,
    createRevision: 5n,
    storeLeaseId: 7n,
  });
  const state = new WarmState({
    directory: directory.file("state"),
    subnetFile: directory.file("subnet.env"),
    networkId: "/coreos.com/network",
    leaseCodec: etcdLeaseCodec,
    backends,
  });
  await state.save({
    configText,
    own,
    identities: {},
    devices: ["flannel.1"],
    publicIp: parseAddress("192.168.50.11"),
    ...change,
  });
  writeFileSync(directory.file("subnet.env"), "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.1.1/24\n");
}

beforeAll(async () => {
  etcd = await EtcdServer.start();
});

afterAll(() => etcd[Symbol.asyncDispose]());

/** A host as an agent leaves it: a device with two peers, a direct route, and what others put there. */
beforeEach(async () => {
  directory = new TemporaryDirectory();
  await box.ipBatch([
    "link add dev eth0 type veth peer name eth0-peer",
    "addr add 192.168.50.11/24 dev eth0",
    "link set dev eth0-peer up",
    "link set dev eth0 up",
    "link add dev flannel.1 address 0a:00:00:00:00:01 mtu 1450 type vxlan id 1 local 192.168.50.11 dev eth0 dstport 8472 nolearning",
    "addr add 10.5.1.0/32 dev flannel.1",
    "link set dev flannel.1 up",
    "link add dev flannel.7 type vxlan id 7 local 192.168.50.11 dev eth0 dstport 8472 nolearning",
    "nexthop add id 1180434433 via 10.5.2.0 dev flannel.1 onlink protocol 241",
    "route add 10.5.2.0/24 nhid 1180434433",
    "route add 10.5.3.0/24 via 10.5.3.0 dev flannel.1 onlink",
    "route add 10.5.4.0/24 via 192.168.50.14 dev eth0 proto 241",
    ...foreignRoutes.map((route) => `route add ${route}`),
  ]);
});

afterEach(async () => {
  await box.ip("link", "del", "dev", "eth0");
  await box.tryRun(["ip", "link", "del", "dev", "flannel.1"]);
  await box.tryRun(["ip", "link", "del", "dev", "flannel.7"]);
  directory[Symbol.dispose]();
  await etcd.control("del", "", "--prefix");
});

const listed = ["flannel.1", "10.5.4.0/24 via 192.168.50.14 dev eth0 proto 241"];

test("--dry-run says what would go and changes nothing", async () => {
  await remember();
  const before = await routes(box);
  const { exitCode, stdout } = await ctl("cleanup", "--dry-run", "--all");
  expect(exitCode).toBe(0);
  for (const object of listed) expect(stdout).toContain(`would remove ${object}`);
  expect(stdout).toContain(`would remove file ${directory.file("subnet.env")}`);
  expect(stdout).not.toContain("flannel.7");
  expect(await routes(box)).toEqual(before);
  expect(existsSync(directory.file("subnet.env"))).toBe(true);
  expect(readdirSync(directory.file("state"))).toHaveLength(1);
});

test("cleanup removes the remembered device and tagged routes; what belongs to others and the files stay", async () => {
  await remember();
  const { exitCode, stdout } = await ctl("cleanup", "--json");
  expect(exitCode).toBe(0);
  const output = cleanupOutputSchema.parse(JSON.parse(stdout));
  expect(output).toMatchObject({ dryRun: false, releasedLeases: [], removedFiles: [], failures: [] });
  expect(output.removedObjects.some((line) => line.startsWith("flannel.1"))).toBe(true);
  expect(await link(box, "flannel.1")).toBeUndefined();
  expect(await link(box, "flannel.7")).toBeDefined();
  const left = await routes(box);
  for (const route of foreignRoutes) expect(left.some((line) => line.startsWith(route.split(" ")[0]!))).toBe(true);
  expect(left.some((line) => line.startsWith("10.5.4.0/24"))).toBe(false);
  expect(await box.ip("nexthop", "show")).toBe("");
  expect(existsSync(directory.file("subnet.env"))).toBe(true);
  expect(readdirSync(directory.path).sort()).toEqual(["state", "subnet.env", "subnet.env.not-ready"]);
  expect(await ctl("cleanup")).toMatchObject({ exitCode: 0, stdout: "nothing to remove\n" });
});

test("the CNI configuration that the agent wrote goes with the network, one that upstream wrote since does not", async () => {
  const cniFile = directory.file("10-flannel.conflist");
  const ranges = [[{ subnet: "10.5.1.0/24" }]];
  const ours = { name: "cbr0", plugins: [{ type: "bridge", ipam: { type: "host-local", ranges } }] };
  const upstreams = { name: "cbr0", plugins: [{ type: "flannel", delegate: { isDefaultGateway: true } }] };
  await remember({ cniFile });
  writeFileSync(cniFile, JSON.stringify(upstreams));
  await ctl("cleanup");
  expect(existsSync(cniFile)).toBe(true);
  writeFileSync(cniFile, JSON.stringify(ours));
  expect((await ctl("cleanup", "--dry-run")).stdout).toBe(`would remove file ${cniFile}\n`);
  expect(existsSync(cniFile)).toBe(true);
  expect((await ctl("cleanup")).stdout).toBe(`removed file ${cniFile}\n`);
  expect(existsSync(cniFile)).toBe(false);
  // The plugin of flannel's is told, too: nothing is to be attached to what is gone.
  const hold = directory.file("subnet.env.not-ready");
  expect(readFileSync(hold, "utf8")).toContain("flannelctl cleanup");
  expect((await ctl("handover")).exitCode).toBe(0);
  expect(existsSync(hold)).toBe(false);
  // As a link (--cni-conf-target): upstream gets a file of its own; else both go, and a link that a boot left without its file.
  const kept = directory.file("kept.conflist");
  writeFileSync(kept, JSON.stringify(ours));
  symlinkSync(kept, cniFile);
  expect((await ctl("handover")).exitCode).toBe(0);
  expect([lstatSync(cniFile).isFile(), readFileSync(cniFile, "utf8")]).toEqual([true, JSON.stringify(ours)]);
  rmSync(cniFile);
  symlinkSync(kept, cniFile);
  expect((await ctl("cleanup")).stdout).toBe(`removed file ${cniFile}\nremoved file ${kept}\n`);
  expect(existsSync(kept)).toBe(false);
  symlinkSync(kept, cniFile);
  expect((await ctl("cleanup")).stdout).toBe(`removed file ${cniFile}\n`);
  symlinkSync("/run/other/kept.conflist", cniFile);
  expect((await ctl("cleanup")).stdout).toBe("nothing to remove\n");
  rmSync(cniFile);
  // So does the file by which systemd removes it at boot, unless it is somebody else's.
  const cniBootFile = directory.file("flannel-cni.conf");
  await remember({ cniFile, cniBootFile });
  const line = renderBootFile(cniFile);
  writeFileSync(cniBootFile, line);
  expect((await ctl("handover")).exitCode).toBe(0);
  expect(existsSync(cniBootFile)).toBe(false);
  writeFileSync(cniBootFile, line);
  expect((await ctl("cleanup", "--dry-run")).stdout).toBe(`would remove file ${cniBootFile}\n`);
  expect((await ctl("cleanup")).stdout).toBe(`removed file ${cniBootFile}\n`);
  expect(existsSync(cniBootFile)).toBe(false);
  writeFileSync(cniBootFile, "# mine\n");
  expect((await ctl("cleanup")).stdout).toBe("nothing to remove\n");
});

test("the bridges of pods that the CNI configuration names go with it, once nothing is attached to them", async () => {
  const cniFile = directory.file("10-flannel.conflist");
  const ipam = { type: "host-local", ranges: [[{ subnet: "10.5.1.0/24" }]] };
  const plugins = [
    { type: "bridge", ipam },
    { type: "bridge", bridge: "br-pods" },
    { type: "bridge", bridge: "eth0" },
  ];
  await remember({ cniFile });
  writeFileSync(cniFile, JSON.stringify({ name: "cbr0", plugins }));
  await box.ipBatch([
    "link add dev cni0 type bridge",
    "link add dev br-pods type bridge",
    "link add dev pod0 type veth peer name pod0-peer",
    "link set dev pod0 master cni0",
  ]);
  try {
    expect((await ctl("cleanup", "--dry-run")).stdout).toContain("would remove br-pods\n");
    expect(await link(box, "br-pods")).toBeDefined();
    const { exitCode, stdout, stderr } = await ctl("cleanup", "--all");
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 0,
      stderr: expect.stringContaining("cni0 stays: 1 device is"),
    });
    expect(stdout).toContain("removed br-pods\n");
    expect(await link(box, "br-pods")).toBeUndefined();
    for (const name of ["cni0", "eth0"]) expect(await link(box, name), name).toBeDefined();
    await box.ip("link", "del", "dev", "pod0");
    await remember({ cniFile });
    writeFileSync(cniFile, JSON.stringify({ name: "cbr0", plugins }));
    expect((await ctl("cleanup", "--all")).stdout).toContain("removed cni0\n");
    expect(await link(box, "cni0")).toBeUndefined();
  } finally {
    for (const device of ["cni0", "pod0", "br-pods"]) await box.tryRun(["ip", "link", "del", "dev", device]);
  }
});

test("when nothing is remembered, everything with flannel's name or number goes", async () => {
  expect(await ctl("cleanup")).toMatchObject({ exitCode: 0, stderr: "" });
  expect(await link(box, "flannel.1")).toBeUndefined();
  expect(await link(box, "flannel.7")).toBeUndefined();
  const left = await routes(box);
  expect(left.some((line) => line.includes("proto 241") || line.includes("proto 0xf1"))).toBe(false);
  expect(left.some((line) => line.startsWith("10.5.200.0/24"))).toBe(true);
});

test("when only another agent is remembered, it asks which one is meant", async () => {
  await remember();
  const { exitCode, stderr } = await ctl("cleanup", "--etcd-prefix", "/other");
  expect(exitCode).toBe(2);
  expect(stderr).toContain("--etcd-prefix");
  expect(await link(box, "flannel.1")).toBeDefined();
});

test("it refuses while the agent runs, naming its pid", async () => {
  await remember();
  using _lock = FileLock.acquire(`${directory.file("subnet.env")}.lock`);
  for (const verb of ["cleanup", "handover"]) {
    const { exitCode, stdout, stderr } = await ctl(verb, "--json");
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(JSON.parse(stderr)).toEqual({
      version: 1,
      error: { code: "AGENT_RUNNING", message: expect.stringContaining(`pid ${process.pid}`) },
    });
  }
  expect(await link(box, "flannel.1")).toBeDefined();
});

test("--all removes the subnet file and the state", async () => {
  await remember();
  expect((await ctl("cleanup", "--all")).exitCode).toBe(0);
  expect(readdirSync(directory.path)).toEqual(["state"]);
  expect(readdirSync(directory.file("state"))).toEqual([]);
});

test.each([
  ["remembered by the state", "state"],
  ["told by the subnet file when the state is lost", "elsewhere"],
])("--release deletes our own lease only: %s", async (_name, stateDirectory) => {
  await remember();
  const other = "/coreos.com/network/subnets/10.5.2.0-24";
  await etcd.control("put", other, leaseValue.replace(".50.11", ".50.12"));
  const id = (await etcd.control("lease", "grant", "3600")).split(" ")[1]!;
  await etcd.control("put", leaseKey, leaseValue, `--lease=${id}`);
  const released = async (...argv: string[]) => {
    const { stdout } = await ctl(
      "cleanup",
      "--release",
      "--json",
      ...argv,
      "--state-dir",
      directory.file(stateDirectory),
    );
    return cleanupOutputSchema.parse(JSON.parse(stdout)).releasedLeases;
  };
  expect(await released("--dry-run")).toEqual(["10.5.1.0-24"]);
  expect(await etcd.control("get", leaseKey)).not.toBe("");
  expect(await released()).toEqual(["10.5.1.0-24"]);
  expect(await etcd.control("get", leaseKey)).toBe("");
  expect(await etcd.control("get", other)).not.toBe("");
});

test("--release leaves the subnet to the host that has it now, and a reservation to who made it", async () => {
  await remember();
  await etcd.control("put", leaseKey, leaseValue.replace(".50.11", ".50.99"));
  expect((await ctl("cleanup", "--release")).stdout).not.toContain("lease");
  await etcd.control("put", leaseKey, leaseValue);
  const { exitCode, stderr } = await ctl("cleanup", "--release");
  expect(exitCode).toBe(0);
  expect(stderr).toContain("10.5.1.0-24 is reserved for this host and stays");
  expect(await etcd.control("get", leaseKey)).not.toBe("");
});

test("a store that is away does not keep the kernel from being cleaned, and keeps the state for another try", async () => {
  await remember();
  const { exitCode, stdout } = await ctl("cleanup", "--release", "--all", "--etcd-endpoints", "http://127.0.0.1:1");
  expect(exitCode).toBe(1);
  expect(stdout).toMatch(/^removed flannel\.1/m);
  expect(stdout).toMatch(/^failed the lease in the store: /m);
  expect(await link(box, "flannel.1")).toBeUndefined();
  expect(existsSync(directory.file("subnet.env"))).toBe(true);
});

test("handover without an agent makes routes through next-hop objects plain, and nothing else", async () => {
  await remember();
  const { exitCode, stdout } = await ctl("handover", "--json");
  expect(exitCode).toBe(0);
  expect(handoverOutputSchema.parse(JSON.parse(stdout))).toEqual({
    networks: [{ name: "/coreos.com/network", rewrittenRoutes: 1, writtenScratchFiles: 0, releasedDevices: [] }],
    through: "kernel",
  });
  expect(await box.ip("nexthop", "show")).toBe("");
  const left = await routes(box, "dev", "flannel.1");
  expect(left.map((line) => line.trim())).toEqual([
    expect.stringMatching(/^10\.5\.2\.0\/24 via 10\.5\.2\.0 .*onlink/),
    expect.stringMatching(/^10\.5\.3\.0\/24 via 10\.5\.3\.0 .*onlink/),
  ]);
  expect((await ctl("handover")).stdout).toMatch(/^nothing to do/);
});
