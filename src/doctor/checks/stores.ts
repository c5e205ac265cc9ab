// The store, its certificates, the clock, and Kubernetes: what keeps leases from being known.
import { tryParsePrefix } from "../../ip/address.ts";
import { containsPrefix } from "../../ip/prefix.ts";
import { defineCheck } from "../check.ts";

const SKEW_WARN_SECONDS = 5;
const SKEW_ERROR_SECONDS = 300;

export const clockSkew = defineCheck({
  name: "clock-skew",
  needs: ["store"],
  check: (_context, { store: { clockAheadSeconds = 0, fileFromFuture, certificates } }) => {
    if (Math.abs(clockAheadSeconds) > SKEW_WARN_SECONDS) {
      const how = clockAheadSeconds > 0 ? "ahead of" : "behind";
      return [
        {
          seconds: clockAheadSeconds,
          what: `this host is ${Math.round(Math.abs(clockAheadSeconds))} s ${how} the store`,
        },
      ];
    }
    const early = certificates.find(({ isClock }) => isClock);
    if (early !== undefined) return [{ seconds: SKEW_ERROR_SECONDS + 1, what: `${early.path} ${early.problem}` }];
    if (fileFromFuture === undefined || fileFromFuture.aheadSeconds < SKEW_WARN_SECONDS) return [];
    const { path, aheadSeconds } = fileFromFuture;
    return [
      {
        seconds: aheadSeconds,
        what: `${path} was written ${Math.round(aheadSeconds)} s later than this host's clock says it is`,
      },
    ];
  },
  severity: ({ seconds }) => (Math.abs(seconds) > SKEW_ERROR_SECONDS ? "error" : "warning"),
  evidence: ({ what }) => what,
  remedy: () => "timedatectl set-ntp true",
});

export const storeTls = defineCheck({
  name: "store-tls",
  needs: ["store"],
  check: (_context, { store: { certificates, endpoints, refusal, agentProblem } }) => [
    ...certificates
      .filter(({ isClock }) => !isClock)
      .map(({ path, problem, isSoon }) => ({ what: `${path} ${problem}`, isSoon })),
    ...endpoints
      .filter(({ failedStage }) => failedStage === "tls")
      .map(({ endpoint, reason }) => ({ what: `TLS with ${endpoint} fails: ${reason}`, isSoon: false })),
    ...[refusal?.message, agentProblem]
      .filter((problem) => problem !== undefined && isOfTls(problem))
      .slice(0, 1)
      .map((problem) => ({ what: problem ?? "", isSoon: false })),
  ],
  severity: ({ isSoon }) => (isSoon ? "warning" : "error"),
  evidence: ({ what }) => what,
  remedy: () =>
    "renew the certificate, or name the right files: --etcd-cafile, --etcd-certfile, --etcd-keyfile; then reload flanneld (SIGHUP)",
});

/** In the words of OpenSSL, Node and our own. */
function isOfTls(problem: string): boolean {
  return (
    !isRefusal(problem) &&
    /certificate|--etcd-cafile|\bTLS\b|\bSSL\b|altname|wrong version number|EPROTO|handshake/i.test(problem)
  );
}

/** Of the store itself, which was reached. */
function isRefusal(problem: string): boolean {
  return / was refused: /.test(problem);
}

export const storeAuth = defineCheck({
  name: "store-auth",
  severity: "error",
  needs: ["store"],
  check: (_context, { store: { refusal, kubernetes, agentProblem } }) => {
    if (kubernetes !== undefined) return [];
    if (refusal?.code === "STORE_UNAUTHORIZED") return [refusal.message];
    return agentProblem !== undefined && isRefusal(agentProblem) ? [agentProblem] : [];
  },
  evidence: (message) => `the store refuses this host: ${message}`,
  remedy: () =>
    "etcdctl role grant-permission ROLE readwrite --prefix=true /coreos.com/network/ # or another user: --etcd-username",
});

export const storeReadOnly = defineCheck({
  name: "store-readonly",
  severity: "error",
  needs: ["agent", "store"],
  check: (_context, { agent: { leaseWriteProblem }, store: { writeRefusal } }) => {
    if (writeRefusal !== undefined)
      return [`the store can be read, but would not take this host's lease: ${writeRefusal.message}`];
    return leaseWriteProblem === undefined ? [] : [leaseWriteProblem];
  },
  evidence: (what) => what,
  remedy: () =>
    "etcdctl alarm list; etcdctl endpoint status -w table # compact, defrag, alarm disarm; or bring the members back",
});

