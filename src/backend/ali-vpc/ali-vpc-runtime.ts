// The running half of the ali-vpc backend. The client of Alibaba Cloud is loaded here, when the backend is started.
import { env } from "node:process";
import type { BackendRuntime, RuntimeServices } from "../backend.ts";
import type { CloudPlan } from "../cloud-backend.ts";

export async function startAliVpc(services: RuntimeServices): Promise<BackendRuntime<CloudPlan>> {
  const { startCloud } = await import("../cloud-runtime.ts");
  return startCloud(services, async ({ access: { tables, key } }) => {
    const { AliRoutes } = await import("../../cloud/ali/ali-routes.ts");
    return new AliRoutes({ tables, key, env });
  });
}
