// Stands for Google Cloud: metadata service and Compute Engine API (v1), as its public documents have them. It is not Google Cloud.
import { GceRoutes } from "../../src/cloud/gce/gce-routes.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { HttpStandIn, type StandInAnswer, type StandInRequest } from "./http-stand-in.ts";
import { type CloudFault, type ProviderWorld, RoleKeys } from "./provider-world.ts";

interface Route {
  readonly name: string;
  readonly destRange: string;
  readonly network: string;
  readonly nextHopInstance?: string;
  readonly nextHopGateway?: string;
  readonly isGone?: true;
}

const LINKS = "https://www.googleapis.com/compute/v1/";
const refusals: Record<CloudFault, readonly [status: number, reason: string]> = {
  throttled: [403, "rateLimitExceeded"],
  failing: [503, "backendError"],
  denied: [403, "forbidden"],
  expired: [401, "authError"],
  full: [403, "quotaExceeded"],
};
const permissions: Record<string, string> = {
  "routes.insert": "compute.routes.create",
  "routes.delete": "compute.routes.delete",
  "routes.list": "compute.routes.list",
};

export class GceWorld implements ProviderWorld {
  readonly provider = "Google Cloud";
  readonly hosts = ["projects/blue/zones/lab1-b/instances/me", "projects/blue/zones/lab1-b/instances/other"] as const;
  readonly table = "projects/blue/global/networks/default";
  readonly requests: string[] = [];
  readonly names = { list: "routes.list", create: "routes.insert" };
  fault: ProviderWorld["fault"] = () => undefined;
  canIpForward = true;
  /** Undefined: who asks may not read the project. */
  quota: number | undefined;
  #routes: Route[] = [
    { name: "default-route-1", destRange: "0.0.0.0/0", network: LINKS + this.table, nextHopGateway: "internet" },
  ];
  #shown: readonly Route[] | undefined;
  readonly #operations = new Map<string, number>();
  readonly keys = new RoleKeys();
  usedKey = 0;
  #metadataServer: HttpStandIn | undefined;
  #port = 0;
  #address = "127.0.0.1";
  readonly #resources = new AsyncDisposableStack();
  #api: HttpStandIn | undefined;

  /** `port`: of the metadata service, which begins later. Google's library reads its address from the environment. */
  static async start(port: number, address = "127.0.0.1"): Promise<GceWorld> {
    const world = new GceWorld();
    world.#address = address;
    world.#port = port;
    process.env["GCE_METADATA_HOST"] = `${address}:${port}`;
    world.#api = world.#resources.use(await HttpStandIn.start((request) => world.#answer(request), address));
    return world;
  }

  async startMetadata(): Promise<void> {
    const server = await HttpStandIn.start((request) => this.#metadata(request), this.#address, this.#port);
    this.#metadataServer = this.#resources.use(server);
  }

  async stopMetadata(): Promise<void> {
    await this.#metadataServer?.[Symbol.asyncDispose]();
  }

  environment(): Readonly<Record<string, string>> {
    const GCE_METADATA_HOST = `${this.#address}:${this.#port}`;
    return { GCE_METADATA_HOST, CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE: `${this.#api?.url}/compute/v1` };
  }

  open(): GceRoutes {
    return new GceRoutes({ address: parseAddress("192.168.50.11"), env: this.environment() });
  }

  set isBehind(isBehind: boolean) {
    this.#shown = isBehind ? [...this.#routes] : undefined;
  }

  permissionOf = (request: string): string => permissions[request] ?? request;

  routes(): Readonly<Record<string, string>> {
    return Object.fromEntries(
      this.#routes.flatMap(({ destRange, nextHopInstance }) =>
        nextHopInstance === undefined ? [] : [[destRange, pathOf(nextHopInstance)]],
      ),
    );
  }

  add(destRange: string, host: string, state?: "gone"): void {
    this.delete(destRange);
    const name = `flannel-${destRange.replaceAll(/[./]/g, "-")}`;
    const gone = state === "gone" ? { isGone: true as const } : {};
    this.#routes.push({ name, destRange, network: LINKS + this.table, nextHopInstance: LINKS + host, ...gone });
  }

  delete(destination: string): void {
    this.#routes = this.#routes.filter(({ destRange }) => destRange !== destination);
  }

  secrets(): readonly string[] {
    return [`ya29.token-of-account-${this.keys.number}`];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    delete process.env["GCE_METADATA_HOST"];
    await this.#resources.disposeAsync();
  }

  #metadata({ url, headers }: StandInRequest): StandInAnswer {
    if (headers["metadata-flavor"] !== "Google") return { status: 403, body: "" };
    const [access_token] = this.secrets();
    const values: Record<string, string> = {
      "project/project-id": "blue",
      "instance/name": "me",
      "instance/zone": "projects/1/zones/lab1-b",
      "instance/service-accounts/default/token": JSON.stringify({
        access_token,
        expires_in: Math.floor((this.keys.endsAtMs - Date.now()) / 1_000),
        token_type: "Bearer",
      }),
      "universe/universe-domain": "googleapis.com",
      "universe/universe_domain": "googleapis.com",
      instance: "",
    };
    const value = values[url.pathname.replace("/computeMetadata/v1/", "").replace(/\/$/, "")];
    const more = {
      "metadata-flavor": "Google",
      "content-type": value?.startsWith("{") ? "application/json" : "application/text",
    };
    return value === undefined ? { status: 404, body: "", headers: more } : { status: 200, body: value, headers: more };
  }

  #answer({ method, url, headers, body }: StandInRequest): StandInAnswer {
    const path = url.pathname.replace("/compute/v1/", "");
    const request = requestOf(method, path);
    this.requests.push(request);
    this.usedKey = Number(/^Bearer ya29\.token-of-account-(\d+)$/.exec(headers.authorization ?? "")?.[1]);
    const fault = this.keys.isAccepted(this.usedKey) ? this.fault(request) : "expired";
    if (fault !== undefined) {
      const [status, reason] = refusals[fault];
      return json(status, { error: { code: status, message: `no, says the stand-in`, errors: [{ reason }] } });
    }
    return this.#perform(request, path, url.searchParams, body);
  }

  #perform(request: string, path: string, query: URLSearchParams, body: string): StandInAnswer {
    const last = path.slice(path.lastIndexOf("/") + 1);
    switch (request) {
      case "instances.get": {
        const networkInterfaces = [{ networkIP: "192.168.50.11", network: LINKS + this.table }];
        return json(200, {
          name: "me",
          selfLink: LINKS + this.hosts[0],
          canIpForward: this.canIpForward,
          networkInterfaces,
        });
      }
      case "projects.get":
        if (this.quota === undefined)
          return json(403, { error: { code: 403, message: "no", errors: [{ reason: "forbidden" }] } });
        return json(200, { quotas: [{ metric: "ROUTES", limit: this.quota, usage: this.#routes.length }] });
      case "routes.list":
        return json(200, this.#page(query));
      case "routes.insert": {
        const route = JSON.parse(body) as Route;
        if (this.#routes.some(({ name }) => name === route.name))
          return json(409, { error: { code: 409, message: "exists", errors: [{ reason: "alreadyExists" }] } });
        this.#routes.push(route);
        return this.#operation();
      }
      case "routes.delete":
        if (!this.#routes.some(({ name }) => name === last))
          return json(404, { error: { code: 404, message: "none", errors: [{ reason: "notFound" }] } });
        this.#routes = this.#routes.filter(({ name }) => name !== last);
        return this.#operation();
      case "globalOperations.get": {
        const left = (this.#operations.get(last) ?? 0) - 1;
        this.#operations.set(last, left);
        return json(200, { name: last, status: left > 0 ? "RUNNING" : "DONE" });
      }
      default:
        return json(404, {});
    }
  }

  /** Is done at the second look. */
  #operation(): StandInAnswer {
    const name = `operation-${this.#operations.size + 1}`;
    this.#operations.set(name, 2);
    return json(200, { name, status: "PENDING" });
  }

  /** Smaller pages than asked for, as a provider may have them. */
  #page(query: URLSearchParams): unknown {
    const routes = this.#shown ?? this.#routes;
    const start = Number(query.get("pageToken") ?? 0);
    const end = start + 7;
    const items = routes.slice(start, end).map(({ isGone, ...route }) => ({
      ...route,
      ...(isGone === true && { warnings: [{ code: "NEXT_HOP_INSTANCE_NOT_FOUND" }] }),
    }));
    return { items, ...(end < routes.length && { nextPageToken: String(end) }) };
  }
}

function requestOf(method: string, path: string): string {
  if (/\/instances\/[^/]+$/.test(path)) return "instances.get";
  if (/\/operations\//.test(path)) return "globalOperations.get";
  if (/^projects\/[^/]+$/.test(path)) return "projects.get";
  return { GET: "routes.list", POST: "routes.insert", DELETE: "routes.delete" }[method] ?? method;
}

function pathOf(link: string): string {
  return link.slice(link.indexOf("projects/"));
}

function json(status: number, value: unknown): StandInAnswer {
  return { status, body: JSON.stringify(value), headers: { "content-type": "application/json" } };
}
