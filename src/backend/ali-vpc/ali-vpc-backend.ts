// The ali-vpc backend: each host has a route in the route tables of a VPC of Alibaba Cloud. Pure.
import { accessKeyKeys, cloudModule, readAccessKey, readTables, routeTableKey } from "../cloud-backend.ts";
import { startAliVpc } from "./ali-vpc-runtime.ts";

const example = "vtb-bp145q7glnuzd0123456";

export const aliVpcModule = cloudModule({
  type: "ali-vpc",
  summary:
    "Routes in the route tables of a VPC of Alibaba Cloud instead of an overlay, one for each host; see [cloud.md](cloud.md). IPv4 only.",
  keys: [routeTableKey(example, "that of this host's vSwitch, else the VPC's system table"), ...accessKeyKeys],
  readAccess: (options) => ({
    tables: readTables(options, /^vtb-[0-9a-z]{4,40}$/, example),
    ...readAccessKey(options),
  }),
  start: startAliVpc,
});
