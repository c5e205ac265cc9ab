// The aws-vpc backend: each host has a route in the route tables of an Amazon VPC. As upstream had it up to v0.19. Pure.
import { cloudModule, readTables, routeTableKey } from "../cloud-backend.ts";
import { startAwsVpc } from "./aws-vpc-runtime.ts";

const example = "rtb-0123456789abcdef0";

export const awsVpcModule = cloudModule({
  type: "aws-vpc",
  summary:
    "Routes in the route tables of an Amazon VPC instead of an overlay, one for each host; see [cloud.md](cloud.md). IPv4 only.",
  keys: [routeTableKey(example, "that of the subnet of this host's network interface, else the VPC's main one")],
  readAccess: (options) => ({ tables: readTables(options, /^rtb-[0-9a-z]{4,40}$/, example) }),
  start: startAwsVpc,
});
