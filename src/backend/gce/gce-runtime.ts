// The running half of the gce backend. Google's library is loaded here, when the backend is started.
import { env } from "node:process";
import type { BackendRuntime, RuntimeServices } from "../backend.ts";
import type { CloudPlan } from "../cloud-backend.ts";

export async function startGce(services: RuntimeServices): Promise<BackendRuntime<CloudPlan>> {
  const { startCloud } = await import("../cloud-runtime.ts");
  return startCloud(services, async ({ address }) => {
    const { GceRoutes } = await import("../../cloud/gce/gce-routes.ts");
    return new GceRoutes({ address, env });
  });
}
