// Stands for Tencent Cloud: metadata service and VPC API (2017-03-12), as its public documents have them. It is not Tencent Cloud.

import { TencentRoutes } from "../../src/cloud/tencent/tencent-routes.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { HttpStandIn, type StandInAnswer, type StandInRequest } from "./http-stand-in.ts";
import { type CloudFault, type ProviderWorld, RoleKeys } from "./provider-world.ts";

interface Route {
  readonly table: string;
  readonly RouteId: number;
  readonly DestinationCidrBlock: string;
  readonly GatewayType: string;
  readonly GatewayId: string;
  readonly RouteType: "USER" | "NETD";
  readonly Enabled: boolean;
}

const refusals: Record<CloudFault, string> = {
  throttled: "RequestLimitExceeded",
  failing: "InternalError",
  denied: "UnauthorizedOperation",
  expired: "AuthFailure.TokenFailure",
  full: "LimitExceeded",
};

export class TencentWorld implements ProviderWorld {
  readonly provider = "Tencent Cloud";
  readonly hosts = ["192.168.50.11", "192.168.50.12"] as const;
  readonly table = "rtb-lab0";
  /** The VPC has so many more, which are shown first. */
  furtherTables = 0;
  readonly secondTable = "rtb-lab1";
  readonly requests: string[] = [];
  readonly names = { list: "DescribeRouteTables", create: "CreateRoutes" };
  fault: ProviderWorld["fault"] = () => undefined;
  /** Undefined: who asks may not read it. */
  quota: number | undefined;
  #routes: Route[] = [];
  #shown: readonly Route[] | undefined;
  readonly keys = new RoleKeys();
  usedKey = 0;
  #metadataServer: HttpStandIn | undefined;
  #count = 0;
  #port = 0;
  #address = "127.0.0.1";
  readonly #resources = new AsyncDisposableStack();
  #api: HttpStandIn | undefined;

  /** `port`: of the metadata service, which begins later. */
  static async start(port: number, address = "127.0.0.1"): Promise<TencentWorld> {
    const world = new TencentWorld();
    world.#address = address;
    world.#port = port;
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
    const TENCENTCLOUD_METADATA_HOST = `${this.#address}:${this.#port}`;
    return { TENCENTCLOUD_VPC_ENDPOINT: `${this.#api?.url}/`, TENCENTCLOUD_METADATA_HOST };
  }

  open(tables: readonly string[] = []): TencentRoutes {
    const address = parseAddress(this.hosts[0]);
    return new TencentRoutes({ address, tables, key: undefined, env: this.environment() });
  }

  set isBehind(isBehind: boolean) {
    this.#shown = isBehind ? [...this.#routes] : undefined;
  }

  permissionOf = (request: string): string => `vpc:${request}`;

  routes(table = this.table): Readonly<Record<string, string>> {
    return Object.fromEntries(
      this.#routes
        .filter((route) => route.table === table && route.Enabled)
        .map(({ DestinationCidrBlock, GatewayId }) => [DestinationCidrBlock, GatewayId]),
    );
  }

  add(DestinationCidrBlock: string, GatewayId: string, _state?: "gone", table = this.table): void {
    this.delete(DestinationCidrBlock, table);
    this.#routes.push({
      table,
      RouteId: ++this.#count,
      DestinationCidrBlock,
      GatewayType: "NORMAL_CVM",
      GatewayId,
      RouteType: "USER",
      Enabled: true,
    });
  }

  delete(destination: string, table = this.table): void {
    this.#routes = this.#routes.filter((each) => each.table !== table || each.DestinationCidrBlock !== destination);
  }

  secrets(): readonly string[] {
    return [`secret-of-role-${this.keys.number}`, `token-of-role-${this.keys.number}`];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  #metadata({ url }: StandInRequest): StandInAnswer {
    const [TmpSecretKey, Token] = this.secrets();
    const { number, endsAtMs } = this.keys;
    const ExpiredTime = Math.floor(endsAtMs / 1_000);
    const key = { TmpSecretId: `AKID${number}`, TmpSecretKey, Token, ExpiredTime, Code: "Success" };
    const values: Record<string, string> = {
      "placement/region": "ap-lab",
      mac: "52:54:00:00:00:01",
      "instance-id": "ins-lab",
      "network/interfaces/macs/52:54:00:00:00:01/vpc-id": "vpc-lab",
      "network/interfaces/macs/52:54:00:00:00:01/subnet-id": "subnet-lab",
      "cam/security-credentials/": "flannel",
      "cam/security-credentials/flannel": JSON.stringify(key),
    };
    const value = values[url.pathname.replace("/latest/meta-data/", "")];
    return value === undefined ? { status: 404, body: "" } : { status: 200, body: value };
  }

  #answer({ headers, body }: StandInRequest): StandInAnswer {
    const action = String(headers["x-tc-action"]);
    this.requests.push(action);
    this.usedKey = Number(/Credential=AKID(\d+)\//.exec(headers.authorization ?? "")?.[1]);
    const hidden = action === "DescribeVpcLimits" && this.quota === undefined ? "denied" : undefined;
    const fault = this.keys.isAccepted(this.usedKey) ? (this.fault(action) ?? hidden) : "expired";
    const response =
      fault === undefined
        ? this.#perform(action, JSON.parse(body) as Record<string, unknown>)
        : { Error: { Code: refusals[fault], Message: "no, says the stand-in" } };
    // Failures have status 200 there, too.
    return { status: 200, body: JSON.stringify({ Response: { ...response, RequestId: "lab" } }) };
  }

  #perform(action: string, parameters: Readonly<Record<string, unknown>>): Record<string, unknown> {
    const given = (parameters["Routes"] ?? []) as readonly Route[];
    const table = String(parameters["RouteTableId"]);
    for (const route of given) {
      if (action === "CreateRoutes") this.add(route.DestinationCidrBlock, route.GatewayId, undefined, table);
      if (action === "ReplaceRoutes")
        this.#routes = this.#routes.map((each) => (each.RouteId === route.RouteId ? { ...each, ...route } : each));
      if (action === "DeleteRoutes") this.#routes = this.#routes.filter(({ RouteId }) => RouteId !== route.RouteId);
    }
    if (action === "DescribeVpcLimits") {
      return { VpcLimitSet: [{ LimitType: "route-table-max-policies", LimitValue: this.quota }] };
    }
    if (action !== "DescribeRouteTables") return {};
    const routesOf = (id: string) =>
      (this.#shown ?? this.#routes).filter((route) => route.table === id).map(({ table: _, ...route }) => route);
    const own = {
      RouteTableId: this.table,
      Main: false,
      AssociationSet: [{ SubnetId: "subnet-lab" }],
      RouteSet: routesOf(this.table),
    };
    const second = { RouteTableId: this.secondTable, Main: false, RouteSet: routesOf(this.secondTable) };
    const main = { RouteTableId: "rtb-main", Main: true, AssociationSet: [], RouteSet: [] };
    const wanted = parameters["RouteTableIds"] as readonly string[] | undefined;
    const further = Array.from({ length: this.furtherTables }, (_, index) => {
      return { RouteTableId: `rtb-further-${index}`, Main: false, AssociationSet: [], RouteSet: [] };
    });
    const found = [...further, main, own, second].filter(({ RouteTableId }) => wanted?.includes(RouteTableId) ?? true);
    return { TotalCount: found.length, RouteTableSet: found.slice(0, Number(parameters["Limit"] ?? 20)) };
  }
}
