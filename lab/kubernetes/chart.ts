// The Helm chart and what is made from it: the plain manifests and the kustomize overlays. The chart is the one place where
// they are written; `scripts/write-kube-manifests.ts` makes the rest, and a test compares.
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { run, tryRun } from "../command.ts";
import { helmProgram } from "./program.ts";

export const checkout = fileURLToPath(new URL("../../", import.meta.url));
export const chart = join(checkout, "deploy/chart/flannel");
/** Each directory below is an overlay that has the name of a set of values. */
export const overlays = join(checkout, "deploy/kustomize");

const suffix = "-values.yaml";
const made = "Made from deploy/chart/flannel by scripts/write-kube-manifests.ts: change it there.";

/** The names of the sets of values that lie beside the chart, for its tests: `dual-stack`. */
export function valueSets(): readonly string[] {
  const files = readdirSync(join(chart, "ci")).filter((name) => name.endsWith(suffix));
  return files.map((name) => basename(name, suffix)).sort();
}

/** The file of a set of values. */
export function valuesOf(set: string): string {
  return join(chart, "ci", `${set}${suffix}`);
}

export function overlayNames(): readonly string[] {
  return readdirSync(overlays).sort();
}

/** What `helm template` makes: YAML documents, without helm's remarks on where each comes from. */
export async function renderChart(args: readonly string[]): Promise<string> {
  const text = await run(helmCommand(["template", "flannel", chart, "--namespace=kube-flannel", ...args]));
  return text.replaceAll(/^# Source: .*\n/gm, "").replaceAll(/\n{2,}/g, "\n");
}

/** As `helm template`, for values that it refuses. */
export function tryRenderChart(args: readonly string[]) {
  return tryRun(helmCommand(["template", "flannel", chart, "--namespace=kube-flannel", ...args]));
}

/** Helm with its files in the box, not in the home directory. */
export function helmCommand(args: readonly string[]): readonly string[] {
  const home = ["CACHE", "CONFIG", "DATA"].map((kind) => `HELM_${kind}_HOME=/tmp/flannel-lab-helm`);
  return ["env", ...home, helmProgram(), ...args];
}

/** The text of each file that is made from the chart, by its path in the checkout. */
export async function filesFromChart(): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  const manifest = await renderChart(["--set=namespace.create=true"]);
  files.set("deploy/kubernetes/kube-flannel.yml", `${manifestHead}${manifest}`);
  const cleanup = await renderChart(["--set=namespace.create=true,cleanup.enabled=true"]);
  files.set("deploy/kubernetes/kube-flannel-cleanup.yml", `${cleanupHead}${cleanup}`);
  for (const name of overlayNames()) {
    const config = await renderChart([`--values=${valuesOf(name)}`, "--show-only=templates/config.yaml"]);
    files.set(`deploy/kustomize/${name}/net-conf.yml`, overlayPatch(config));
  }
  return files;
}

/** Of the ConfigMap only the network configuration, and what names it. */
function overlayPatch(config: string): string {
  const netConf = config.slice(config.indexOf("  net-conf.json: |"));
  return `# ${made}
apiVersion: v1
kind: ConfigMap
metadata:
  name: kube-flannel-cfg
  namespace: kube-flannel
data:
${netConf}`;
}

const manifestHead = `# flannel as the network of a Kubernetes cluster: kubectl apply -f kube-flannel.yml
#
# Names and layout are upstream's, so that applying this replaces upstream's DaemonSet, and the other way round.
# Set "Network" below to the --cluster-cidr of kube-controller-manager.
#
# ${made}
`;

const cleanupHead = `# Takes flannel off every node, before it is deleted for good: docs/kubernetes.md, "Removing it".
#
# ${made}
`;
