// A stand-in for the Kubernetes API as far as flannel uses it: Nodes with LIST in pages, WATCH with bookmarks and 410,
// strategic merge PATCH of nodes/status, pods, Events. It can refuse verbs and behave badly. What a real API server does
// is shown by the tests on one; this one is for what a real one cannot be made to do at the right moment.

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";

export interface FakeNode {
  metadata: {
    name: string;
    uid: string;
    resourceVersion: string;
    creationTimestamp: string;
    annotations?: Record<string, string>;
    labels?: Record<string, string>;
  };
  spec: { podCIDR?: string; podCIDRs?: string[] };
  status: { conditions?: Record<string, string>[]; images?: string[] };
}

interface WatchEvent {
  readonly version: number;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: FakeNode;
}

interface Refusal {
  /** `select`: lists by field or label. */
  readonly verb: string;
  readonly resource: string;
  readonly status: number;
}

interface NodeRequest {
  readonly verb: string;
  readonly name: string | undefined;
  readonly body: unknown;
  readonly query: URLSearchParams;
  readonly accept: string;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: unknown;
}

/** A request for the Node `a`. */
export const readNodeA = {
  operation: "read it",
  verb: "get",
  resource: "nodes",
  method: "GET",
  path: "/api/v1/nodes/a",
} as const;

export class KubeApiServer implements AsyncDisposable {
  readonly requests: SeenRequest[] = [];
  readonly events: Record<string, unknown>[] = [];
  readonly pods = new Map<string, string>();
  readonly configMaps = new Map<string, Record<string, string>>();
  readonly #nodes = new Map<string, FakeNode>();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #watchers = new Set<(event: WatchEvent) => void>();
  #history: WatchEvent[] = [];
  #version = 100;
  #oldest = 0;
  #uids = 0;
  /** All requests of these are answered so. */
  refusals: readonly Refusal[] = [];
  /** The bearer token that is demanded. */
  token: string | undefined;
  /** Accepts connections and requests, and never answers. */
  isFrozen = false;
  /** Watches end after so many events. */
  cutAfterEvents = Number.POSITIVE_INFINITY;
  /** What is made of a watch for metadata alone, which Kubernetes knows. */
  metadataWatches: "answer" | "whole" | "refuse" = "answer";
  /** Answers to selections (by field or label, not the pages of all Nodes) wait for it. */
  selectionGate: Promise<unknown> = Promise.resolve();
  /** Selections are answered from this copy, as by a server that lags behind. */
  laggingCopy: ReturnType<KubeApiServer["copy"]> | undefined;

