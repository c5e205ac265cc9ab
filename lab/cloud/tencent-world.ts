// Stands for Tencent Cloud: metadata service and VPC API (2017-03-12), as its public documents have them. It is not Tencent Cloud.

import { TencentRoutes } from "../../src/cloud/tencent/tencent-routes.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { HttpStandIn, type StandInAnswer, type StandInRequest } from "./http-stand-in.ts";
import { type CloudFault, type ProviderWorld, RoleKeys } from "./provider-world.ts";

interface Route {
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
  readonly requests: string[] = [];
  readonly names = { list: "DescribeRouteTables", create: "CreateRoutes" };
  fault: ProviderWorld["fault"] = () => undefined;
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

  open(): TencentRoutes {
    const address = parseAddress(this.hosts[0]);
    return new TencentRoutes({ address, tables: [], key: undefined, env: this.environment() });
  }

  set isBehind(isBehind: boolean) {
    this.#shown = isBehind ? [...this.#routes] : undefined;
  }

  permissionOf = (request: string): string => `vpc:${request}`;

  routes(): Readonly<Record<string, string>> {
    return Object.fromEntries(
      this.#routes
        .filter(({ Enabled }) => Enabled)
        .map(({ DestinationCidrBlock, GatewayId }) => [DestinationCidrBlock, GatewayId]),
    );
  }

  add(DestinationCidrBlock: string, GatewayId: string): void {
    this.delete(DestinationCidrBlock);
    this.#routes.push({
      RouteId: ++this.#count,
      DestinationCidrBlock,
      GatewayType: "NORMAL_CVM",
      GatewayId,
      RouteType: "USER",
      Enabled: true,
    });
  }

  delete(destination: string): void {
    this.#routes = this.#routes.filter(({ DestinationCidrBlock }) => DestinationCidrBlock !== destination);
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
    const fault = this.keys.isAccepted(this.usedKey) ? this.fault(action) : "expired";
    const response =
      fault === undefined
        ? this.#perform(action, JSON.parse(body) as Record<string, unknown>)
        : { Error: { Code: refusals[fault], Message: "no, says the stand-in" } };
    // Failures have status 200 there, too.
    return { status: 200, body: JSON.stringify({ Response: { ...response, RequestId: "lab" } }) };
  }

  #perform(action: string, parameters: Readonly<Record<string, unknown>>): Record<string, unknown> {
    const given = (parameters["Routes"] ?? []) as readonly Route[];
    for (const route of given) {
      if (action === "CreateRoutes") this.add(route.DestinationCidrBlock, route.GatewayId);
      if (action === "ReplaceRoutes")
        this.#routes = this.#routes.map((each) => (each.RouteId === route.RouteId ? { ...each, ...route } : each));
      if (action === "DeleteRoutes") this.#routes = this.#routes.filter(({ RouteId }) => RouteId !== route.RouteId);
    }
    if (action !== "DescribeRouteTables") return {};
    const own = {
      RouteTableId: this.table,
      Main: false,
      AssociationSet: [{ SubnetId: "subnet-lab" }],
      RouteSet: this.#shown ?? this.#routes,
    };
    const main = { RouteTableId: "rtb-main", Main: true, AssociationSet: [], RouteSet: [] };
    const wanted = parameters["RouteTableIds"] as readonly string[] | undefined;
    const RouteTableSet = [main, own].filter(({ RouteTableId }) => wanted?.includes(RouteTableId) ?? true);
    return { TotalCount: RouteTableSet.length, RouteTableSet };
  }
}
