import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { afterEach, expect, it } from "vitest";
import type { Status } from "./control-protocol.ts";
import { type ControlHandlers, ControlServer } from "./control-server.ts";

const directory = mkdtempSync(join(tmpdir(), "control-"));
const path = join(directory, "flanneld.sock");
const unused = () => Promise.reject(new Error("not part of this test"));
const handlers: ControlHandlers = {
  status: unused,
  plan: unused,
  rules: unused,
  handover: unused,
  rotate: unused,
  metrics: unused,
};

const answered = { state: "ready" } as unknown as Status;

afterEach(() => rmSync(path, { force: true }));

it("listens for the owner alone, in place of a socket left behind, and takes it away", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const dead = createServer().listen(path, resolve);
  await promise;
  {
    await using _server = await ControlServer.open(path, handlers);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  }
  expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
  dead.close();
});

it("leaves what another put in the place of its socket when it ends", async () => {
  const server = await ControlServer.open(path, handlers);
  rmSync(path);
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(path, resolve));
  const { ino } = statSync(path);
  await server[Symbol.asyncDispose]();
  expect(statSync(path, { throwIfNoEntry: false })?.ino).toBe(ino);
  await new Promise((resolve) => other.close(resolve));
});

it("does not replace a file that is not a socket", async () => {
  writeFileSync(path, "precious");
  await expect(ControlServer.open(path, handlers)).rejects.toMatchObject({ code: "FILE_FAILED" });
  expect(readFileSync(path, "utf8")).toBe("precious");
});

/** Status and body of the answer. */
function get(url: string): Promise<[number | undefined, unknown]> {
  const { promise, resolve, reject } = Promise.withResolvers<[number | undefined, unknown]>();
  request({ socketPath: path, path: url, agent: false }, (response) => {
    json(response).then((body) => resolve([response.statusCode, body]), reject);
  })
    .once("error", reject)
    .end();
  return promise;
}

it("tells a flannelctl of another version so in a sentence, which that one shows", async () => {
  await using _server = await ControlServer.open(path, handlers);
  expect(await get("/v1/status")).toEqual([
    404,
    {
      error: {
        code: "AGENT_INCOMPATIBLE",
        message:
          "this flanneld speaks version 2 of the control protocol, not 1: use the flannelctl of the same version",
      },
    },
  ]);
  expect(await get("/v2/unheard-of")).toMatchObject([404, { error: { code: "USAGE" } }]);
});

it("listens anew when its socket was removed, and takes no other's place", async () => {
  await using server = await ControlServer.open(path, { ...handlers, status: () => Promise.resolve(answered) });
  expect(await server.renew()).toBe(false);
  rmSync(path);
  expect(await Promise.all([server.renew(), server.renew()])).toEqual([true, true]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await get("/v2/status")).toEqual([200, answered]);
  expect(await server.renew()).toBe(false);

  rmSync(path);
  writeFileSync(path, "precious");
  await expect(server.renew()).rejects.toMatchObject({ code: "FILE_FAILED" });
  expect(readFileSync(path, "utf8")).toBe("precious");
  rmSync(path);

  const other = createServer();
  await new Promise<void>((resolve) => other.listen(path, resolve));
  await expect(server.renew()).rejects.toMatchObject({ code: "AGENT_RUNNING" });
  await new Promise((resolve) => other.close(resolve));
  expect(await server.renew()).toBe(true);
  expect(await get("/v2/status")).toEqual([200, answered]);
});
