import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { freePort } from "../../../test/support/free-port.ts";
import { MetricsServer } from "./metrics-server.ts";

async function serve(read: () => Promise<string>) {
  const port = await freePort();
  const server = await MetricsServer.open({
    host: "127.0.0.1",
    port,
    read: async () => ({ contentType: "text/plain; version=0.0.4; charset=utf-8", text: await read() }),
  });
  return { server, port, url: `http://127.0.0.1:${port}` };
}

describe("MetricsServer", () => {
  it("answers GET and HEAD of /metrics, and nothing else", async () => {
    const { server, url } = await serve(() => Promise.resolve("flannel_ready 1\n"));
    await using _ = server;
    const response = await fetch(`${url}/metrics?a=b`);
    expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(await response.text()).toBe("flannel_ready 1\n");
    const head = await fetch(`${url}/metrics`, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, "16"]);
    expect((await fetch(`${url}/`)).status).toBe(404);
    const post = await fetch(`${url}/metrics`, { method: "POST", body: "x" });
    expect([post.status, post.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });

  it("reads the metrics once for many clients at a time, and again after a failure", async () => {
    let reads = 0;
    const { server, url } = await serve(async () => {
      reads++;
      if (reads === 1) throw new Error("secret path");
      await new Promise((resolve) => setTimeout(resolve, 50));
      return `read ${reads}`;
    });
    await using _ = server;
    const failed = await fetch(`${url}/metrics`);
    expect(failed.status).toBe(500);
    expect(await failed.text()).not.toContain("secret");
    await new Promise((resolve) => setTimeout(resolve, 100));
    const answers = await Promise.all(Array.from({ length: 40 }, async () => (await fetch(`${url}/metrics`)).text()));
    expect(new Set(answers)).toEqual(new Set(["read 2"]));
    expect(reads).toBe(2);
  });

  it("serves a newcomer beside clients that send nothing", async () => {
    const { server, port, url } = await serve(() => Promise.resolve("ok"));
    await using _ = server;
    const idle = Array.from({ length: 200 }, () => connect(port, "127.0.0.1").on("error", () => undefined));
    expect(await (await fetch(`${url}/metrics`)).text()).toBe("ok");
    for (const socket of idle) socket.destroy();
  });
});
