// The list of members as a file: what survives, what is refused, what is forgotten. How it decides is tested against the
// real store (test/embedded/cluster-*.test.ts).
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { FlannelError, hasCode } from "../../errors.ts";
import { clusterFiles } from "./cluster-files.ts";
import { parseMemberFile } from "./member-file.ts";
import { MemberRegistry } from "./member-registry.ts";

let directory: string;
const facts = { etcdPrefix: "/coreos.com/network", addresses: ["10.0.0.1"], port: 2379 };
const day = 86_400_000;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "flannel-members-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const files = () => clusterFiles(directory);
const issued = (serialNumber: string, endsAtMs = 400 * day) => ({ pem: "", serialNumber, endsAtMs });

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return error instanceof FlannelError ? error.code : String(error);
  }
  return "";
}

describe("MemberRegistry", () => {
  it("is read back as it was written, mode 0600, without leftovers", () => {
    const registry = MemberRegistry.create(files(), facts);
    const { id, secret } = registry.createToken(day, 1_000);
    registry.join({ tokenId: id, secret, hostName: "h1", keyPin: "k1", address: "10.0.0.2" }, 2_000, () =>
      issued("S1"),
    );
    registry.revokeToken(id, 3_000);
    const again = MemberRegistry.open(files());
    expect(again.facts).toEqual(facts);
    expect(again.hosts).toEqual(registry.hosts);
    expect(again.tokens).toEqual(registry.tokens);
    expect(again.findBySerial("S1", "k1")?.name).toBe("h1");
    expect(again.findBySerial("S1", "k2")).toBeUndefined();
    expect(readdirSync(directory)).toEqual(["members.json"]);
    expect(statSync(files().members).mode & 0o777).toBe(0o600);
    expect(readFileSync(files().members, "utf8")).not.toContain(secret);
  });

  it("keeps what was before when it cannot be written", () => {
    const registry = MemberRegistry.create(files(), facts);
    const { id, secret } = registry.createToken(day, 0);
    rmSync(directory, { recursive: true });
    const attempt = { tokenId: id, secret, hostName: "h1", keyPin: "k1" };
    expect(codeOf(() => registry.join(attempt, 0, () => issued("S1")))).toBe("FILE_FAILED");
    expect(registry.hosts).toEqual([]);
    expect(registry.findBySerial("S1", "k1")).toBeUndefined();
    directory = mkdtempSync(join(tmpdir(), "flannel-members-"));
  });

  it("changes nothing when no certificate can be made", () => {
    const registry = MemberRegistry.create(files(), facts);
    const { id, secret } = registry.createToken(day, 0);
    const attempt = { tokenId: id, secret, hostName: "h1", keyPin: "k1" };
    const broken = () => {
      throw new FlannelError("CONFIG_INVALID", "no");
    };
    expect(codeOf(() => registry.join(attempt, 0, broken))).toBe("CONFIG_INVALID");
    expect(registry.tokens[0]?.usedBy).toBeUndefined();
    registry.join({ ...attempt, hostName: "h2", keyPin: "k2" }, 0, () => issued("S2"));
    expect(registry.hosts.map(({ name }) => name)).toEqual(["h2"]);
  });

  it("lets a host have a few certificates and remember a few addresses", () => {
    const registry = MemberRegistry.create(files(), facts);
    registry.admit({ hostName: "h1", keyPin: "k1" }, 0, issued("S0"));
    for (let count = 1; count <= 10; count++) {
      const [host] = registry.hosts;
      if (host === undefined) throw new Error("no host");
      registry.addCertificate(host, issued(`S${count}`), "S0");
      registry.noteAddress(registry.hosts[0] ?? host, `10.0.0.${count}`);
    }
    expect(registry.hosts[0]?.certificates.map(({ serialNumber }) => serialNumber)).toEqual(["S10", "S9", "S8", "S0"]);
    // The first stays, however many come after it.
    const last = ["10.0.0.10", "10.0.0.9", "10.0.0.8", "10.0.0.7", "10.0.0.6", "10.0.0.5", "10.0.0.4"];
    expect(registry.hosts[0]?.addresses).toEqual([...last, "10.0.0.1"]);
    expect(registry.findBySerial("S7", "k1")).toBeUndefined();
    // The one it calls with stays good, since it may not be able to write any other.
    expect(registry.findBySerial("S0", "k1")?.name).toBe("h1");
  });

  it("keeps a removed host as leaving until it is forgotten or the same key comes back", () => {
    const registry = MemberRegistry.create(files(), facts);
    const names = () => MemberRegistry.open(files()).leaving.map(({ name, keyPin }) => `${name} ${keyPin}`);
    for (const name of ["a", "b"]) registry.admit({ hostName: name, keyPin: `${name}1` }, 0, issued(`S${name}`));
    registry.remove("a");
    expect(codeOf(() => registry.remove("a"))).toBe("");
    expect(codeOf(() => registry.remove("c"))).toBe("CLUSTER_NOT_FOUND");
    // Another host of its name, which is removed, too.
    registry.admit({ hostName: "a", keyPin: "a2" }, 0, issued("S2"));
    expect(registry.remove("a").map(({ keyPin }) => keyPin)).toEqual(["a1", "a2"]);
    registry.remove("b");
    expect(names()).toEqual(["a a1", "a a2", "b b1"]);
    registry.admit({ hostName: "b", keyPin: "b1" }, 0, issued("S3"));
    expect(names()).toEqual(["a a1", "a a2"]);
    for (const host of registry.leaving) registry.forget(host);
    expect(codeOf(() => registry.remove("a"))).toBe("CLUSTER_NOT_FOUND");
    // As versions write it that know nothing of it.
    expect(readFileSync(files().members, "utf8")).not.toContain("leaving");
  });

  it("gives no certificate to a host that was removed meanwhile, nor to its namesake", () => {
    const registry = MemberRegistry.create(files(), facts);
    registry.admit({ hostName: "h1", keyPin: "k1" }, 0, issued("S1"));
    const [removed] = registry.remove("h1");
    if (removed === undefined) throw new Error("no host");
    expect(codeOf(() => registry.addCertificate(removed, issued("S2"), "S1"))).toBe("CLUSTER_NOT_FOUND");
    registry.admit({ hostName: "h1", keyPin: "k2" }, 0, issued("S3"));
    expect(codeOf(() => registry.addCertificate(removed, issued("S2"), "S1"))).toBe("CLUSTER_NOT_FOUND");
    expect(registry.findBySerial("S2", "k1")).toBeUndefined();
  });

  it("forgets tokens a week after they have ended, sooner when there are a thousand, and none that can be used", () => {
    const token = { secretHash: "A".repeat(43), createdAtMs: 0, expiresAtMs: day };
    const tokens = Array.from({ length: 1_000 }, (_, index) => ({ id: `token${100 + index}`, ...token }));
    writeFileSync(files().members, JSON.stringify({ format: "flannel-cluster/1", facts, hosts: [], tokens }));
    const registry = MemberRegistry.open(files());
    expect(codeOf(() => registry.createToken(day, 0))).toBe("CONFIG_INVALID");
    registry.revokeToken("token200", 0);
    registry.createToken(day, 0);
    expect([registry.tokens.length, registry.tokens.some(({ id }) => id === "token200")]).toEqual([1_000, false]);
    expect(codeOf(() => registry.createToken(day, 0))).toBe("CONFIG_INVALID");
    registry.createToken(day, 7 * day);
    expect([registry.tokens.length, registry.tokens[0]?.id]).toEqual([1_000, "token101"]);
    registry.createToken(day, 8 * day);
    expect(registry.tokens).toHaveLength(2);
  });

  it.each([0, 999, 1_000.5, -1, 30 * day + 1, Number.NaN, Number.POSITIVE_INFINITY])(
    "makes no token for %d ms",
    (life) => {
      const registry = MemberRegistry.create(files(), facts);
      expect(codeOf(() => registry.createToken(life, 0))).toBe("CONFIG_INVALID");
    },
  );

  it.each(["", "{}", "null", '{"format":"flannel-cluster/2"}', "\0"])("is not opened on %j", (text) => {
    writeFileSync(files().members, text);
    expect(codeOf(() => MemberRegistry.open(files()))).toBe("CONFIG_INVALID");
  });

  it("says when it is not there", () => {
    expect(() => MemberRegistry.open(files())).toThrow(`there is no ${files().members}`);
  });
});

it("parseMemberFile gives a list or one error, for random texts", () => {
  const registry = MemberRegistry.create(files(), facts);
  const { id, secret } = registry.createToken(day, 0);
  registry.join({ tokenId: id, secret, hostName: "h1", keyPin: "k1", address: "10.0.0.2" }, 0, () => issued("S1"));
  const good = readFileSync(files().members, "utf8");
  const edit = fc.tuple(fc.nat(good.length), fc.nat(3), fc.string({ maxLength: 3 }));
  const text = fc
    .array(edit, { minLength: 1, maxLength: 3 })
    .map((edits) =>
      edits.reduce((current, [at, length, piece]) => current.slice(0, at) + piece + current.slice(at + length), good),
    );
  const check = (input: string) => {
    try {
      const { hosts, tokens } = parseMemberFile(input, "members.json");
      if (!Array.isArray(hosts) || !Array.isArray(tokens)) throw new Error("no lists");
    } catch (error) {
      if (!hasCode(error, "CONFIG_INVALID")) throw error;
    }
  };
  fc.assert(fc.property(fc.oneof(text, text, fc.json(), fc.string()), check), propertyRuns(100_000));
});
