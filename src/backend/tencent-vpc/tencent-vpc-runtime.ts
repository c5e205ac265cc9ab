// The running half of the tencent-vpc backend. The client of Tencent Cloud is loaded here, when the backend is started.
import { env } from "node:process";
import type { BackendRuntime, RuntimeServices } from "../backend.ts";
import type { CloudPlan } from "../cloud-backend.ts";

export async function startTencentVpc(services: RuntimeServices): Promise<BackendRuntime<CloudPlan>> {
  const { startCloud } = await import("../cloud-runtime.ts");
  return startCloud(services, async ({ address, access: { tables, key } }) => {
    const { TencentRoutes } = await import("../../cloud/tencent/tencent-routes.ts");
    return new TencentRoutes({ address, tables, key, env });
  });
}