  private constructor(server: Server) {
    this.#server = server;
    server.on("request", (request: IncomingMessage, response: ServerResponse) => void this.#handle(request, response));
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => undefined);
    });
  }

  static async start(
    options: {
      readonly host?: string;
      readonly port?: number;
      readonly tls?: { key: string; cert: string; ca?: string };
    } = {},
  ): Promise<KubeApiServer> {
    const { host = "127.0.0.1", port = 0, tls } = options;
    const server = tls === undefined ? createServer() : createTlsServer({ ...tls, requestCert: tls.ca !== undefined });
    const fake = new KubeApiServer(server);
    server.listen(port, host);
    await once(server, "listening");
    return fake;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  node(name: string): FakeNode | undefined {
    return this.#nodes.get(name);
  }

  /** Creates or changes a Node, as others do. */
  putNode(name: string, change: (node: FakeNode) => void = () => undefined): FakeNode {
    const known = this.#nodes.get(name);
    const node: FakeNode = structuredClone(known) ?? {
      metadata: {
        ...{ name, uid: `uid-${++this.#uids}`, resourceVersion: "", creationTimestamp: new Date().toISOString() },
        labels: { "kubernetes.io/hostname": name },
      },
      spec: {},
      status: {},
    };
    change(node);
    const given = known?.spec.podCIDRs ?? [];
    if (given.length > 0 && given.join() !== node.spec.podCIDRs?.join()) {
      throw new Error('node updates may not change podCIDR except from "" to valid');
    }
    this.#store(node, known === undefined ? "ADDED" : "MODIFIED");
    return node;
  }

  deleteNode(name: string): void {
    const node = this.#nodes.get(name);
    if (node === undefined) return;
    this.#nodes.delete(name);
    const object = structuredClone(node);
    object.metadata.resourceVersion = String(++this.#version);
    this.#publish({ version: this.#version, type: "DELETED", object });
  }

  /** What was before now is no longer known: watches from then on are answered with 410. */
  compact(): void {
    this.#history = [];
    this.#oldest = this.#version;
  }

  /** What `putBack` takes. */
  copy(): { readonly nodes: readonly FakeNode[]; readonly version: number } {
    return { nodes: structuredClone([...this.#nodes.values()]), version: this.#version };
  }

  /** As if its etcd had been put back from that copy, and the server had been started again. */
  putBack({ nodes, version }: ReturnType<KubeApiServer["copy"]>): void {
    this.#nodes.clear();
    for (const node of structuredClone(nodes)) this.#nodes.set(node.metadata.name, node);
    this.#version = version;
    this.#history = [];
    this.cutConnections();
  }

  /** Sends something that is only a sign of life. */
  bookmark(): void {
    this.#version++;
    for (const watcher of this.#watchers) {
      watcher({
        version: this.#version,
        type: "BOOKMARK" as never,
        object: { metadata: { resourceVersion: String(this.#version) } } as never,
      });
    }
  }

  /** As if the server had been restarted or the way to it were cut. */
  cutConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutConnections();
    this.#server.close();
    this.cutConnections();
    await Promise.resolve();
  }

  #store(node: FakeNode, type: "ADDED" | "MODIFIED"): void {
    node.metadata.resourceVersion = String(++this.#version);
    this.#nodes.set(node.metadata.name, node);
    this.#publish({ version: this.#version, type, object: structuredClone(node) });
  }

  #publish(event: WatchEvent): void {
    this.#history.push(event);
    for (const watcher of this.#watchers) watcher(event);
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://fake");
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const { method = "GET", headers } = request;
    const body: unknown = text === "" ? undefined : JSON.parse(text);
    this.requests.push({ method, path: url.pathname, query: url.searchParams, headers, body });
    if (this.isFrozen) return;
    if (this.token !== undefined && headers.authorization !== `Bearer ${this.token}`) {
      fail(response, 401, "Unauthorized");
      return;
    }
    const [, resource = "", name, sub] =
      /^\/api\/v1\/(?:namespaces\/[^/]+\/)?([^/]+)(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(url.pathname) ?? [];
    const verb = verbOf(method, name, url.searchParams);
    const isSelecting = isSelection(verb, url.searchParams);
    const full = sub === undefined ? resource : `${resource}/${sub}`;
    const refusal = this.refusals.find(
      (one) => (one.verb === verb || (one.verb === "select" && isSelecting)) && one.resource === full,
    );
    if (refusal !== undefined) {
      const message = `${full} is forbidden: User "system:serviceaccount:kube-flannel:flannel" cannot ${verb} resource "${full}"`;
      fail(response, refusal.status, message);
      return;
    }
    if (isSelecting) await this.selectionGate;
    const { accept = "" } = headers;
    if (resource === "nodes") this.#answerNodes({ verb, name, body, query: url.searchParams, accept }, response);
    else if (resource === "pods") this.#answerPod(url.pathname, response);
    else if (resource === "configmaps") this.#answerConfigMap(url.pathname, response);
    else if (resource === "events") {
      this.events.push(body as Record<string, unknown>);
      answer(response, body);
    } else fail(response, 404, "the server could not find the requested resource");
  }

  #answerNodes({ verb, name, body, query, accept }: NodeRequest, response: ServerResponse): void {
    if (verb === "list") {
      this.#list(query, response);
      return;
    }
    if (verb === "watch") {
      const isForMetadata = accept.includes("as=PartialObjectMetadata");
      if (isForMetadata && this.metadataWatches === "refuse") fail(response, 406, "only JSON is to be had");
      else this.#watch(query, response, isForMetadata && this.metadataWatches === "answer");
      return;
    }
    const node = this.#nodes.get(name ?? "");
    if (node === undefined) {
      fail(response, 404, `nodes "${name}" not found`);
      return;
    }
    if (verb === "patch") {
      const changed = structuredClone(node);
      mergePatch(changed, body as FakePatch);
      if (JSON.stringify(changed) !== JSON.stringify(node)) this.#store(changed, "MODIFIED");
      answer(response, this.#nodes.get(name ?? ""));
      return;
    }
    answer(response, node);
  }

  #list(query: URLSearchParams, response: ServerResponse): void {
    const { nodes, version: present } = (isSelection("list", query) && this.laggingCopy) || {
      nodes: [...this.#nodes.values()],
      version: this.#version,
    };
    const all = nodes.filter((node) => isSelected(node, query));
    const [start = 0, version = present] = (query.get("continue") ?? "").split("@").filter(Boolean).map(Number);
    if (query.get("continue") !== null && version < this.#oldest) {
      fail(response, 410, "The provided continue parameter is too old");
      return;
    }
    const end = start + Number(query.get("limit") ?? all.length);
    const metadata = { resourceVersion: String(version), ...(end < all.length && { continue: `${end}@${version}` }) };
    answer(response, { kind: "NodeList", metadata, items: all.slice(start, end) });
  }

  #watch(query: URLSearchParams, response: ServerResponse, isMetadataAlone: boolean): void {
    const from = Number(query.get("resourceVersion"));
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    if (from < this.#oldest) {
      const object = {
        kind: "Status",
        status: "Failure",
        reason: "Expired",
        code: 410,
        message: "too old resource version",
      };
      response.end(`${JSON.stringify({ type: "ERROR", object })}\n`);
      return;
    }
    let sent = 0;
    const send = ({ type, object }: WatchEvent) => {
      if (!isSelected(object, query)) return;
      const isLast = ++sent >= this.cutAfterEvents;
      const { metadata } = object;
      const sketch = { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata };
      response.write(`${JSON.stringify({ type, object: isMetadataAlone ? sketch : object })}\n`, () => {
        if (isLast) response.destroy();
      });
    };
    for (const event of this.#history) if (event.version > from) send(event);
    this.#watchers.add(send);
    response.on("close", () => this.#watchers.delete(send));
  }

  #answerPod(path: string, response: ServerResponse): void {
    const [, namespace, name] = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)$/.exec(path) ?? [];
    const nodeName = this.pods.get(`${namespace}/${name}`);
    if (nodeName === undefined) fail(response, 404, `pods "${name}" not found`);
    else answer(response, { kind: "Pod", metadata: { name, namespace }, spec: { nodeName } });
  }

  #answerConfigMap(path: string, response: ServerResponse): void {
    const [, namespace, name] = /^\/api\/v1\/namespaces\/([^/]+)\/configmaps\/([^/]+)$/.exec(path) ?? [];
    const data = this.configMaps.get(`${namespace}/${name}`);
    if (data === undefined) fail(response, 404, `configmaps "${name}" not found`);
    else answer(response, { kind: "ConfigMap", metadata: { name, namespace, resourceVersion: "7" }, data });
  }
}

interface FakePatch {
  readonly metadata?: { readonly annotations?: Record<string, string | null> };
  readonly status?: { readonly conditions?: readonly Record<string, string>[] };
}

function mergePatch(node: FakeNode, patch: FakePatch): void {
  for (const [name, value] of Object.entries(patch.metadata?.annotations ?? {})) {
    node.metadata.annotations ??= {};
    if (value === null) delete node.metadata.annotations[name];
    else node.metadata.annotations[name] = value;
  }
  for (const { $patch, ...condition } of patch.status?.conditions ?? []) {
    const others = (node.status.conditions ?? []).filter(({ type }) => type !== condition["type"]);
    const known = (node.status.conditions ?? []).find(({ type }) => type === condition["type"]);
    node.status.conditions = $patch === "delete" ? others : [...others, { ...known, ...condition }];
  }
}

/** Of one Node by its name, or of several by their hosts' names. */
function isSelected({ metadata: { name, labels = {} } }: FakeNode, query: URLSearchParams): boolean {
  const field = query.get("fieldSelector");
  if (field !== null && field !== `metadata.name=${name}`) return false;
  const label = query.get("labelSelector");
  if (label === null) return true;
  const [, key = "", values = ""] = /^(\S+) in \((.*)\)$/.exec(label) ?? [];
  return values.split(",").includes(labels[key] ?? "");
}

function isSelection(verb: string, query: URLSearchParams): boolean {
  return verb === "list" && !query.has("limit");
}

function verbOf(method: string, name: string | undefined, query: URLSearchParams): string {
  if (method === "PATCH") return "patch";
  if (method === "POST") return "create";
  if (query.get("watch") === "true") return "watch";
  return name === undefined ? "list" : "get";
}

function answer(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

function fail(response: ServerResponse, code: number, message: string): void {
  response.writeHead(code, { "content-type": "application/json" });
  response.end(JSON.stringify({ kind: "Status", status: "Failure", code, message }));
}
