// The tencent-vpc backend: each host has a route in the route tables of a VPC of Tencent Cloud. Pure.
import { accessKeyKeys, cloudModule, readAccessKey, readTables, routeTableKey } from "../cloud-backend.ts";
import { startTencentVpc } from "./tencent-vpc-runtime.ts";

const example = "rtb-0123abcd";

export const tencentVpcModule = cloudModule({
  type: "tencent-vpc",
  summary:
    "Routes in the route tables of a VPC of Tencent Cloud instead of an overlay, one for each host; see [cloud.md](cloud.md). IPv4 only.",
  keys: [routeTableKey(example, "that of this host's subnet, else the VPC's main one"), ...accessKeyKeys],
  readAccess: (options) => ({
    tables: readTables(options, /^rtb-[0-9a-z]{4,40}$/, example),
    ...readAccessKey(options),
  }),
  start: startTencentVpc,
});
