// The route tables of a VPC of Alibaba Cloud, by its VPC API (version 2016-04-28).
import { FlannelError, hasCode } from "../../errors.ts";
import { closeAgents, exchange, type HttpAgents, proxyAgents } from "../../http/exchange.ts";
import { tryParsePrefix } from "../../ip/address.ts";
import { networkOf } from "../../ip/prefix.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";
import { listIn, memberOf, textIn } from "../../json/untyped-fields.ts";
import { AccessKeys } from "../access-key.ts";
import type { CloudFacts, CloudRoute, CloudRoutes, CloudTable, WantedRoute } from "../cloud-routes.ts";
import { namedEndpoint } from "../endpoint.ts";
import { type ErrorCodes, providerError } from "../provider-error.ts";
import { readAliKeyFiles } from "./ali-key-files.ts";
import { type AliInstance, readAliInstance, readAliRole } from "./ali-metadata.ts";
import { signedAliForm } from "./ali-signature.ts";

export interface AliRoutesOptions {
  /** Empty: that of the host's vSwitch, else the VPC's system table. */
  readonly tables: readonly string[];
  readonly key: { readonly id: string; readonly secret: string } | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const VERSION = "2016-04-28";
const PAGE = 100;
const MAX_PAGES = 100;
/** The most in one answer; a VPC has ten unless its quota is raised. */
const TABLES = 50;
const codes: ErrorCodes = {
  provider: "Alibaba Cloud",
  throttled: /^Throttling/,
  full: /^(QuotaExceeded|.*QuotaExceed|RouteEntryQuotaExceed)/,
  badKey:
    /^(InvalidAccessKeyId|InvalidSecurityToken|SecurityTokenExpired|SignatureDoesNotMatch|IncompleteSignature|SignatureNonceUsed|InvalidTimeStamp|Forbidden\.AccessKey)/,
  denied: /^(Forbidden|NoPermission|Unauthorized)/,
};

export class AliRoutes implements CloudRoutes {
  readonly #options: AliRoutesOptions;
  readonly #agents: HttpAgents;
  readonly #keys: AccessKeys;
  #instance: AliInstance | undefined;

