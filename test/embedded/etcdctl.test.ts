// Debian's etcdctl, the Go client, as a person uses it on the embedded store.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EmbeddedServer } from "./embedded-server.ts";

let server: EmbeddedServer;

beforeAll(async () => {
  server = await EmbeddedServer.start();
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** `etcdctl` with `input` on stdin. */
async function controlWith(input: string, ...commandLine: readonly string[]): Promise<string> {
  const child = spawn("etcdctl", ["--endpoints", server.endpoints, ...commandLine], {
    env: { ...process.env, ETCDCTL_API: "3" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stdin.end(input);
  await once(child, "close");
  return output;
}

test("put, get, del", async () => {
  await server.control("put", "a/1", "one");
  await server.control("put", "a/2", "two");
  expect(await server.control("put", "a/1", "uno", "--prev-kv")).toBe("OK\na/1\none\n");
  expect(await server.control("get", "--prefix", "a/")).toBe("a/1\nuno\na/2\ntwo\n");
  expect(await server.control("get", "--prefix", "a/", "--order=DESCEND", "--sort-by=KEY", "--keys-only")).toBe(
    "a/2\n\na/1\n\n",
  );
  expect(await server.control("get", "a/1", "--rev=2")).toBe("a/1\none\n");
  expect(await server.control("del", "--prefix", "a/")).toBe("2\n");
});

test("txn", async () => {
  await server.control("put", "t", "1");
  const answer = await controlWith('value("t") = "1"\n\nput t 2\nget t\n\nput t 3\n\n', "txn");
  expect(answer).toBe("SUCCESS\n\nOK\n\nt\n2\n");
});

test("lease grant, timetolive, keep-alive, list, revoke", async () => {
  const id = /lease ([0-9a-f]+) granted with TTL\(60s\)/.exec(await server.control("lease", "grant", "60"))?.[1] ?? "";
  await server.control("put", "leased", "value", `--lease=${id}`);
  expect(await server.control("lease", "timetolive", id, "--keys")).toMatch(
    new RegExp(`lease ${id} granted with TTL\\(60s\\), remaining\\(\\d+s\\), attached keys\\(\\[leased\\]\\)`),
  );
  expect(await server.control("lease", "keep-alive", "--once", id)).toBe(`lease ${id} keepalived with TTL(60)\n`);
  expect(await server.control("lease", "list")).toBe(`found 1 leases\n${id}\n`);
  expect(await server.control("lease", "revoke", id)).toBe(`lease ${id} revoked\n`);
  expect(await server.control("get", "leased")).toBe("");
  expect(await server.control("lease", "timetolive", id)).toBe(`lease ${id} already expired\n`);
});

test("watch replays history and goes on", async () => {
  await server.control("put", "w", "1");
  const json = JSON.parse(await server.control("get", "w", "--write-out=json")) as { header: { revision: number } };
  const child = spawn("etcdctl", ["--endpoints", server.endpoints, "watch", "w", `--rev=${json.header.revision}`], {
    env: { ...process.env, ETCDCTL_API: "3" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  const seen = (wanted: string) =>
    new Promise<void>((resolve) => {
      const look = () => (output === wanted ? resolve() : undefined);
      child.stdout.on("data", look);
      look();
    });
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  await seen("PUT\nw\n1\n");
  await server.control("del", "w");
  await seen("PUT\nw\n1\nDELETE\nw\n\n");
  child.kill();
  await once(child, "close");
});

test("compact refuses older reads and watches, with the revision", async () => {
  await server.control("put", "c", "1");
  await server.control("put", "c", "2");
  const json = JSON.parse(await server.control("get", "c", "--write-out=json")) as { header: { revision: number } };
  const { revision } = json.header;
  expect(await server.control("compact", String(revision), "--physical")).toBe(`compacted revision ${revision}\n`);
  await expect(server.control("get", "c", `--rev=${revision - 1}`)).rejects.toThrow("has been compacted");
  await expect(server.control("compact", String(revision))).rejects.toThrow("has been compacted");
  await expect(server.control("compact", String(revision + 1_000))).rejects.toThrow("future revision");
  expect(await server.control("get", "c")).toBe("c\n2\n");
});

test("endpoint status and health, member list, alarm list, defrag", async () => {
  expect(await server.control("endpoint", "status")).toMatch(/^127\.0\.0\.1:\d+, [0-9a-f]+, 3\.4\.23, .*true, false,/);
  expect(await server.control("endpoint", "health")).toBe("");
  expect(await server.control("member", "list")).toMatch(
    /^[0-9a-f]+, started, flannel-store, , http:\/\/127\.0\.0\.1:\d+, false\n$/,
  );
  expect(await server.control("alarm", "list")).toBe("");
  expect(await server.control("defrag")).toContain("Finished defragmenting");
});

test("what is not offered says so", async () => {
  await expect(server.control("role", "list")).rejects.toThrow(
    "flannel-store: RoleList is not offered by the embedded store; use a real etcd for it",
  );
});

test("check perf runs to its end and takes its keys away again", async () => {
  // Whether the machine is fast enough is not asked here: it says PASS or FAIL with what it reached.
  const output = await controlWith("", "check", "perf", "--load=s");
  expect(output).toMatch(/Throughput (is|too low:) \d+ writes\/s/);
  expect(output).not.toMatch(/ERROR|too many errors/);
  expect(await server.control("get", "--prefix", "--keys-only", "/etcdctl-check-perf/")).toBe("");
});

test("lock and elect, which etcdctl builds from leases, transactions and watches", async () => {
  expect(await server.control("lock", "mutex", "echo", "held")).toBe("held\n");
  const child = spawn("etcdctl", ["--endpoints", server.endpoints, "elect", "leader", "me"], {
    env: { ...process.env, ETCDCTL_API: "3" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [text] = (await once(child.stdout, "data")) as [Buffer];
  expect(text.toString()).toMatch(/^leader\/[0-9a-f]+\n/);
  child.kill("SIGINT");
  await once(child, "close");
});
