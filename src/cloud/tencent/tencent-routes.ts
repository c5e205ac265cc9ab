// The route tables of a VPC of Tencent Cloud, by its VPC API (version 2017-03-12).
import { FlannelError, hasCode } from "../../errors.ts";
import { closeAgents, exchange, type HttpAgents, proxyAgents } from "../../http/exchange.ts";
import { type Address, tryParsePrefix } from "../../ip/address.ts";
import { networkOf } from "../../ip/prefix.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";
import { listIn, memberOf, textIn } from "../../json/untyped-fields.ts";
import { AccessKeys } from "../access-key.ts";
import type { CloudFacts, CloudRoute, CloudRoutes, CloudTable, WantedRoute } from "../cloud-routes.ts";
import { namedEndpoint } from "../endpoint.ts";
import { type ErrorCodes, providerError } from "../provider-error.ts";
import { readTencentKeyFiles } from "./tencent-key-files.ts";
import { readTencentInstance, readTencentRole, type TencentInstance } from "./tencent-metadata.ts";
import { signedTencentHeaders } from "./tencent-signature.ts";

export interface TencentRoutesOptions {
  /** Of the external interface: what routes to this host lead to. */
  readonly address: Address;
  /** Empty: that of the host's subnet, else the VPC's main one. */
  readonly tables: readonly string[];
  readonly key: { readonly id: string; readonly secret: string } | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const VERSION = "2017-03-12";
const GATEWAY = "NORMAL_CVM";
/** The most in one answer; a VPC has ten unless its quota is raised. */
const TABLES = 100;
const QUOTA = "route-table-max-policies";
const codes: ErrorCodes = {
  provider: "Tencent Cloud",
  throttled: /^RequestLimitExceeded/,
  full: /^LimitExceeded/,
  badKey: /^AuthFailure(?!\.UnauthorizedOperation)/,
  denied: /^(UnauthorizedOperation|AuthFailure\.UnauthorizedOperation)/,
};

export class TencentRoutes implements CloudRoutes {
  readonly #options: TencentRoutesOptions;
  readonly #agents: HttpAgents;
  readonly #keys: AccessKeys;
  #instance: TencentInstance | undefined;
  /** Where it may not be read, the agent learns it when a route is refused. */
  #mayReadQuota = true;

