// Whether another program keeps writing our annotations: reported as long as it goes on, forgotten after a quiet time.
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { recordingLogger } from "../../../test/support/host-fixture.ts";
import { parseConfig } from "../../backend/registry.ts";
import { annotationNames } from "../../config/annotation-prefix.ts";
import { parseAddress } from "../../ip/address.ts";
import { anonymous } from "../../kube-api/api-access.ts";
import { ApiClient } from "../../kube-api/api-client.ts";
import { NodeApi } from "./node-api.ts";
import type { NodeRecord } from "./node-record.ts";
import { OwnNode } from "./own-node.ts";

const names = annotationNames("flannel.alpha.coreos.com");
const access = {
  ...{ servers: [new URL("http://127.0.0.1:1")], isInsecure: false, credentials: anonymous, headers: {}, warnings: [] },
  description: "none",
};
const { config } = parseConfig('{"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw"}}');
const attributes = { publicIp: parseAddress("192.0.2.1"), backendType: "host-gw" };
const SECOND_MS = 1_000;

/** The Node as the API server has it; all writes are reported at once. */
class OneNode extends NodeApi {
  record: NodeRecord = {
    ...{ name: "n1", uid: "u", resourceVersion: "1", createdAtMs: 1, podCidrs: ["10.244.1.0/24"], annotations: {} },
  };
  ownWrites = 0;

  override get(): Promise<NodeRecord> {
    return Promise.resolve(this.record);
  }

  override patchAnnotations(_name: string, patch: Readonly<Record<string, string | null>>): Promise<NodeRecord> {
    this.ownWrites++;
    return Promise.resolve(this.write(patch));
  }

  write(patch: Readonly<Record<string, string | null>>): NodeRecord {
    const annotations = Object.fromEntries(
      Object.entries({ ...this.record.annotations, ...patch }).filter(([, value]) => value !== null),
    ) as Record<string, string>;
    const resourceVersion = String(Number(this.record.resourceVersion) + 1);
    this.record = { ...this.record, annotations, resourceVersion };
    return this.record;
  }
}

let api: OneNode;
let node: OwnNode;

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
  api = new OneNode(new ApiClient(access, {}, "test"), names);
  node = new OwnNode(api, { nodeName: "n1" }, recordingLogger().logger);
  await node.acquire({ config, attributes }, new AbortController().signal);
});

afterEach(() => {
  node[Symbol.dispose]();
  vi.useRealTimers();
});

function vandal(): void {
  node.follow(api.write({ [names.publicIp]: "198.51.100.9" }), api.record.resourceVersion);
}

/** For so long: what we write is reported, and overwritten at once if `isAtWar`. Gives whether a problem was reported, by second. */
async function live(seconds: number, isAtWar: boolean): Promise<boolean[]> {
  const told: boolean[] = [];
  for (let second = 0; second < seconds; second++) {
    const before = api.ownWrites;
    await vi.advanceTimersByTimeAsync(SECOND_MS);
    if (api.ownWrites > before) {
      node.follow(api.record, api.record.resourceVersion);
      if (isAtWar) vandal();
    }
    told.push(node.problem() !== undefined);
  }
  return told;
}

it("tells a conflict as long as it lasts, however seldom our annotations are restored", async () => {
  vandal();
  const told = await live(4 * 3_600, true);
  const first = told.indexOf(true);
  expect(first).toBeGreaterThan(0);
  expect(first).toBeLessThan(120);
  expect(told.slice(first)).not.toContain(false);
});

it("forgets it when the annotations have stood for ten minutes, and not before", async () => {
  vandal();
  expect(await live(600, true)).toContain(true);
  const peace = await live(1_000, false);
  const end = peace.lastIndexOf(true);
  expect(end).toBeGreaterThanOrEqual(599);
  expect(peace.slice(end + 1)).not.toContain(true);
  expect(node.follow(api.record, api.record.resourceVersion)).toBe(true);
});

it("once and again is no conflict", async () => {
  for (let time = 0; time < 5; time++) {
    vandal();
    expect(await live(1_200, false)).not.toContain(true);
  }
});
