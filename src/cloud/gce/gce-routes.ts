// The routes of a VPC network of Google Cloud, by the Compute Engine API with the credentials of Google's own library. Loaded
// only where the backend gce is chosen.
import { setTimeout as delay } from "node:timers/promises";
import { FlannelError, hasCode, isCancelled } from "../../errors.ts";
import { closeAgents, exchange, type HttpAgents, type HttpAnswer, proxyAgents } from "../../http/exchange.ts";
import { type Address, tryParsePrefix } from "../../ip/address.ts";
import { networkOf } from "../../ip/prefix.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";
import { listIn, memberOf, textIn } from "../../json/untyped-fields.ts";
import type { CloudFacts, CloudRoute, CloudRoutes, CloudTable, WantedRoute } from "../cloud-routes.ts";
import { namedEndpoint } from "../endpoint.ts";
import { RenewedKey } from "../renewed-key.ts";
import { gceCredentialsError, readGceToken } from "./gce-credentials.ts";
import { type GceRequest, gceError, gceOperationError } from "./gce-errors.ts";
import { type GceInstance, lastPart, readGceInstance } from "./gce-metadata.ts";

export interface GceRoutesOptions {
  /** Of the external interface: says in which network the route belongs. */
  readonly address: Address;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** As upstream's: other routes win with a smaller number. */
const PRIORITY = 1000;
const OPERATION_POLL_MS = 1_000;
const OPERATION_POLLS = 100;
const PAGE = 500;
/** Far more routes than a network can have. */
const MAX_PAGES = 200;
const gone = /^NEXT_HOP_(INSTANCE_NOT_FOUND|NOT_RUNNING|ADDRESS_NOT_ASSIGNED)$/;

export class GceRoutes implements CloudRoutes {
  readonly #options: GceRoutesOptions;
  readonly #agents: HttpAgents;
  #instance: GceInstance | undefined;
  readonly #token = new RenewedKey(() => readGceToken(this.#instance?.project ?? ""));
  /** The network that `facts` found. */
  #network = "";

  constructor(options: GceRoutesOptions) {
    this.#options = options;
    this.#agents = proxyAgents(options.env);
  }

  get #base(): string {
    const variable = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE";
    const named = namedEndpoint(this.#options.env, variable, "https://compute.googleapis.com/compute/v1/");
    return named.replace(/\/*$/, "/");
  }

  async facts(signal: AbortSignal): Promise<CloudFacts> {
    this.#instance ??= await readGceInstance(this.#options.env, signal);
    const { project, zone, name } = this.#instance;
    const request = {
      permission: "compute.instances.get",
      what: `read what Google Cloud knows of the instance ${name}`,
    };
    const found = await this.#get(request, `projects/${project}/zones/${zone}/instances/${name}`, signal);
    const { address } = this.#options;
    const own = listIn(found, "networkInterfaces").find((each) => textIn(each, "networkIP") === address);
    if (own === undefined)
      throw rejected(
        `no network interface of the instance ${name} has the address ${address}: choose one with --iface`,
      );
    this.#network = textIn(own, "network");
    const isForwarding = memberOf(found, "canIpForward") === true;
    const cure =
      "Google Cloud drops packets of containers: create the instance with canIpForward (--can-ip-forward), it cannot be switched on later";
    return {
      instance: `${name} in ${zone}`,
      target: pathOf(textIn(found, "selfLink")),
      tables: [pathOf(this.#network)],
      ...(!isForwarding && { obstacle: cure }),
    };
  }

  async list(table: string, signal: AbortSignal): Promise<CloudTable> {
    const routes: unknown[] = [];
    let pageToken = "";
    for (let page = 0; page < MAX_PAGES; page++) {
      const query = new URLSearchParams({ maxResults: String(PAGE), ...(pageToken !== "" && { pageToken }) });
      const request = { permission: "compute.routes.list", what: `read the routes of the network ${lastPart(table)}` };
      const answer = await this.#get(request, `${projectOf(table)}/global/routes?${query}`, signal);
      routes.push(...listIn(answer, "items"));
      pageToken = textIn(answer, "nextPageToken");
      if (pageToken === "") break;
    }
    const { used, limit } = await this.#quota(table, signal);
    return {
      table,
      routes: routes
        .filter((route) => pathOf(textIn(route, "network")) === table)
        .flatMap((route) => cloudRouteOf(table, route)),
      routeCount: used ?? routes.length,
      ...(limit !== undefined && { quota: limit }),
    };
  }

  async set(
    { table, destination, target }: WantedRoute,
    existing: CloudRoute | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    // A route cannot be changed, only replaced by another one.
    if (existing !== undefined) await this.remove(existing, signal);
    const request = {
      permission: "compute.routes.create",
      what: `lead ${destination} to this instance in the network ${lastPart(table)}`,
    };
    const name = nameOf(destination);
    const insert = () => {
      const body = {
        name,
        destRange: destination,
        network: this.#network,
        nextHopInstance: this.#base + target,
        priority: PRIORITY,
        tags: [],
      };
      return this.#change(
        request,
        projectOf(table),
        { method: "POST", path: `${projectOf(table)}/global/routes`, body },
        signal,
      );
    };
    try {
      await insert();
    } catch (error) {
      if (!(error instanceof FlannelError) || error.details["status"] !== 409) throw error;
      // The list was older than what is there.
      await this.remove({ table, destination, id: name, state: "active", isManaged: true }, signal);
      await insert();
    }
  }

  async remove({ table, id }: CloudRoute, signal: AbortSignal): Promise<void> {
    const request = { permission: "compute.routes.delete", what: `remove the route ${id}` };
    const path = `${projectOf(table)}/global/routes/${id}`;
    try {
      await this.#change(request, projectOf(table), { method: "DELETE", path }, signal);
    } catch (error) {
      if (!(error instanceof FlannelError) || error.details["status"] !== 404) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#token[Symbol.dispose]();
    closeAgents(this.#agents);
    return Promise.resolve();
  }

  /** Of the whole project. Who may not read it learns of it when a route is refused. */
  async #quota(table: string, signal: AbortSignal): Promise<{ readonly used?: number; readonly limit?: number }> {
    const request = { permission: "compute.projects.get", what: "read the quotas of the project" };
    try {
      const project = await this.#get(request, `${projectOf(table)}?fields=quotas`, signal);
      const quota = listIn(project, "quotas").find((each) => textIn(each, "metric") === "ROUTES");
      const [used, limit] = [memberOf(quota, "usage"), memberOf(quota, "limit")];
      return typeof used === "number" && typeof limit === "number" ? { used, limit } : {};
    } catch (error) {
      if (!hasCode(error, "CLOUD_DENIED", "CLOUD_REJECTED")) throw error;
      return {};
    }
  }

  async #change(
    request: GceRequest,
    project: string,
    { method, path, body }: { readonly method: "POST" | "DELETE"; readonly path: string; readonly body?: unknown },
    signal: AbortSignal,
  ): Promise<void> {
    let operation = await this.#ask(request, { method, path, ...(body !== undefined && { body }) }, signal);
    const waiting = { ...request, permission: "compute.globalOperations.get" };
    for (let poll = 0; textIn(operation, "status") !== "DONE"; poll++) {
      if (poll >= OPERATION_POLLS)
        throw new FlannelError("CLOUD_UNAVAILABLE", `cannot ${request.what}: Google Cloud does not finish it`, {
          retryable: true,
        });
      await delay(OPERATION_POLL_MS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) throw new FlannelError("CANCELLED", `${request.what}: cancelled`);
      operation = await this.#get(waiting, `${project}/global/operations/${textIn(operation, "name")}`, signal);
    }
    const failure = memberOf(operation, "error");
    if (failure !== undefined) throw gceOperationError(request, failure);
  }

