// The route tables of a VPC of AWS, by AWS's own client. Loaded only where the backend aws-vpc is chosen.
import {
  CreateRouteCommand,
  DeleteRouteCommand,
  DescribeInstancesCommand,
  DescribeRouteTablesCommand,
  EC2Client,
  type InstanceNetworkInterface,
  ModifyNetworkInterfaceAttributeCommand,
  ReplaceRouteCommand,
  type Route,
  type RouteTable,
} from "@aws-sdk/client-ec2";
import { FlannelError } from "../../errors.ts";
import { closeAgents, type HttpAgents, proxyAgents } from "../../http/exchange.ts";
import { type Address, tryParsePrefix } from "../../ip/address.ts";
import { networkOf } from "../../ip/prefix.ts";
import type { CloudFacts, CloudRoute, CloudRoutes, CloudTable, WantedRoute } from "../cloud-routes.ts";
import { awsError, awsErrorCode, isCredentialError } from "./aws-errors.ts";
import { type AwsInstance, readAwsInstance } from "./aws-metadata.ts";

export interface AwsRoutesOptions {
  /** Of the external interface: says which of the instance's network interfaces routes lead to. */
  readonly address: Address;
  /** Empty: that of the subnet, else the VPC's main one. */
  readonly tables: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The SDK waits between them with jitter, longer each time. */
const MAX_ATTEMPTS = 4;

/** What one request is, for its error. */
interface Operation {
  /** As IAM names it. */
  readonly action: string;
  readonly what: string;
}

export class AwsRoutes implements CloudRoutes {
  readonly #options: AwsRoutesOptions;
  readonly #agents: HttpAgents;
  /** The metadata service's answers never change while the machine runs. */
  #instance: AwsInstance | undefined;
  #client: EC2Client | undefined;

  constructor(options: AwsRoutesOptions) {
    this.#options = options;
    this.#agents = proxyAgents(options.env);
  }

  async facts(signal: AbortSignal): Promise<CloudFacts> {
    this.#instance ??= await readAwsInstance(this.#options.env, signal);
    const { id, region } = this.#instance;
    const own = await this.#networkInterface(id, signal);
    const target = own.NetworkInterfaceId;
    if (target === undefined) throw rejected(`the instance ${id} has a network interface without an id`);
    const obstacle = own.SourceDestCheck === false ? undefined : await this.#turnCheckOff(target, signal);
    const tables = this.#options.tables.length > 0 ? this.#options.tables : [await this.#findTable(own, signal)];
    return { instance: `${id} in ${region}`, target, tables, ...(obstacle !== undefined && { obstacle }) };
  }

  async list(table: string, signal: AbortSignal): Promise<CloudTable> {
    const operation = { action: "DescribeRouteTables", what: `read the route table ${table}` };
    const answer = await this.#call(operation, signal, (client, options) =>
      client.send(new DescribeRouteTablesCommand({ RouteTableIds: [table] }), options),
    );
    const routes = answer.RouteTables?.[0]?.Routes ?? [];
    return {
      table,
      routes: routes.flatMap((route) => cloudRouteOf(table, route)),
      routeCount: routes.filter(({ Origin }) => Origin !== "EnableVgwRoutePropagation").length,
    };
  }

