// The Kubernetes project's own conformance tests of networking, on our manifest: every one that there is.
import { mkdir, readFile, rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KubernetesCluster } from "../../../lab/kubernetes/cluster.ts";
import { makeConformanceImages } from "../../../lab/kubernetes/conformance-images.ts";
import { conformanceProgram } from "../../../lab/kubernetes/conformance-programs.ts";
import { clusterDns, coreDnsManifest } from "../../../lab/kubernetes/core-dns.ts";
import { kubernetesProgram } from "../../../lab/kubernetes/program.ts";
import { boxNamespace } from "../../../lab/namespace.ts";
import { packageImage } from "../../../packaging/image/image.ts";

const directory = "/run/conformance";
const flannelImage = `${directory}/flannel-image.tar`;
const report = `${directory}/report`;
const FOCUS = "\\[sig-network\\].*\\[Conformance\\]";
/** Half of them wait for something that does not come, for up to a minute. */
const TIMEOUT_MS = 18 * 60_000;

let cluster: KubernetesCluster;

beforeAll(async () => {
  await mkdir(report, { recursive: true });
  const manifest = await readFile("deploy/kubernetes/kube-flannel.yml", "utf8");
  packageImage({ name: /^\s*image: (\S+)$/m.exec(manifest)?.[1] ?? "", output: flannelImage, isQuick: true });
  const images = [flannelImage, ...(await makeConformanceImages(directory))];
  cluster = await KubernetesCluster.start({ images, clusterDns });
  for (const image of images) await rm(image);
  await cluster.apply(manifest);
  for (const { name, number } of cluster.nodes.map((node, index) => ({ name: node.name, number: index + 1 }))) {
    await cluster.untilNode(number).catch((error: unknown) => cluster.explain(error));
    // The API server passes requests on to pods and is no node: it is told the way.
    const { spec } = await cluster.api.node(name);
    await boxNamespace.ip("route", "add", spec.podCIDR ?? "", "via", cluster.node(number).host.ipv4 ?? "");
  }
  await cluster.apply(coreDnsManifest);
  const rollout = ["rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout=60s"];
  await cluster.api.kubectl(rollout).catch((error: unknown) => cluster.explain(error));
}, TIMEOUT_MS);

afterAll(() => cluster?.[Symbol.asyncDispose]());

test("all conformance tests of [sig-network] pass", { timeout: TIMEOUT_MS + 60_000 }, async () => {
  const argv = [
    ...[conformanceProgram("e2e.test"), `--kubeconfig=${cluster.api.adminKubeconfig}`, "--provider=skeleton"],
    ...[`--kubectl-path=${kubernetesProgram("kubectl")}`, `--report-dir=${report}`, "--disable-log-dump"],
    ...["--ginkgo.no-color", "--ginkgo.silence-skips", `--ginkgo.focus=${FOCUS}`],
  ];
  const { stdout, stderr } = await boxNamespace.tryRun(argv, { timeoutMs: TIMEOUT_MS });
  const results = await readResults().catch((error: unknown) => {
    throw new Error(`no report (${String(error)}):\n${(stdout + stderr).slice(-8_000)}`);
  });
  const failed = results.filter(({ status }) => status !== "passed");
  if (failed.length > 0) console.log(failed.map(({ name, reason }) => `${name}\n${reason}`).join("\n\n"));
  expect(failed.map(({ name, status }) => `${status}: ${name}`)).toEqual([]);
  expect(results.length, "as many as Kubernetes 1.37 has").toBe(47);
});

interface Result {
  readonly name: string;
  readonly status: string;
  readonly reason: string;
}

/** Of those that ran, from the report as JUnit has it. */
async function readResults(): Promise<readonly Result[]> {
  const text = await readFile(`${report}/junit_01.xml`, "utf8");
  const cases = [...text.matchAll(/<testcase name="([^"]*)"[^>]* status="([^"]*)"[^>]*?(?:\/>|>(.*?)<\/testcase>)/gs)];
  return cases
    .map(([, name = "", status = "", inner = ""]) => ({
      ...{ name, status },
      reason: inner.replace(/<system-(?:out|err)>.*$/s, "").slice(0, 3_000),
    }))
    .filter(({ name, status }) => status !== "skipped" && name.includes("[sig-network]"));
}
