// The names of flannel's annotations on a Kubernetes Node: `--kube-annotation-prefix` and a suffix each, by upstream's
// rules. Pure.

/** Full names, by what they hold. */
export interface AnnotationNames {
  /** `true`: the Node is a host of this network. */
  readonly managed: string;
  readonly backendType: string;
  readonly backendData: string;
  readonly backendV6Data: string;
  readonly publicIp: string;
  readonly publicIpv6: string;
  /** Set by people: what to publish in place of the host's own address. */
  readonly publicIpOverwrite: string;
  readonly publicIpv6Overwrite: string;
  /** Set by people: as `--public-ip` and `--public-ipv6`, which they replace. */
  readonly nodePublicIp: string;
  readonly nodePublicIpv6: string;
}

export const USUAL_ANNOTATION_PREFIX = "flannel.alpha.coreos.com";

/** Throws a RangeError that says what the prefix must be. */
export function annotationNames(prefix: string): AnnotationNames {
  const full = completePrefix(prefix);
  return {
    managed: `${full}kube-subnet-manager`,
    backendType: `${full}backend-type`,
    backendData: `${full}backend-data`,
    backendV6Data: `${full}backend-v6-data`,
    publicIp: `${full}public-ip`,
    publicIpv6: `${full}public-ipv6`,
    publicIpOverwrite: `${full}public-ip-overwrite`,
    publicIpv6Overwrite: `${full}public-ipv6-overwrite`,
    nodePublicIp: `${full}node-public-ip`,
    nodePublicIpv6: `${full}node-public-ipv6`,
  };
}

function completePrefix(prefix: string): string {
  if (prefix.split("/").length > 2) throw new RangeError("must have at most one slash");
  const withSlash = prefix.includes("/") ? prefix : `${prefix}/`;
  const full = /[/-]$/.test(withSlash) ? withSlash : `${withSlash}-`;
  // Upstream's own pattern, which is not tied to the beginning either.
  if (!/(?:[a-z0-9_-]+\.)+[a-z0-9_-]+\/(?:[a-z0-9_-]+-)?$/.test(full)) {
    throw new RangeError(
      "must be a domain in lower case, and perhaps a name: flannel.example.com or example.com/flannel",
    );
  }
  return full;
}