  async set(
    { table, destination, target }: WantedRoute,
    existing: CloudRoute | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const input = { RouteTableId: table, DestinationCidrBlock: destination, NetworkInterfaceId: target };
    const what = `lead ${destination} to ${target} in the route table ${table}`;
    const create = () =>
      this.#call({ action: "CreateRoute", what }, signal, (client, options) =>
        client.send(new CreateRouteCommand(input), options),
      );
    // In one step, so that no packet is lost.
    const replace = () =>
      this.#call({ action: "ReplaceRoute", what }, signal, (client, options) =>
        client.send(new ReplaceRouteCommand(input), options),
      );
    const [first, second, hint] =
      existing === undefined ? [create, replace, "RouteAlreadyExists"] : [replace, create, "InvalidRoute.NotFound"];
    try {
      await first();
    } catch (error) {
      // The list may be older than what is there.
      if (reasonOf(error) !== hint) throw error;
      await second();
    }
  }

  async remove({ table, destination }: CloudRoute, signal: AbortSignal): Promise<void> {
    const input = { RouteTableId: table, DestinationCidrBlock: destination };
    const operation = { action: "DeleteRoute", what: `remove the route ${destination} from the route table ${table}` };
    try {
      await this.#call(operation, signal, (client, options) => client.send(new DeleteRouteCommand(input), options));
    } catch (error) {
      if (reasonOf(error) !== "InvalidRoute.NotFound") throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#forgetClient();
    closeAgents(this.#agents);
    return Promise.resolve();
  }

  async #networkInterface(id: string, signal: AbortSignal): Promise<InstanceNetworkInterface> {
    const operation = { action: "DescribeInstances", what: `read what AWS knows of the instance ${id}` };
    const answer = await this.#call(operation, signal, (client, options) =>
      client.send(new DescribeInstancesCommand({ InstanceIds: [id] }), options),
    );
    const interfaces = answer.Reservations?.[0]?.Instances?.[0]?.NetworkInterfaces ?? [];
    const { address } = this.#options;
    const own = interfaces.find(({ PrivateIpAddresses = [], PrivateIpAddress }) =>
      [PrivateIpAddress, ...PrivateIpAddresses.map((entry) => entry.PrivateIpAddress)].includes(address),
    );
    if (own !== undefined) return own;
    const known = interfaces.flatMap(({ PrivateIpAddress }) => PrivateIpAddress ?? []).join(", ") || "none";
    throw rejected(
      `no network interface of the instance ${id} has the address ${address} (it has ${known}): choose one with --iface`,
    );
  }

  /** Undefined: done. Else why it could not be done: packets of containers do not pass while it is on. */
  async #turnCheckOff(id: string, signal: AbortSignal): Promise<string | undefined> {
    const input = { NetworkInterfaceId: id, SourceDestCheck: { Value: false } };
    const operation = {
      action: "ModifyNetworkInterfaceAttribute",
      what: `switch the source/destination check of ${id} off`,
    };
    try {
      await this.#call(operation, signal, (client, options) =>
        client.send(new ModifyNetworkInterfaceAttributeCommand(input), options),
      );
      return undefined;
    } catch (error) {
      if (!(error instanceof FlannelError) || error.code !== "CLOUD_DENIED") throw error;
      return `AWS drops packets of containers: ${error.message}, or switch the check off by hand`;
    }
  }

  async #findTable(own: InstanceNetworkInterface, signal: AbortSignal): Promise<string> {
    const { SubnetId: subnet = "", VpcId: vpc = "" } = own;
    const find = async (...filters: readonly (readonly [string, string])[]): Promise<RouteTable | undefined> => {
      const Filters = filters.map(([Name, value]) => ({ Name, Values: [value] }));
      const operation = { action: "DescribeRouteTables", what: `find the route table of the subnet ${subnet}` };
      const answer = await this.#call(operation, signal, (client, options) =>
        client.send(new DescribeRouteTablesCommand({ Filters }), options),
      );
      return answer.RouteTables?.[0];
    };
    const found =
      (await find(["association.subnet-id", subnet])) ?? (await find(["association.main", "true"], ["vpc-id", vpc]));
    if (found?.RouteTableId !== undefined) return found.RouteTableId;
    throw rejected(
      `neither the subnet ${subnet} nor the VPC ${vpc} has a route table that AWS shows: set RouteTableID`,
    );
  }

  async #call<T>(
    { action, what }: Operation,
    signal: AbortSignal,
    send: (client: EC2Client, options: { abortSignal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    try {
      return await send(this.#connect(), { abortSignal: signal });
    } catch (error) {
      // The next request reads the chain of credentials again; the SDK would keep those that it has.
      if (isCredentialError(error)) this.#forgetClient();
      throw awsError(error, action, what, signal);
    }
  }

  #connect(): EC2Client {
    const { region = "" } = this.#instance ?? {};
    this.#client ??= new EC2Client({
      region,
      maxAttempts: MAX_ATTEMPTS,
      requestHandler: {
        ...this.#agents,
        connectionTimeout: 5_000,
        requestTimeout: 20_000,
        throwOnRequestTimeout: true,
      },
    });
    return this.#client;
  }

  #forgetClient(): void {
    this.#client = undefined;
  }
}

function cloudRouteOf(table: string, route: Route): CloudRoute[] {
  const destination = tryParsePrefix(route.DestinationCidrBlock ?? "");
  if (destination === undefined) return []; // IPv6, or a prefix list
  const { NetworkInterfaceId: target, State, Origin } = route;
  return [
    {
      table,
      destination: networkOf(destination),
      ...(target !== undefined && { target }),
      state: State === "blackhole" ? "blackhole" : "active",
      id: destination,
      isManaged: Origin === "CreateRoute",
    },
  ];
}

function reasonOf(error: unknown): unknown {
  return error instanceof FlannelError ? (error.details["reason"] ?? awsErrorCode(error.cause)) : awsErrorCode(error);
}

function rejected(message: string): FlannelError {
  return new FlannelError("CLOUD_REJECTED", message);
}
