// What the agent tells about its store. Pure.
import type { StoreCertificates } from "../../store/subnet-store.ts";
import type { Status } from "../control/control-protocol.ts";
import type { StoreView } from "./store-view.ts";

/** The connection, whoever uses it. */
export interface ReportedStore {
  readonly description: string;
  readonly certificates?: StoreCertificates;
}

type SeenStore = Pick<StoreView, "isConnected" | "outage" | "ageMs">;

/** `views`: what each who follows the store sees of it. Connected is who hears of all that is followed. */
export function storeStatus(store: ReportedStore | undefined, views: readonly SeenStore[]): Status["store"] {
  const certificates = store?.certificates?.inUse() ?? [];
  const ages = views.map(({ ageMs }) => ageMs).filter((ageMs) => ageMs !== undefined);
  const problem = views.find(({ outage }) => outage !== undefined)?.outage;
  return {
    description: store?.description ?? "",
    connected: views.length > 0 && views.every(({ isConnected }) => isConnected),
    ...(problem !== undefined && { problem }),
    ...(ages.length > 0 && { ageSeconds: Math.round(Math.min(...ages)) / 1_000 }),
    ...(certificates.length > 0 && {
      certificates: certificates.map(({ role, source, endsAtMs }) => ({
        role,
        source,
        endsAt: new Date(endsAtMs).toISOString(),
      })),
    }),
  };
}
