import { beforeEach, expect, test } from "vitest";
import {
  leaseListOutputSchema,
  leaseReleaseOutputSchema,
  leaseReserveOutputSchema,
  leaseShowOutputSchema,
} from "../../src/cli/flannelctl/session/json-output.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { useEtcd } from "./use-etcd.ts";

const etcd = useEtcd();
const value =
  '{"PublicIP":"192.0.2.11","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:11"}}';
const key = "/coreos.com/network/subnets/10.5.34.0-24";

function ctl(...argv: string[]) {
  return flannelctl(argv, { env: { FLANNELD_ETCD_ENDPOINTS: etcd.endpoint } });
}

async function json(...argv: string[]): Promise<unknown> {
  const { exitCode, stdout, stderr } = await ctl(...argv, "--json");
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  return JSON.parse(stdout);
}

/** A host's lease as an agent writes it. Returns the id of its etcd lease. */
async function putLease(ttlSeconds = 86_400): Promise<string> {
  const id = etcd.ctl("lease", "grant", String(ttlSeconds)).split(" ")[1]!;
  etcd.ctl("put", key, value, `--lease=${id}`);
  return id;
}

beforeEach(() => {
  etcd.clear();
  etcd.ctl("put", "/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
});

test("an empty store lists no leases", async () => {
  expect(await ctl("lease", "list")).toEqual({ exitCode: 0, stdout: "no leases\n", stderr: "" });
  expect(leaseListOutputSchema.parse(await json("lease", "list"))).toEqual({ leases: [] });
});

test("list shows leases and reservations in a table, show one with all it announces", async () => {
  await putLease();
  etcd.ctl("put", "/coreos.com/network/subnets/10.5.99.0-24", '{"PublicIP":"192.0.2.99","PublicIPv6":null}');
  etcd.ctl("put", "/coreos.com/network/subnets/garbage", "?");
  const { stdout } = await ctl("lease", "list");
  expect(stdout.split("\n")).toEqual([
    "SUBNET        PUBLIC IP   BACKEND  EXPIRES IN        MAC",
    expect.stringMatching(/^10\.5\.34\.0\/24 {2}192\.0\.2\.11 {2}vxlan {4}(1 d|23 h 59 min) +02:00:00:00:00:11$/),
    "10.5.99.0/24  192.0.2.99           never (reserved)",
    "",
  ]);
  const { leases } = leaseListOutputSchema.parse(await json("lease", "list"));
  expect(leases.map((lease) => [lease.key, lease.reserved])).toEqual([
    ["10.5.34.0-24", false],
    ["10.5.99.0-24", true],
  ]);
  const { lease } = leaseShowOutputSchema.parse(await json("lease", "show", "10.5.34.0/24"));
  expect(lease).toMatchObject({
    key: "10.5.34.0-24",
    subnet: "10.5.34.0/24",
    publicIp: "192.0.2.11",
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:11" },
    reserved: false,
  });
  expect(lease.expiresInSeconds).toBeGreaterThan(86_000);
  expect((await ctl("lease", "show", "10.5.34.0-24")).stdout).toContain(
    'backend data  {"VNI":1,"VtepMAC":"02:00:00:00:00:11"}',
  );
});

test("a lease that is not there is exit 1 with the way to the list", async () => {
  for (const verb of ["show", "release"]) {
    const { exitCode, stdout, stderr } = await ctl("lease", verb, "10.5.77.0/24");
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(stderr).toMatch(/^flannelctl: there is no lease 10\.5\.77\.0.24; see flannelctl lease list\n$/);
  }
});

test("reserve writes upstream's value under a key without expiry, and again changes nothing", async () => {
  const first = leaseReserveOutputSchema.parse(
    await json("lease", "reserve", "10.5.7.0/24", "--public-ip", "192.0.2.7"),
  );
  expect(first).toMatchObject({
    outcome: "created",
    lease: { key: "10.5.7.0-24", reserved: true, publicIp: "192.0.2.7" },
  });
  const stored = etcd.get("/coreos.com/network/subnets/10.5.7.0-24");
  expect(stored).toMatchObject({ value: '{"PublicIP":"192.0.2.7","PublicIPv6":null}', lease: "0" });
  const again = leaseReserveOutputSchema.parse(
    await json("lease", "reserve", "10.5.7.0/24", "--public-ip", "192.0.2.7"),
  );
  expect(again.outcome).toBe("unchanged");
  expect(etcd.get("/coreos.com/network/subnets/10.5.7.0-24")?.revision).toBe(stored?.revision);
});

test("reserve on the living lease of that host only removes the expiry", async () => {
  const id = await putLease();
  const { outcome } = leaseReserveOutputSchema.parse(
    await json("lease", "reserve", "10.5.34.0/24", "--public-ip", "192.0.2.11"),
  );
  expect(outcome).toBe("kept");
  expect(etcd.get(key)).toMatchObject({ value, lease: "0" });
  etcd.ctl("lease", "revoke", id);
  expect(etcd.get(key)).toMatchObject({ value });
});

test.each([
  ["of another host", ["10.5.34.0/24", "--public-ip", "192.0.2.12"], 1, /belongs to 192\.0\.2\.11 \(vxlan/],
  ["outside of the network", ["10.6.1.0/24", "--public-ip", "192.0.2.12"], 2, /10\.6\.1\.0\/24 cannot be reserved/],
  ["of another length", ["10.5.34.0/25", "--public-ip", "192.0.2.12"], 2, /10\.5\.34\.0\/25 cannot be reserved/],
])("a subnet %s cannot be reserved", async (_name, argv, code, reason) => {
  await putLease();
  const before = etcd.ctl("get", "", "--prefix");
  const { exitCode, stdout, stderr } = await ctl("lease", "reserve", ...argv);
  expect({ exitCode, stdout }).toEqual({ exitCode: code, stdout: "" });
  expect(stderr).toMatch(reason);
  expect(etcd.ctl("get", "", "--prefix")).toBe(before);
});

test("release gives a reservation that a host has taken its 24 h back", async () => {
  etcd.ctl("put", key, value);
  const released = leaseReleaseOutputSchema.parse(await json("lease", "release", "10.5.34.0/24"));
  expect(released).toEqual({ key: "10.5.34.0-24", outcome: "expiring" });
  const { lease } = leaseShowOutputSchema.parse(await json("lease", "show", "10.5.34.0/24"));
  expect(lease.reserved).toBe(false);
  expect(lease.expiresInSeconds).toBeGreaterThan(86_300);
  expect(lease.expiresInSeconds).toBeLessThanOrEqual(86_400);
  expect(etcd.get(key)?.value).toBe(value);
});

test("release deletes a reservation that no host ever took", async () => {
  await json("lease", "reserve", "10.5.7.0/24", "--public-ip", "192.0.2.7");
  const { stdout } = await ctl("lease", "release", "10.5.7.0-24");
  expect(stdout).toBe("10.5.7.0-24 deleted\n");
  expect(etcd.get("/coreos.com/network/subnets/10.5.7.0-24")).toBeUndefined();
});

test("a living lease is released only with --force", async () => {
  await putLease();
  const refused = await ctl("lease", "release", "10.5.34.0/24", "--json");
  expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
  expect(JSON.parse(refused.stderr)).toEqual({
    version: 1,
    error: { code: "LEASE_CONFLICT", message: expect.stringContaining("--force") },
  });
  expect(etcd.get(key)).toMatchObject({ value });
  expect(await json("lease", "release", "10.5.34.0/24", "--force")).toEqual({
    version: 1,
    key: "10.5.34.0-24",
    outcome: "deleted",
  });
  expect(etcd.get(key)).toBeUndefined();
});

test("a dual-stack lease is named by either subnet", async () => {
  const dual = "10.5.34.0-24&fd00::-64";
  etcd.ctl("put", `/coreos.com/network/subnets/${dual}`, value);
  for (const name of ["fd00::/64", "10.5.34.0/24", dual]) {
    expect(leaseShowOutputSchema.parse(await json("lease", "show", name)).lease.key).toBe(dual);
  }
  expect(await json("lease", "release", "fd00::/64")).toEqual({ version: 1, key: dual, outcome: "expiring" });
});

test("values from the store cannot drive the terminal", async () => {
  etcd.ctl("put", key, '{"PublicIP":"192.0.2.11","PublicIPv6":null,"BackendType":"\\u001b[2Jvx"}');
  const { stdout } = await ctl("lease", "list");
  expect(stdout).toContain("\\x1b[2Jvx");
  expect(stdout).not.toContain("\u001b");
});

test("a store that is away is one clear line and exit 1", async () => {
  const { exitCode, stdout, stderr } = await flannelctl(["lease", "list", "--etcd-endpoints", "http://127.0.0.1:1"]);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(stderr).toMatch(/^flannelctl: [^\n]*127\.0\.0\.1:1[^\n]*\n$/);
});

test("contradictory connection flags are wrong use", async () => {
  const { exitCode, stderr } = await ctl("lease", "list", "--etcd-certfile", "/nonexistent.pem");
  expect(exitCode).toBe(2);
  expect(stderr).toContain("key");
});
