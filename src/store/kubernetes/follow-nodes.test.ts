import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { until } from "../../../lab/wait.ts";
import { type FakeNode, KubeApiServer } from "../../../test/support/kube-api-server.ts";
import { annotationNames } from "../../config/annotation-prefix.ts";
import { anonymous } from "../../kube-api/api-access.ts";
import { ApiClient } from "../../kube-api/api-client.ts";
import { usualWatchTimings } from "../../kube-api/watch-objects.ts";
import { silentLogger } from "../../telemetry/logger.ts";
import { followNodes } from "./follow-nodes.ts";
import { NodeApi } from "./node-api.ts";

const names = annotationNames("flannel.alpha.coreos.com");
const timings = { ...usualWatchTimings, backOffFirstMs: 5, backOffMaxMs: 20 };

/** What is known of Nodes, as `NAME PODCIDR ANNOUNCED`. */
class Following implements AsyncDisposable {
  readonly said: string[] = [];
  readonly #known = new Map<string, string>();
  readonly #stop = new AbortController();
  readonly #client: ApiClient;
  readonly #done: Promise<void>;

  constructor({ url }: KubeApiServer, silenceMs: number = timings.silenceMs) {
    const access = { isInsecure: false, credentials: anonymous, headers: {}, warnings: [], description: url };
    this.#client = new ApiClient({ ...access, servers: [new URL(url)] }, {}, "test");
    const logger = { ...silentLogger, warn: (event: string) => void this.said.push(event) };
    const [api, room] = [new NodeApi(this.#client, names), () => Promise.resolve()];
    const take: Parameters<typeof followNodes>[0]["take"] = (news) => {
      if (news.type === "contact" || news.type === "disconnected") return;
      if (news.type === "list") this.#known.clear();
      for (const { name, podCidrs, annotations } of news.type === "list" ? news.objects : [news.object]) {
        if (news.type === "delete") this.#known.delete(name);
        else this.#known.set(name, [name, ...podCidrs, annotations[names.publicIp] ?? "-"].join(" "));
      }
    };
    this.#done = followNodes(
      { api, ownName: "own", timings: { ...timings, silenceMs }, logger, take, room },
      this.#stop.signal,
    );
  }

  async knows(...nodes: readonly string[]): Promise<void> {
    const isSo = () => JSON.stringify([...this.#known.values()].toSorted()) === JSON.stringify(nodes);
    await until(isSo, { what: nodes.join(", ") });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#done;
    await this.#client[Symbol.asyncDispose]();
  }
}

const selections = ({ requests }: KubeApiServer) =>
  requests.filter(({ query }) => query.has("fieldSelector") || query.has("labelSelector"));

const announced = (podCidr: string, publicIp: string) => (node: FakeNode) => {
  node.spec = { podCIDR: podCidr, podCIDRs: [podCidr] };
  node.metadata.annotations = { [names.managed]: "true", [names.publicIp]: publicIp };
};

const annotate = (publicIp: string) => (node: FakeNode) => {
  node.metadata.annotations = { ...node.metadata.annotations, [names.publicIp]: publicIp };
};

let server: KubeApiServer;
let following: Following;

beforeEach(async () => {
  server = await KubeApiServer.start();
  server.putNode("a", announced("10.244.1.0/24", "192.0.2.1"));
  following = new Following(server);
  await following.knows("a 10.244.1.0/24 192.0.2.1");
  await until(() => server.requests.some(({ query }) => query.get("watch") === "true"), { what: "the watch" });
});

afterEach(async () => {
  await following[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

describe("followNodes", () => {
  it("learns a change of a known Node from its metadata, and asks once for a new one", async () => {
    for (let write = 0; write < 20; write++) server.putNode("a", annotate(`192.0.2.${write}`));
    await following.knows("a 10.244.1.0/24 192.0.2.19");
    expect(selections(server)).toEqual([]);
    server.putNode("b", announced("10.244.2.0/24", "192.0.2.2"));
    await following.knows("a 10.244.1.0/24 192.0.2.19", "b 10.244.2.0/24 192.0.2.2");
    for (let write = 0; write < 20; write++) server.putNode("b", annotate(`192.0.2.${write}`));
    await following.knows("a 10.244.1.0/24 192.0.2.19", "b 10.244.2.0/24 192.0.2.19");
    expect(selections(server)).toHaveLength(1);
  });

  it("asks for many Nodes that join together in few requests, also for those without the label of their host", async () => {
    const numbers = Array.from({ length: 99 }, (_, index) => index + 100);
    for (const number of numbers) {
      server.putNode(`n${number}`, (node) => {
        announced(`10.244.${number}.0/24`, `192.0.2.${number}`)(node);
        if (number === 100) delete node.metadata.labels;
      });
    }
    await following.knows(
      "a 10.244.1.0/24 192.0.2.1",
      ...numbers.map((number) => `n${number} 10.244.${number}.0/24 192.0.2.${number}`),
    );
    expect(selections(server).length).toBeLessThan(8);
  });

  it("a Node that is deleted and made again while it asks has the podCIDR of the new one", async () => {
    const gate = Promise.withResolvers<void>();
    server.selectionGate = gate.promise;
    server.putNode("b", announced("10.244.2.0/24", "192.0.2.2"));
    await until(() => selections(server).length > 0, { what: "the question" });
    server.deleteNode("b");
    server.putNode("b", announced("10.244.3.0/24", "192.0.2.3"));
    server.deleteNode("a");
    gate.resolve();
    await following.knows("b 10.244.3.0/24 192.0.2.3");
    server.deleteNode("b");
    await following.knows();
  });

  it("does not believe an answer that is older than the event", async () => {
    server.laggingCopy = server.copy();
    server.putNode("b", announced("10.244.2.0/24", "192.0.2.2"));
    await until(() => selections(server).length > 1, { what: "another question" });
    await following.knows("a 10.244.1.0/24 192.0.2.1");
    server.laggingCopy = undefined;
    await following.knows("a 10.244.1.0/24 192.0.2.1", "b 10.244.2.0/24 192.0.2.2");
  });

  it("goes on asking while the server is away or overloaded", async () => {
    server.refusals = [{ verb: "list", resource: "nodes", status: 503 }];
    server.putNode("b", announced("10.244.2.0/24", "192.0.2.2"));
    await until(() => selections(server).length > 2, { what: "questions" });
    server.refusals = [];
    await following.knows("a 10.244.1.0/24 192.0.2.1", "b 10.244.2.0/24 192.0.2.2");
    expect(following.said).toEqual([]);
  });

  it("says once that the server answers the watch alone, and when it answers again", async () => {
    await following[Symbol.asyncDispose]();
    following = new Following(server, 200);
    await following.knows("a 10.244.1.0/24 192.0.2.1");
    server.refusals = [{ verb: "select", resource: "nodes", status: 503 }];
    server.putNode("b", announced("10.244.2.0/24", "192.0.2.2"));
    await until(() => following.said.length > 0, { what: "the warning" });
    server.refusals = [];
    await following.knows("a 10.244.1.0/24 192.0.2.1", "b 10.244.2.0/24 192.0.2.2");
    expect(following.said).toEqual(["node.selection-failed"]);
  });

  it("watches whole Nodes where the server refuses to select", async () => {
    server.refusals = [{ verb: "select", resource: "nodes", status: 403 }];
    server.putNode("b", announced("10.244.2.0/24", "192.0.2.2"));
    await following.knows("a 10.244.1.0/24 192.0.2.1", "b 10.244.2.0/24 192.0.2.2");
    server.putNode("c", announced("10.244.3.0/24", "192.0.2.3"));
    await following.knows("a 10.244.1.0/24 192.0.2.1", "b 10.244.2.0/24 192.0.2.2", "c 10.244.3.0/24 192.0.2.3");
    expect(following.said).toEqual(["node.selection-refused"]);
    expect(selections(server)).toHaveLength(1);
  });

  it.each([
    ["sends whole Nodes all the same", "whole" as const],
    ["accepts only plain JSON (406)", "refuse" as const],
  ])("takes whole Nodes from a server that %s", async (_, metadata) => {
    server.metadataWatches = metadata;
    server.cutConnections();
    server.putNode("b", announced("10.244.2.0/24", "192.0.2.2"));
    server.putNode("a", annotate("192.0.2.9"));
    await following.knows("a 10.244.1.0/24 192.0.2.9", "b 10.244.2.0/24 192.0.2.2");
    expect(selections(server)).toEqual([]);
  });
});
