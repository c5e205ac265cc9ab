// A VPC in moto whose instances are hosts of the lab's LAN, and a router that forwards as the VPC's route table says.
import {
  AssociateRouteTableCommand,
  CreateRouteCommand,
  CreateRouteTableCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DeleteRouteCommand,
  DescribeInstancesCommand,
  DescribeRouteTablesCommand,
  EC2Client,
  ReplaceRouteCommand,
  RunInstancesCommand,
} from "@aws-sdk/client-ec2";
import { boxNamespace } from "../namespace.ts";

export interface AwsHost {
  readonly instance: string;
  readonly networkInterface: string;
  readonly address: string;
}

export class AwsWorld {
  readonly hosts: readonly AwsHost[];
  /** Associated with the subnet of all hosts. */
  readonly table: string;
  /** Of the same VPC, associated with nothing. */
  readonly secondTable: string;
  readonly #client: EC2Client;

  private constructor(client: EC2Client, hosts: readonly AwsHost[], table: string, secondTable: string) {
    this.#client = client;
    this.hosts = hosts;
    this.table = table;
    this.secondTable = secondTable;
  }

  /** `network` holds the addresses, one for each instance. */
  static async create(url: string, network: string, addresses: readonly string[]): Promise<AwsWorld> {
    const credentials = { accessKeyId: "operator", secretAccessKey: "operator" };
    const client = new EC2Client({ endpoint: url, region: "eu-west-1", credentials });
    const vpc = (await client.send(new CreateVpcCommand({ CidrBlock: network }))).Vpc?.VpcId;
    const subnet = (await client.send(new CreateSubnetCommand({ VpcId: vpc, CidrBlock: network }))).Subnet?.SubnetId;
    const tables: string[] = [];
    for (let index = 0; index < 2; index++) {
      const made = await client.send(new CreateRouteTableCommand({ VpcId: vpc }));
      tables.push(made.RouteTable?.RouteTableId ?? "");
    }
    const [table = "", secondTable = ""] = tables;
    await client.send(new AssociateRouteTableCommand({ RouteTableId: table, SubnetId: subnet }));
    const hosts: AwsHost[] = [];
    for (const address of addresses) {
      const input = { ImageId: "ami-12c6146b", MinCount: 1, MaxCount: 1, SubnetId: subnet, PrivateIpAddress: address };
      const made = (await client.send(new RunInstancesCommand(input))).Instances?.[0];
      const networkInterface = made?.NetworkInterfaces?.[0]?.NetworkInterfaceId ?? "";
      hosts.push({ instance: made?.InstanceId ?? "", networkInterface, address });
    }
    return new AwsWorld(client, hosts, table, secondTable);
  }

  /** Network interfaces by the destinations that lead to them; `local` and the like are left out. */
  async routes(table = this.table): Promise<Readonly<Record<string, string>>> {
    const answer = await this.#client.send(new DescribeRouteTablesCommand({ RouteTableIds: [table] }));
    const routes = answer.RouteTables?.[0]?.Routes ?? [];
    return Object.fromEntries(
      routes.flatMap(({ DestinationCidrBlock: to = "", NetworkInterfaceId: by }) =>
        by === undefined ? [] : [[to, by]],
      ),
    );
  }

  async addRoute(destination: string, host: AwsHost, table = this.table): Promise<void> {
    const route = { RouteTableId: table, DestinationCidrBlock: destination, NetworkInterfaceId: host.networkInterface };
    await this.#client.send(new CreateRouteCommand(route));
  }

  async pointRoute(destination: string, host: AwsHost, table = this.table): Promise<void> {
    const route = { RouteTableId: table, DestinationCidrBlock: destination, NetworkInterfaceId: host.networkInterface };
    await this.#client.send(new ReplaceRouteCommand(route));
  }

  async deleteRoute(destination: string, table = this.table): Promise<void> {
    await this.#client.send(new DeleteRouteCommand({ RouteTableId: table, DestinationCidrBlock: destination }));
  }

  async sourceDestinationCheck({ instance }: AwsHost): Promise<boolean | undefined> {
    const answer = await this.#client.send(new DescribeInstancesCommand({ InstanceIds: [instance] }));
    return answer.Reservations?.[0]?.Instances?.[0]?.NetworkInterfaces?.[0]?.SourceDestCheck;
  }

  /** The box, which all hosts have as their gateway, forwards by the route table from now on; once for each call. */
  async forward(): Promise<void> {
    // The hosts share one link here, as those of a VPC do not: no hints that there is a shorter way.
    await boxNamespace.sysctl({ "net.ipv4.conf.all.send_redirects": 0, "net.ipv4.conf.lan0.send_redirects": 0 });
    await boxNamespace.run(["ip", "route", "flush", "proto", "77"]);
    const addresses = new Map(this.hosts.map(({ networkInterface, address }) => [networkInterface, address]));
    for (const [destination, networkInterface] of Object.entries(await this.routes())) {
      const via = addresses.get(networkInterface);
      if (via !== undefined) await boxNamespace.ip("route", "add", destination, "via", via, "proto", "77");
    }
  }
}