  #get(request: GceRequest, path: string, signal: AbortSignal): Promise<unknown> {
    return this.#ask(request, { method: "GET", path }, signal);
  }

  async #ask(
    request: GceRequest,
    {
      method,
      path,
      body,
    }: { readonly method: "GET" | "POST" | "DELETE"; readonly path: string; readonly body?: unknown },
    signal: AbortSignal,
  ): Promise<unknown> {
    const headers = {
      authorization: `Bearer ${await this.#bearer(request, signal)}`,
      "content-type": "application/json",
    };
    const url = this.#base + path;
    const sent = {
      url,
      method,
      headers,
      agents: this.#agents,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    };
    const answer: HttpAnswer = await exchange(sent, signal);
    if (answer.status >= 200 && answer.status < 300) return tryParseJson(answer.body);
    if (answer.status === 401) this.#token.reject();
    throw gceError(request, answer.status, answer.body);
  }

  async #bearer({ what }: GceRequest, signal: AbortSignal): Promise<string> {
    try {
      return (await this.#token.current(signal)).text;
    } catch (cause) {
      if (isCancelled(cause)) throw cause;
      throw gceCredentialsError(what, cause);
    }
  }
}

function cloudRouteOf(table: string, route: unknown): CloudRoute[] {
  const destination = tryParsePrefix(textIn(route, "destRange"));
  const id = textIn(route, "name");
  if (destination === undefined || destination.includes(":") || !/^[a-z0-9-]{1,63}$/.test(id)) return [];
  const target = textIn(route, "nextHopInstance");
  const isGone = listIn(route, "warnings").some((warning) => gone.test(textIn(warning, "code")));
  return [
    {
      table,
      destination: networkOf(destination),
      ...(target !== "" && { target: pathOf(target) }),
      state: isGone ? "blackhole" : "active",
      id,
      isManaged: id.startsWith("flannel-"),
    },
  ];
}

/** `flannel-10-5-3-0-24`, as upstream's. */
function nameOf(destination: string): string {
  return `flannel-${destination.replaceAll(/[./]/g, "-")}`;
}

/** From `projects/` on: the same thing is linked to by several names of the service. */
function pathOf(link: string): string {
  const start = link.indexOf("projects/");
  return start < 0 ? link : link.slice(start);
}

/** `projects/blue` of `projects/blue/global/networks/default` */
function projectOf(table: string): string {
  return table.split("/").slice(0, 2).join("/");
}

function rejected(message: string): FlannelError {
  return new FlannelError("CLOUD_REJECTED", message);
}
