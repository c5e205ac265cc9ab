import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import { HealthServer } from "./health-server.ts";

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe("HealthServer", () => {
  it("answers as upstream does and follows readiness both ways", async () => {
    const port = await freePort();
    let reasons = ["no lease yet"];
    await using _server = await HealthServer.open({ ip: "127.0.0.1", port, reasons: () => reasons });
    const get = async (path: string) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`);
      return [response.status, await response.text()];
    };
    expect(await get("/healthz")).toEqual([200, "flanneld is running"]);
    expect(await get("/readyz")).toEqual([503, "flanneld is not ready yet"]);
    expect(await get("/readyz?verbose")).toEqual([503, '{"ready":false,"reasons":["no lease yet"]}\n']);
    reasons = [];
    expect(await get("/readyz")).toEqual([200, "flanneld is ready"]);
    reasons = ["lease expired"];
    expect((await get("/readyz"))[0]).toBe(503);
    expect((await get("/metrics"))[0]).toBe(404);
  });

  it("says what to do when the port is taken", async () => {
    const port = await freePort();
    await using _first = await HealthServer.open({ ip: "127.0.0.1", port, reasons: () => [] });
    await expect(HealthServer.open({ ip: "127.0.0.1", port, reasons: () => [] })).rejects.toThrow("--healthz-port");
  });
});
