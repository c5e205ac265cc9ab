// The running half of the aws-vpc backend. AWS's client is loaded here, when the backend is started.
import { env } from "node:process";
import type { BackendRuntime, RuntimeServices } from "../backend.ts";
import type { CloudPlan } from "../cloud-backend.ts";

export async function startAwsVpc(services: RuntimeServices): Promise<BackendRuntime<CloudPlan>> {
  const { startCloud } = await import("../cloud-runtime.ts");
  return startCloud(services, async ({ address, access: { tables } }) => {
    const { AwsRoutes } = await import("../../cloud/aws/aws-routes.ts");
    return new AwsRoutes({ address, tables, env });
  });
}
