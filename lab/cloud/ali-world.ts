// Stands for Alibaba Cloud: metadata service and VPC API (2016-04-28), as its public documents have them. It is not Alibaba Cloud.
import { AliRoutes } from "../../src/cloud/ali/ali-routes.ts";
import { HttpStandIn, type StandInAnswer, type StandInRequest } from "./http-stand-in.ts";
import { type CloudFault, type ProviderWorld, RoleKeys } from "./provider-world.ts";

interface Entry {
  readonly table: string;
  readonly DestinationCidrBlock: string;
  readonly NextHopId: string;
  readonly Type: "Custom" | "System";
  readonly RouteEntryId: string;
}

const refusals: Record<CloudFault, readonly [status: number, code: string]> = {
  throttled: [400, "Throttling.User"],
  failing: [503, "ServiceUnavailable"],
  denied: [403, "Forbidden.RAM"],
  expired: [400, "InvalidSecurityToken.Expired"],
  full: [400, "QuotaExceeded.RouteEntry"],
};

/** Its metadata service has the address of the real one, which the box has to have. */
export class AliWorld implements ProviderWorld {
  readonly provider = "Alibaba Cloud";
  readonly hosts = ["i-me", "i-other"] as const;
  readonly table = "vtb-lab0";
  /** The VPC has so many more, which are shown first. */
  furtherTables = 0;
  readonly secondTable = "vtb-lab1";
  readonly requests: string[] = [];
  readonly names = { list: "DescribeRouteEntryList", create: "CreateRouteEntry" };
  fault: ProviderWorld["fault"] = () => undefined;
  #entries: Entry[] = [
    {
      ...{ table: this.table, DestinationCidrBlock: "192.168.50.0/24", NextHopId: "" },
      ...{ Type: "System", RouteEntryId: "rte-0" },
    },
  ];
  #shown: readonly Entry[] | undefined;
  readonly keys = new RoleKeys();
  usedKey = 0;
  #metadataServer: HttpStandIn | undefined;
  #count = 0;
  readonly #resources = new AsyncDisposableStack();
  #api: HttpStandIn | undefined;

  /** `address`: of the API. */
  static async start(address = "127.0.0.1"): Promise<AliWorld> {
    const world = new AliWorld();
    world.#api = world.#resources.use(await HttpStandIn.start((request) => world.#answer(request), address));
    return world;
  }

  async startMetadata(): Promise<void> {
    const server = await HttpStandIn.start((request) => this.#metadata(request), "100.100.100.200", 80);
    this.#metadataServer = this.#resources.use(server);
  }

  async stopMetadata(): Promise<void> {
    await this.#metadataServer?.[Symbol.asyncDispose]();
  }

  environment(): Readonly<Record<string, string>> {
    return { VPC_ENDPOINT: `${this.#api?.url}/` };
  }

  open(tables: readonly string[] = []): AliRoutes {
    return new AliRoutes({ tables, key: undefined, env: this.environment() });
  }

  set isBehind(isBehind: boolean) {
    this.#shown = isBehind ? [...this.#entries] : undefined;
  }

  permissionOf = (request: string): string => `vpc:${request}`;

  routes(table = this.table): Readonly<Record<string, string>> {
    const custom = this.#entries.filter((entry) => entry.table === table && entry.Type === "Custom");
    return Object.fromEntries(custom.map(({ DestinationCidrBlock, NextHopId }) => [DestinationCidrBlock, NextHopId]));
  }

  add(DestinationCidrBlock: string, NextHopId: string, _state?: "gone", table = this.table): void {
    this.delete(DestinationCidrBlock, table);
    const RouteEntryId = `rte-${++this.#count}`;
    this.#entries.push({ table, DestinationCidrBlock, NextHopId, Type: "Custom", RouteEntryId });
  }

  delete(destination: string, table = this.table): void {
    this.#entries = this.#entries.filter((each) => each.table !== table || each.DestinationCidrBlock !== destination);
  }

  secrets(): readonly string[] {
    return [`secret-of-role-${this.keys.number}`, `token-of-role-${this.keys.number}`];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  #metadata({ method, url, headers }: StandInRequest): StandInAnswer {
    if (method === "PUT") return { status: 200, body: "lab-token" };
    if (headers["x-aliyun-ecs-metadata-token"] !== "lab-token") return { status: 403, body: "" };
    const [secret, token] = this.secrets();
    const key = {
      AccessKeyId: `STS.${this.keys.number}`,
      AccessKeySecret: secret,
      SecurityToken: token,
      Expiration: new Date(this.keys.endsAtMs).toISOString(),
      Code: "Success",
    };
    const values: Record<string, string> = {
      "region-id": "cn-lab",
      "instance-id": "i-me",
      "vpc-id": "vpc-lab",
      "vswitch-id": "vsw-lab",
      "ram/security-credentials/": "flannel",
      "ram/security-credentials/flannel": JSON.stringify(key),
    };
    const value = values[url.pathname.replace("/latest/meta-data/", "")];
    return value === undefined ? { status: 404, body: "" } : { status: 200, body: value };
  }

  #answer({ body }: StandInRequest): StandInAnswer {
    const form = new URLSearchParams(body);
    const action = form.get("Action") ?? "";
    this.requests.push(action);
    this.usedKey = Number(form.get("AccessKeyId")?.replace("STS.", ""));
    const fault = this.keys.isAccepted(this.usedKey) ? this.fault(action) : "expired";
    if (fault !== undefined) {
      const [status, code] = refusals[fault];
      return {
        status,
        body: JSON.stringify({
          Code: code,
          Message: `no, says the stand-in of ${body.slice(0, 30)}`,
          RequestId: "lab",
        }),
      };
    }
    return { status: 200, body: JSON.stringify(this.#perform(action, form)) };
  }

  #perform(action: string, form: URLSearchParams): unknown {
    const destination = form.get("DestinationCidrBlock") ?? "";
    const table = form.get("RouteTableId") ?? "";
    if (action === "CreateRouteEntry") this.add(destination, form.get("NextHopId") ?? "", undefined, table);
    if (action === "DeleteRouteEntry") this.delete(destination, table);
    if (action === "DescribeRouteTableList") {
      const further = Array.from({ length: this.furtherTables }, (_, index) => `vtb-further-${index}`);
      const tables = [
        ...further.map((id) => ({ RouteTableId: id, RouteTableType: "Custom", VSwitchIds: { VSwitchId: [] } })),
        { RouteTableId: "vtb-system", RouteTableType: "System", VSwitchIds: { VSwitchId: [] } },
        { RouteTableId: this.table, RouteTableType: "Custom", VSwitchIds: { VSwitchId: ["vsw-lab"] } },
      ];
      return { RouterTableList: { RouterTableListType: tables.slice(0, Number(form.get("PageSize"))) } };
    }
    return action === "DescribeRouteEntryList" ? this.#page(form) : { RequestId: "lab" };
  }

  /** Smaller pages than asked for, as a provider may have them. */
  #page(form: URLSearchParams): unknown {
    const entries = (this.#shown ?? this.#entries).filter(({ table }) => table === form.get("RouteTableId"));
    const start = Number(form.get("NextToken") ?? 0);
    const end = start + 7;
    const RouteEntry = entries.slice(start, end).map(({ NextHopId, table: _, ...entry }) => ({
      ...{
        ...entry,
        Status: "Available",
        NextHops: { NextHop: NextHopId === "" ? [] : [{ NextHopId, NextHopType: "Instance" }] },
      },
    }));
    return { RouteEntrys: { RouteEntry }, ...(end < entries.length && { NextToken: String(end) }) };
  }
}
