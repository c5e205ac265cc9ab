// What the agent answers about one address: which way it wants its packets to go. `flannelctl trace` asks the kernel itself
// which way they go. Part of control-protocol.ts' protocol.
//   GET /v2/trace?to=ADDRESS → Trace. `USAGE` when it is no IP address
import { z } from "zod";
import { interfaceSchema, leaseSchema } from "./control-protocol.ts";

export const desiredWaySchema = z.object({
  name: z.string(),
  place: z
    .enum(["peer", "here", "host", "nobody", "outside"])
    .describe(
      "of the address: in a peer's subnet, in this host's, the public address of a peer's host, in the network but in nobody's " +
        "subnet, outside of the network",
    ),
  knownLeases: z.int().describe("of this host and its peers"),
  networks: z.array(z.string()),
  ownSubnets: z.array(z.string()),
  ownDevices: z.array(z.string()),
  externalInterface: interfaceSchema.optional(),
  backendType: z.string().optional(),
  lease: leaseSchema.extend({ isOwn: z.boolean(), revision: z.string() }).optional(),
  skippedReason: z.string().optional().describe("why this host does not serve the peer"),
  carriedBy: z
    .enum(["vxlan", "udp", "ipip", "wireguard", "ipsec", "direct", "other"])
    .optional()
    .describe("what packets for the peer are put into; direct: nothing, its host is the next hop"),
  mtuBytes: z.int().optional().describe("of packets to containers of the peer"),
  route: z
    .object({
      line: z.string(),
      device: z.string(),
      gateway: z.string().optional(),
      mtuBytes: z.int().optional(),
      table: z.int().optional(),
    })
    .optional(),
  neighbour: z.object({ device: z.string(), address: z.string(), mac: z.string() }).optional(),
  fdb: z.object({ device: z.string(), mac: z.string(), destination: z.string() }).optional(),
  wireguardPeer: z
    .object({
      device: z.string(),
      publicKey: z.string(),
      endpoint: z.string().optional(),
      allowedIps: z.array(z.string()),
    })
    .optional(),
  ownUdpPort: z.int().optional().describe("at which this host receives the tunnel's packets"),
  outside: z
    .object({
      address: z.string().describe("of the peer's host"),
      protocol: z.string().optional().describe("udp, ipip, esp; absent: the packets themselves go there"),
      port: z.int().optional(),
    })
    .optional(),
});

export const traceSchema = z.object({ networks: z.array(desiredWaySchema) });

export type DesiredWay = z.infer<typeof desiredWaySchema>;
export type Trace = z.infer<typeof traceSchema>;