export const storeUnreachable = defineCheck({
  name: "store-unreachable",
  severity: "error",
  needs: ["store"],
  check: (_context, { store: { endpoints, agentProblem, description, refusal } }) => {
    const failed = endpoints.filter(({ failedStage }) => failedStage !== undefined && failedStage !== "tls");
    // One of several is enough.
    if (endpoints.length > 0 && failed.length < endpoints.length) return [];
    if (failed.length > 0)
      return failed.map(({ endpoint, failedStage, reason }) => stageText(endpoint, failedStage, reason));
    if (refusal?.code === "STORE_UNAVAILABLE" && !isOfTls(refusal.message)) return [refusal.message];
    return agentProblem === undefined || isOfTls(agentProblem) || isRefusal(agentProblem)
      ? []
      : [`the agent does not reach ${description ?? "the store"}: ${agentProblem}`];
  },
  evidence: (what) => what,
  remedy: () => "correct --etcd-endpoints, or start the store; known peers are reached meanwhile",
});

const stageTexts = {
  name: "its name has no address",
  connect: "no connection",
  tls: "no TLS",
  answer: "no answer",
} as const;

function stageText(endpoint: string, stage: keyof typeof stageTexts | undefined, reason: string | undefined): string {
  return `${endpoint}: ${stage === undefined ? "" : stageTexts[stage]}${reason === undefined ? "" : ` (${reason})`}`;
}

/** The agent's, in the condition that it keeps true to fact. */
const OWN_REASON = "FlannelNotReady";

export const kubeAccess = defineCheck({
  name: "kube-access",
  severity: "error",
  needs: ["store", "agent"],
  check: (_context, { store: { kubernetes, refusal }, agent: { own } }) => {
    if (kubernetes === undefined) return [];
    const { denied, publicIpAnnotation, nodeName, problem, networkUnavailable } = kubernetes;
    const isForeign =
      publicIpAnnotation !== undefined && own?.publicIp !== undefined && publicIpAnnotation !== own.publicIp;
    return [
      ...(denied.length === 0 ? [] : [`the API server does not allow flannel to ${denied.join(", ")}`]),
      ...(denied.length === 0 && refusal?.code === "STORE_UNAUTHORIZED" ? [refusal.message] : []),
      ...(problem === undefined ? [] : [problem]),
      ...(isForeign
        ? [
            `the Node ${nodeName} announces the public IP ${publicIpAnnotation}, but this host announces ${own.publicIp}`,
          ]
        : []),
      // What the agent itself wrote follows from trouble that others report.
      ...(networkUnavailable === undefined || networkUnavailable.reason === OWN_REASON
        ? []
        : [
            `another program gave the Node ${nodeName} the condition NetworkUnavailable (${networkUnavailable.reason}: ${networkUnavailable.message}): no pods are placed there`,
          ]),
    ];
  },
  evidence: (what) => what,
  remedy: () =>
    "kubectl apply -f kube-flannel.yml # its ClusterRole and ClusterRoleBinding; a restarted agent writes its annotations again",
});

export const kubePodCidr = defineCheck({
  name: "kube-podcidr",
  severity: "error",
  needs: ["store"],
  check: ({ networks }, { store: { kubernetes } }) => {
    if (kubernetes?.podCidrs === undefined) return [];
    const { nodeName, podCidrs, otherNodesHaveCidrs } = kubernetes;
    if (podCidrs.length === 0) {
      const all = otherNodesHaveCidrs === true ? "others have: the cluster CIDR is used up" : "no Node has one";
      return [{ nodeName, what: `the Node ${nodeName} has no podCIDR; ${all}`, isAll: otherNodesHaveCidrs !== true }];
    }
    const outside = podCidrs.filter((text) => {
      const prefix = tryParsePrefix(text);
      return (
        prefix !== undefined && networks.length > 0 && !networks.some((network) => containsPrefix(network, prefix))
      );
    });
    if (outside.length === 0) return [];
    const what = `the podCIDR ${outside.join(", ")} of the Node ${nodeName} is not in flannel's Network ${networks.join(" and ")}`;
    return [{ nodeName, what, isAll: false }];
  },
  evidence: ({ what }) => what,
  remedy: ({ nodeName, isAll }) =>
    isAll
      ? "start kube-controller-manager with --allocate-node-cidrs=true and --cluster-cidr equal to flannel's Network"
      : `kubectl get node ${nodeName} -o jsonpath='{.spec.podCIDRs}' # Network in kube-flannel-cfg must hold it; a used up range needs a larger --cluster-cidr`,
});
