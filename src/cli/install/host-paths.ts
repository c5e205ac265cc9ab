// Where `flannelctl init` and `join` put their files on a host, and where every other command looks for them.
import { join, resolve } from "node:path";

export interface HostPaths {
  /** Empty: the host's own `/`. */
  readonly root: string;
  readonly etcDirectory: string;
  /** What the agent and flannelctl get: endpoints and files of the store. */
  readonly envFile: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly subnetFile: string;
  readonly stateDirectory: string;
  /** flannel-store's, on the host that keeps the store. */
  readonly dataDirectory: string;
  /** The store's certificates, tokens and members. */
  readonly clusterDirectory: string;
  readonly unitDirectory: string;
}

/** How flannelctl is called on this host, in advice. */
export function flannelctlOn({ root }: HostPaths): string {
  return root === "" ? "flannelctl" : `flannelctl --root ${root}`;
}

/** `root` as given by `--root`; "" and "/" are the host itself. */
export function hostPaths(root: string): HostPaths {
  const base = root === "" || resolve(root) === "/" ? "" : resolve(root);
  const etcDirectory = `${base}/etc/flannel`;
  const dataDirectory = `${base}/var/lib/flannel-store`;
  return {
    root: base,
    etcDirectory,
    envFile: join(etcDirectory, "flanneld.env"),
    caFile: join(etcDirectory, "ca.pem"),
    certFile: join(etcDirectory, "host.pem"),
    keyFile: join(etcDirectory, "host-key.pem"),
    subnetFile: `${base}/run/flannel/subnet.env`,
    stateDirectory: `${base}/var/lib/flannel`,
    dataDirectory,
    clusterDirectory: join(dataDirectory, "cluster"),
    unitDirectory: `${base}/etc/systemd/system`,
  };
}
