// `init` with other addresses, where systemd runs the store: whatever goes wrong, the store is not left stopped.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { dirname } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { TemporaryDirectory } from "../../../../test/support/flannelctl.ts";
import { FlannelError } from "../../../errors.ts";
import { clusterFiles } from "../../../flannel-store/membership/cluster-files.ts";
import { MemberRegistry } from "../../../flannel-store/membership/member-registry.ts";
import { hostPaths } from "../../install/host-paths.ts";
import { withStoreStopped } from "./store-pause.ts";

let directory: TemporaryDirectory;
let controller: AbortController;
let said: string;

beforeEach(() => {
  directory = new TemporaryDirectory();
  controller = new AbortController();
  said = "";
  const log = directory.file("calls");
  writeFileSync(log, "");
  writeFileSync(directory.file("systemctl"), `#!/bin/sh\necho "$*" >> ${log}\n`, { mode: 0o755 });
  vi.stubEnv("PATH", `${directory.path}:${process.env["PATH"]}`);
});
afterEach(() => {
  vi.unstubAllEnvs();
  directory[Symbol.dispose]();
});

const calls = () => readFileSync(directory.file("calls"), "utf8").split("\n").slice(0, -1);

/** `present`: where the unit says that the store listens. */
function init<T>(storeListen: readonly string[], present: readonly string[], work: () => Promise<T>): Promise<T> {
  const paths = hostPaths(directory.path);
  mkdirSync(paths.unitDirectory, { recursive: true });
  const listen = present.map((address) => ` --listen ${address}`).join("");
  writeFileSync(`${paths.unitDirectory}/flannel-store.service`, `[Service]\nExecStart=flannel-store${listen} $FLAGS\n`);
  const terminal = {
    writeErr: (text: string) => {
      said += text;
    },
  };
  const invocation = { options: { json: false }, terminal, signal: controller.signal };
  const plan = { step: "addresses", services: { paths, storeListen } } as const;
  return withStoreStopped(invocation, plan, true, work);
}

async function listening(host = "127.0.0.1"): Promise<Server & { readonly url: string }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const address = server.address();
  const port = address === null || typeof address === "string" ? 0 : address.port;
  return Object.assign(server, { url: `${host}:${port}` });
}

it("a port that is taken is found while the store runs", async () => {
  await using server = await listening();
  const work = vi.fn(async () => undefined);
  await expect(init([server.url], ["127.0.0.1:1"], work)).rejects.toThrow(`${server.url} is in use by another program`);
  expect(calls()).toEqual([]);
  expect(work).not.toHaveBeenCalled();
});

it.each([
  ["127.0.0.1", "127.0.0.1"],
  ["0.0.0.0", "127.0.0.1"],
  ["127.0.0.1", "0.0.0.0"],
  ["0.0.0.0", "[::]"],
])("what the store itself holds on %s is no obstacle to %s", async (present, wanted) => {
  await using server = await listening(present);
  const port = server.url.slice(server.url.lastIndexOf(":"));
  expect(await init([`${wanted}${port}`], [`${present}${port}`], () => Promise.resolve("done"))).toBe("done");
  expect(calls()).toEqual(["stop flannel-store"]);
});

it("what fails afterwards starts it again", async () => {
  const failure = new FlannelError("FILE_FAILED", "disk full");
  await expect(init([], [], () => Promise.reject(failure))).rejects.toBe(failure);
  expect(calls()).toEqual(["stop flannel-store", "start flannel-store"]);
  expect(said).toBe("flannelctl: the store runs again with the previous files\n");
});

it("what had been written then is taken back first, and systemd reads the unit again", async () => {
  const { envFile, unitDirectory } = hostPaths(directory.path);
  const unit = `${unitDirectory}/flannel-store.service`;
  mkdirSync(dirname(envFile), { recursive: true });
  writeFileSync(envFile, "old");
  const failure = new FlannelError("SERVICE_FAILED", "systemctl restart failed");
  const work = async () => {
    writeFileSync(envFile, "new");
    writeFileSync(unit, "new");
    throw failure;
  };
  await expect(init([], ["127.0.0.1:1"], work)).rejects.toBe(failure);
  expect(readFileSync(envFile, "utf8")).toBe("old");
  expect(readFileSync(unit, "utf8")).toContain("--listen 127.0.0.1:1 ");
  expect(calls()).toEqual(["stop flannel-store", "stop flannel-store", "daemon-reload", "start flannel-store"]);
});

it("the addresses are taken back in the list of members; what the store has noted there meanwhile stays", async () => {
  const files = clusterFiles(hostPaths(directory.path).clusterDirectory);
  mkdirSync(files.directory, { recursive: true });
  const registry = MemberRegistry.create(files, {
    addresses: ["192.0.2.1"],
    port: 2379,
    etcdPrefix: "/coreos.com/network",
  });
  const { facts } = registry;
  const work = async () => {
    registry.setFacts({ ...facts, addresses: ["192.0.2.2"] });
    registry.createToken(60_000, Date.now());
    throw new Error("no");
  };
  await expect(init([], [], work)).rejects.toThrow("no");
  const { facts: now, tokens } = MemberRegistry.open(files);
  expect([now, tokens.length]).toEqual([facts, 1]);
  expect(calls()).toEqual(["stop flannel-store", "stop flannel-store", "start flannel-store"]);
});

it("so does an interruption, while it is stopped and afterwards", async () => {
  const work = async () => {
    controller.abort();
    controller.signal.throwIfAborted();
  };
  await expect(init([], [], work)).rejects.toThrow("aborted");
  expect(calls()).toEqual(["stop flannel-store", "start flannel-store"]);
  await expect(init([], [], work)).rejects.toThrow("interrupted");
  expect(calls().at(-1)).toBe("start flannel-store");
  expect(said).toBe("flannelctl: the store runs again with the previous files\n".repeat(2));
});

it("when it cannot be started again it is said, and what failed first is the error", async () => {
  const script = directory.file("systemctl");
  writeFileSync(
    script,
    readFileSync(script, "utf8").concat('[ "$1" = stop ] || { echo "no such unit" >&2; exit 5; }\n'),
  );
  await expect(init([], [], () => Promise.reject(new Error("disk full")))).rejects.toThrow("disk full");
  expect(said).toContain("the store did not restart: systemctl start flannel-store failed: no such unit");
});
