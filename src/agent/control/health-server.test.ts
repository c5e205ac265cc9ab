import { describe, expect, it } from "vitest";
import { freePort } from "../../../test/support/free-port.ts";
import { HealthServer, type HealthState } from "./health-server.ts";

const noLease = { name: "no-lease", state: "notReady", message: "no lease yet" } as const;
const ready: HealthState = { state: "ready", reasons: [] };

describe("HealthServer", () => {
  it("answers as upstream does and follows readiness both ways", async () => {
    const port = await freePort();
    let now: HealthState = { state: "notReady", reasons: [noLease] };
    await using _server = await HealthServer.open({ ip: "127.0.0.1", port, state: () => now });
    const get = async (path: string) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`);
      return [response.status, await response.text()];
    };
    expect(await get("/healthz")).toEqual([200, "flanneld is running"]);
    expect(await get("/readyz")).toEqual([503, "flanneld is not ready yet"]);
    expect(await get("/readyz?verbose")).toEqual([
      503,
      `{"ready":false,"state":"notReady","reasons":[${JSON.stringify(noLease)}]}\n`,
    ]);
    now = { state: "degraded", reasons: [{ name: "peer-failed", state: "degraded", message: "one" }] };
    expect(await get("/readyz")).toEqual([200, "flanneld is ready"]);
    expect((await get("/readyz?verbose"))[1]).toContain(
      '"ready":true,"state":"degraded","reasons":[{"name":"peer-failed"',
    );
    now = { state: "notReady", reasons: [noLease] };
    expect((await get("/readyz"))[0]).toBe(503);
    expect((await get("/healthz"))[0]).toBe(200);
    expect((await get("/metrics"))[0]).toBe(404);
  });

  it("says what to do when the port is taken", async () => {
    const port = await freePort();
    await using _first = await HealthServer.open({ ip: "127.0.0.1", port, state: () => ready });
    await expect(HealthServer.open({ ip: "127.0.0.1", port, state: () => ready })).rejects.toThrow("--healthz-port");
  });
});
