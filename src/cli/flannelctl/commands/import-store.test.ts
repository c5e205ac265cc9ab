// `flannelctl store`: refused where the leases are the Nodes of a Kubernetes cluster, before anything is read.
import { expect, it } from "vitest";
import { flannelctl } from "../../../../test/support/flannelctl.ts";
import { exitCodes } from "../../../exit-codes.ts";

it.each([
  [["import", "/nowhere/backup.json"]],
  [["import", "--etcd-v2-endpoints", "http://127.0.0.1:1"]],
  [["export"]],
  [["backup", "/nowhere/backup.json"]],
])("store %j in Kubernetes says why not", async (words) => {
  const said = await flannelctl(["--kube-subnet-mgr", "--kube-api-url", "http://127.0.0.1:1", "store", ...words]);
  expect(said.exitCode).toBe(exitCodes.usage);
  expect(said.stderr).toContain("they are its Nodes, whose subnets Kubernetes assigns (podCIDR)");
});
