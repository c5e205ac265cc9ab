// Our image and our manifest, as a user would have them, with another network configuration.
import { readFileSync } from "node:fs";
import { packageImage } from "../../packaging/image/image.ts";

export interface NetConf {
  readonly Backend: { readonly Type: string };
}

const manifestFile = "deploy/kubernetes/kube-flannel.yml";

/** Writes the image that the manifest names, and gives the manifest with this network configuration. */
export function packageFlannelImage(output: string, netConf: NetConf): string {
  const manifest = flannelManifest(netConf);
  const name = /^\s*image: (\S+)$/m.exec(manifest)?.[1];
  if (name === undefined) throw new Error(`${manifestFile} names no image`);
  packageImage({ name, output, isQuick: true });
  return manifest;
}

function flannelManifest(netConf: NetConf): string {
  const manifest = withTun(readFileSync(manifestFile, "utf8"), netConf.Backend.Type === "udp");
  const config = /(^ {2}net-conf\.json: )\|\n(?: {4}.*\n)+/m;
  if (!config.test(manifest)) throw new Error(`${manifestFile} has no net-conf.json`);
  // A JSON text is YAML as well, between single quotes without any in it.
  return manifest.replace(config, `$1'${JSON.stringify(netConf)}'\n`);
}

/** The udp backend opens /dev/net/tun, which takes a privileged container, as with upstream. */
function withTun(manifest: string, isWanted: boolean): string {
  if (!isWanted) return manifest;
  const privileged = manifest
    .replace("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true")
    .replace("privileged: false", "privileged: true");
  if (privileged.includes("privileged: true")) return privileged;
  throw new Error(`${manifestFile} says nothing of "privileged"`);
}
