// Kubernetes with flannel-store as its own store: a real API server creates, lists in pages, watches, compacts, lets Events
// expire and survives a crash of the store, as on an etcd.
import { afterAll, beforeAll, expect, test } from "vitest";
import { EmbeddedStore } from "../../lab/embedded-store.ts";
import { KubernetesApiError } from "../../lab/kubernetes/api-client.ts";
import { KubernetesApi } from "../../lab/kubernetes/api-server.ts";
import { until } from "../../lab/wait.ts";

let store: EmbeddedStore;
let api: KubernetesApi;

const configMaps = "/api/v1/namespaces/default/configmaps";

interface ConfigMap {
  readonly metadata: { readonly name: string; readonly resourceVersion: string };
  readonly data?: Readonly<Record<string, string>>;
}

interface List {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly ConfigMap[];
}

beforeAll(async () => {
  store = await EmbeddedStore.start("127.0.0.1");
  const args = ["--etcd-compaction-interval=1s", "--event-ttl=1s"];
  api = await KubernetesApi.start({ storeEndpoints: store.endpoints, args });
});

afterAll(async () => {
  await api?.[Symbol.asyncDispose]();
  await store?.[Symbol.asyncDispose]();
});

function create(name: string, data: Readonly<Record<string, string>> = {}): Promise<ConfigMap> {
  return api.client.post(configMaps, { metadata: { name }, data });
}

const list = (query = "") => api.client.get<List>(`${configMaps}?labelSelector=!kubernetes.io${query}`);

const statusOf = (error: unknown) => (error instanceof KubernetesApiError ? error.statusCode : error);

test("objects are created once, listed in pages of one state, and changed by who knows their version", async () => {
  const names = Array.from({ length: 25 }, (_, number) => `page-${String(number).padStart(2, "0")}`);
  await Promise.all(names.map((name) => create(name)));
  expect(await create("page-00").catch(statusOf)).toBe(409);
  const first = await list("&limit=10");
  await api.client.delete(`${configMaps}/page-24`);
  const found = [...first.items];
  for (let next = first.metadata.continue; next !== undefined; ) {
    const page = await list(`&limit=10&continue=${encodeURIComponent(next)}`);
    expect(page.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
    found.push(...page.items);
    next = page.metadata.continue;
  }
  const listed = found.map(({ metadata }) => metadata.name).filter((name) => name.startsWith("page-"));
  expect(listed, "page-24 was there when the list began").toEqual(names);
  const counter = await create("counter", { value: "0" });
  const changed = { ...counter, data: { value: "1" } };
  await api.client.put(`${configMaps}/counter`, changed);
  expect(await api.client.put(`${configMaps}/counter`, changed).catch(statusOf)).toBe(409);
});

test("of twenty writers at once none overwrites another", async () => {
  await create("shared", { value: "0" });
  const increment = async (): Promise<void> => {
    const now = await api.client.get<ConfigMap>(`${configMaps}/shared`);
    const data = { value: String(Number(now.data?.["value"]) + 1) };
    await api.client.put(`${configMaps}/shared`, { ...now, data }).catch((error: unknown) => {
      if (statusOf(error) !== 409) throw error;
      return increment();
    });
  };
  await Promise.all(Array.from({ length: 20 }, increment));
  expect((await api.client.get<ConfigMap>(`${configMaps}/shared`)).data).toEqual({ value: "20" });
});

test("a watch from a version tells each change after it, in order", async () => {
  const { metadata } = await list();
  await create("watched");
  await api.client.patch(`${configMaps}/watched`, { data: { step: "1" } });
  await api.client.delete(`${configMaps}/watched`);
  const query = `watch=1&timeoutSeconds=2&resourceVersion=${metadata.resourceVersion}`;
  const lines = (await api.client.text("GET", `${configMaps}?${query}`)).trim().split("\n");
  const events = lines.map((line) => JSON.parse(line) as { type: string; object: ConfigMap });
  const seen = events.filter(({ object }) => object.metadata.name === "watched");
  expect(seen.map(({ type }) => type)).toEqual(["ADDED", "MODIFIED", "DELETED"]);
});

test("history that the API server compacts is gone, the present is not", async () => {
  const old = (await list()).metadata.resourceVersion;
  await create("after");
  const exact = () => list(`&resourceVersion=${old}&resourceVersionMatch=Exact`).then(() => 200, statusOf);
  await until(async () => (await exact()) === 410, { what: "the old version to be refused" });
  expect((await list()).items.map(({ metadata }) => metadata.name)).toContain("after");
});

test("Events expire with their lease", async () => {
  const events = "/api/v1/namespaces/default/events";
  const involvedObject = { kind: "Namespace", name: "default", namespace: "default" };
  await api.client.post(events, { metadata: { name: "brief" }, involvedObject, reason: "Test", type: "Normal" });
  const isGone = () =>
    api.client.get(`${events}/brief`).then(
      () => false,
      (error: unknown) => statusOf(error) === 404,
    );
  await until(isGone, { what: "the Event to expire" });
});

test("what was acknowledged before the store was killed is there afterwards, and the API server goes on", async () => {
  const names = Array.from({ length: 50 }, (_, number) => `kept-${number}`);
  const acknowledged: string[] = [];
  const writing = Promise.allSettled(
    names.map(async (name) => {
      await create(name);
      acknowledged.push(name);
    }),
  );
  await until(() => acknowledged.length >= 10, { what: "some writes" });
  await store.restart();
  await writing;
  await until(async () => (await api.client.text("GET", "/readyz")) === "ok", { what: "the API server to be ready" });
  const found = new Set((await list()).items.map(({ metadata }) => metadata.name));
  expect(acknowledged.filter((name) => !found.has(name))).toEqual([]);
  await create("new");
});