  constructor(options: TencentRoutesOptions) {
    const { key: given, env } = options;
    this.#options = options;
    this.#agents = proxyAgents(env);
    this.#keys = new AccessKeys({
      given,
      env,
      variables: [
        { id: "ACCESS_KEY_ID", secret: "ACCESS_KEY_SECRET" },
        {
          id: "TENCENTCLOUD_SECRET_ID",
          secret: "TENCENTCLOUD_SECRET_KEY",
          tokens: ["TENCENTCLOUD_SESSION_TOKEN", "TENCENTCLOUD_TOKEN"],
        },
      ],
      readFiles: () => readTencentKeyFiles(env),
      readRole: (signal) => readTencentRole(env, signal),
    });
  }

  async facts(signal: AbortSignal): Promise<CloudFacts> {
    this.#instance ??= await readTencentInstance(this.#options.env, signal);
    const { id, region } = this.#instance;
    const tables =
      this.#options.tables.length > 0 ? this.#options.tables : [await this.#findTable(this.#instance, signal)];
    return { instance: `${id} in ${region}`, target: this.#options.address, tables };
  }

  async list(table: string, signal: AbortSignal): Promise<CloudTable> {
    const answer = await this.#call(
      "DescribeRouteTables",
      `read the route table ${table}`,
      { RouteTableIds: [table] },
      signal,
    );
    const [found] = listIn(answer, "RouteTableSet");
    if (found === undefined) throw rejected(`Tencent Cloud shows no route table ${table}: check RouteTableID`);
    const routes = listIn(found, "RouteSet");
    const own = routes.filter((route) => textIn(route, "RouteType") === "USER");
    const quota = await this.#quota(signal);
    return {
      ...{ table, routes: routes.flatMap((route) => cloudRouteOf(table, route)), routeCount: own.length },
      ...(quota !== undefined && { quota }),
    };
  }

  async set(
    { table, destination, target }: WantedRoute,
    existing: CloudRoute | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const what = `lead ${destination} to ${target} in the route table ${table}`;
    const route = { DestinationCidrBlock: destination, GatewayType: GATEWAY, GatewayId: target, Enabled: true };
    if (existing?.state === "active") {
      const Routes = [{ ...route, RouteId: Number(existing.id) }];
      await this.#call("ReplaceRoutes", what, { RouteTableId: table, Routes }, signal);
      return;
    }
    // One that is switched off stays so when it is replaced.
    if (existing !== undefined) await this.remove(existing, signal);
    await this.#call("CreateRoutes", what, { RouteTableId: table, Routes: [route] }, signal);
  }

  async remove({ table, destination, id }: CloudRoute, signal: AbortSignal): Promise<void> {
    const what = `remove the route ${destination} from the route table ${table}`;
    try {
      await this.#call("DeleteRoutes", what, { RouteTableId: table, Routes: [{ RouteId: Number(id) }] }, signal);
    } catch (error) {
      if (!(error instanceof FlannelError) || !/^ResourceNotFound/.test(String(error.details["reason"]))) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#keys[Symbol.dispose]();
    closeAgents(this.#agents);
    return Promise.resolve();
  }

  /** Of each route table. */
  async #quota(signal: AbortSignal): Promise<number | undefined> {
    if (!this.#mayReadQuota) return undefined;
    try {
      const answer = await this.#call("DescribeVpcLimits", "read the quota of routes", { LimitTypes: [QUOTA] }, signal);
      const limit = listIn(answer, "VpcLimitSet").find((each) => textIn(each, "LimitType") === QUOTA);
      const value = memberOf(limit, "LimitValue");
      return typeof value === "number" ? value : undefined;
    } catch (error) {
      const isDenied = error instanceof FlannelError && codes.denied.test(String(error.details["reason"]));
      if (!isDenied && !hasCode(error, "CLOUD_REJECTED")) throw error;
      this.#mayReadQuota = false;
      return undefined;
    }
  }

  async #findTable({ vpc, subnet }: TencentInstance, signal: AbortSignal): Promise<string> {
    const parameters = { Filters: [{ Name: "vpc-id", Values: [vpc] }], Limit: String(TABLES) };
    const tables = listIn(
      await this.#call("DescribeRouteTables", `find the route table of the subnet ${subnet}`, parameters, signal),
      "RouteTableSet",
    );
    const own = tables.find((table) =>
      listIn(table, "AssociationSet").some((entry) => textIn(entry, "SubnetId") === subnet),
    );
    if (own === undefined && tables.length >= TABLES)
      throw rejected(
        `the VPC ${vpc} has more route tables than Tencent Cloud shows at once (${TABLES}): set RouteTableID`,
      );
    const found = textIn(own ?? tables.find((table) => memberOf(table, "Main") === true) ?? tables[0], "RouteTableId");
    if (found !== "") return found;
    throw rejected(`the VPC ${vpc} has no route table that Tencent Cloud shows: set RouteTableID`);
  }

  /** Resolves with the answer's `Response`. */
  async #call(action: string, what: string, parameters: unknown, signal: AbortSignal): Promise<unknown> {
    const { region = "" } = this.#instance ?? {};
    const url = namedEndpoint(this.#options.env, "TENCENTCLOUD_VPC_ENDPOINT", "https://vpc.tencentcloudapi.com/");
    const body = JSON.stringify(parameters);
    const key = await this.#keys.current(signal);
    const headers = signedTencentHeaders({ url, service: "vpc", action, version: VERSION, region, body }, key);
    const answer = await exchange({ url, method: "POST", headers, body, agents: this.#agents }, signal);
    const response = memberOf(tryParseJson(answer.body), "Response");
    const failure = memberOf(response, "Error");
    if (answer.status === 200 && response !== undefined && failure === undefined) return response;
    const refusal = { status: answer.status, code: textIn(failure, "Code"), message: textIn(failure, "Message") };
    const code = refusal.code === "InternalError" ? 500 : answer.status;
    const error = providerError(codes, `vpc:${action}`, what, { ...refusal, status: code });
    if (hasCode(error, "CLOUD_DENIED")) this.#keys.reject();
    throw error;
  }
}

function cloudRouteOf(table: string, route: unknown): CloudRoute[] {
  const destination = tryParsePrefix(textIn(route, "DestinationCidrBlock"));
  const id = memberOf(route, "RouteId");
  if (destination === undefined || destination.includes(":") || typeof id !== "number") return [];
  const isHost = textIn(route, "GatewayType") === GATEWAY;
  return [
    {
      table,
      destination: networkOf(destination),
      ...(isHost && { target: textIn(route, "GatewayId") }),
      state: memberOf(route, "Enabled") === true ? "active" : "pending",
      id: String(id),
      isManaged: textIn(route, "RouteType") === "USER",
    },
  ];
}

function rejected(message: string): FlannelError {
  return new FlannelError("CLOUD_REJECTED", message);
}
