// The gce backend: each host has a route in a VPC network of Google Cloud. As upstream had it up to v0.19. Pure.
import { cloudModule } from "../cloud-backend.ts";
import { startGce } from "./gce-runtime.ts";

export const gceModule = cloudModule({
  type: "gce",
  summary:
    "Routes in a VPC network of Google Cloud instead of an overlay, one for each host; see [cloud.md](cloud.md). IPv4 only.",
  keys: [],
  readAccess: () => ({ tables: [] }),
  start: startGce,
});