  constructor(options: AliRoutesOptions) {
    this.#options = options;
    this.#agents = proxyAgents(options.env);
    this.#keys = new AccessKeys({
      given: options.key,
      env: options.env,
      variables: [
        { id: "ACCESS_KEY_ID", secret: "ACCESS_KEY_SECRET" },
        {
          id: "ALIBABA_CLOUD_ACCESS_KEY_ID",
          secret: "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
          tokens: ["ALIBABA_CLOUD_SECURITY_TOKEN"],
        },
      ],
      readFiles: () => readAliKeyFiles(options.env),
      readRole: readAliRole,
    });
  }

  async facts(signal: AbortSignal): Promise<CloudFacts> {
    this.#instance ??= await readAliInstance(signal);
    const { id, region } = this.#instance;
    const tables =
      this.#options.tables.length > 0 ? this.#options.tables : [await this.#findTable(this.#instance, signal)];
    return { instance: `${id} in ${region}`, target: id, tables };
  }

  async list(table: string, signal: AbortSignal): Promise<CloudTable> {
    const routes: unknown[] = [];
    let token = "";
    for (let page = 0; page < MAX_PAGES; page++) {
      const parameters = { RouteTableId: table, MaxResult: String(PAGE), ...(token !== "" && { NextToken: token }) };
      const answer = await this.#call("DescribeRouteEntryList", `read the route table ${table}`, parameters, signal);
      routes.push(...listIn(memberOf(answer, "RouteEntrys"), "RouteEntry"));
      token = textIn(answer, "NextToken");
      if (token === "") break;
    }
    const custom = routes.filter((route) => textIn(route, "Type") === "Custom");
    return { table, routes: routes.flatMap((route) => cloudRouteOf(table, route)), routeCount: custom.length };
  }

  async set(
    { table, destination, target }: WantedRoute,
    existing: CloudRoute | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    // There is no way to change the next hop of a route in one step.
    if (existing !== undefined) await this.remove(existing, signal);
    const parameters = {
      RouteTableId: table,
      DestinationCidrBlock: destination,
      NextHopType: "Instance",
      NextHopId: target,
    };
    await this.#call(
      "CreateRouteEntry",
      `lead ${destination} to ${target} in the route table ${table}`,
      parameters,
      signal,
    );
  }

  async remove({ table, destination, target }: CloudRoute, signal: AbortSignal): Promise<void> {
    const parameters = {
      RouteTableId: table,
      DestinationCidrBlock: destination,
      ...(target !== undefined && { NextHopId: target }),
    };
    try {
      await this.#call(
        "DeleteRouteEntry",
        `remove the route ${destination} from the route table ${table}`,
        parameters,
        signal,
      );
    } catch (error) {
      if (!(error instanceof FlannelError) || !/^InvalidRouteEntry\.NotFound/.test(String(error.details["reason"])))
        throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#keys[Symbol.dispose]();
    closeAgents(this.#agents);
    return Promise.resolve();
  }

  async #findTable({ vpc, vswitch }: AliInstance, signal: AbortSignal): Promise<string> {
    const answer = await this.#call(
      "DescribeRouteTableList",
      `find the route table of the vSwitch ${vswitch}`,
      { VpcId: vpc, PageSize: String(TABLES) },
      signal,
    );
    const tables = listIn(memberOf(answer, "RouterTableList"), "RouterTableListType");
    const own = tables.find((table) => listIn(memberOf(table, "VSwitchIds"), "VSwitchId").includes(vswitch));
    if (own === undefined && tables.length >= TABLES) {
      const message = `the VPC ${vpc} has more route tables than Alibaba Cloud shows at once (${TABLES}): set RouteTableID`;
      throw new FlannelError("CLOUD_REJECTED", message);
    }
    const found = textIn(own ?? tables.find((table) => textIn(table, "RouteTableType") === "System"), "RouteTableId");
    if (found !== "") return found;
    throw new FlannelError(
      "CLOUD_REJECTED",
      `the VPC ${vpc} has no route table that Alibaba Cloud shows: set RouteTableID`,
    );
  }

  async #call(
    action: string,
    what: string,
    parameters: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<unknown> {
    const { region = "" } = this.#instance ?? {};
    const key = await this.#keys.current(signal);
    const body = signedAliForm({ Action: action, Version: VERSION, RegionId: region, ...parameters }, key);
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const answer = await exchange(
      { url: this.#endpoint(region), method: "POST", headers, body, agents: this.#agents },
      signal,
    );
    const parsed = tryParseJson(answer.body);
    if (answer.status === 200) return parsed;
    const refusal = { status: answer.status, code: textIn(parsed, "Code"), message: textIn(parsed, "Message") };
    const error = providerError(codes, `vpc:${action}`, what, refusal);
    if (hasCode(error, "CLOUD_DENIED")) this.#keys.reject();
    throw error;
  }

  /** VPC_ENDPOINT names another one, such as that of a private network. */
  #endpoint(region: string): string {
    const isCentral = region === "cn-hangzhou" || region.includes("-finance");
    const usual = isCentral ? "https://vpc.aliyuncs.com/" : `https://vpc.${region}.aliyuncs.com/`;
    return namedEndpoint(this.#options.env, "VPC_ENDPOINT", usual);
  }
}

function cloudRouteOf(table: string, route: unknown): CloudRoute[] {
  const destination = tryParsePrefix(textIn(route, "DestinationCidrBlock"));
  if (destination === undefined || destination.includes(":")) return [];
  const [hop] = listIn(memberOf(route, "NextHops"), "NextHop");
  const target = textIn(hop, "NextHopId");
  const id = textIn(route, "RouteEntryId") || destination;
  return [
    {
      table,
      destination: networkOf(destination),
      ...(target !== "" && { target }),
      state: textIn(route, "Status") === "Available" ? "active" : "pending",
      id,
      isManaged: textIn(route, "Type") === "Custom",
    },
  ];
}
