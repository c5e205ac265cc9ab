// A network in Kubernetes is known by the prefix of its annotations: there is one for each prefix in a cluster. Pure.
import { USUAL_ANNOTATION_PREFIX } from "../../config/annotation-prefix.ts";
import type { StoreIdentity } from "../network-identity.ts";
import { kubernetesLeaseCodec } from "./lease-codec.ts";

export function kubernetesIdentity({ annotationPrefix }: { readonly annotationPrefix: string }): StoreIdentity {
  const network = {
    id: `kubernetes ${annotationPrefix}`,
    isUsual: annotationPrefix.replace(/\/$/, "") === USUAL_ANNOTATION_PREFIX,
    description: `annotation prefix ${annotationPrefix}`,
    flag: "--kube-annotation-prefix",
  };
  return { network, leaseCodec: kubernetesLeaseCodec };
}
