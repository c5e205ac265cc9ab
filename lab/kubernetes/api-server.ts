// A real Kubernetes API server in the box, on an etcd of its own: TLS, RBAC, the Node authorizer. Node objects are made
// by hand, or by kubelets; the controller manager (podCIDRs, service accounts' default, node life cycle) on demand.
//
//   await using api = await KubernetesApi.start();
//   await api.createNode("n1", { podCidrs: ["10.244.1.0/24"] });
//   const account = await api.createServiceAccount("kube-flannel", "flannel", flannelRules);
//   flanneld --kube-subnet-mgr --kubeconfig-file=<await api.kubeconfigOfAccount(account)>   with NODE_NAME=n1
import { createSign } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { requireBox } from "../box.ts";
import { type CommandResult, run, tryRun } from "../command.ts";
import { Daemon } from "../daemon.ts";
import { Etcd } from "../etcd.ts";
import { boxNamespace } from "../namespace.ts";
import { KubernetesApiClient, KubernetesApiError } from "./api-client.ts";
import { type Credentials, KubernetesPki } from "./pki.ts";
import { kubernetesProgram } from "./program.ts";

export type Families = "ipv4" | "dual" | "ipv6";

export interface KubernetesApiOptions {
  /** Of services and pods; default IPv4. */
  readonly families?: Families;
  /** Client addresses of a running store, as `http://127.0.0.1:2379`. Default: an etcd that is started for this. */
  readonly storeEndpoints?: string;
  /** Added to the API server's command line. */
  readonly args?: readonly string[];
}

/** What a node tells flannel: addresses and annotations beside its podCIDRs. */
export interface NodeOptions {
  /** None: a node that waits for them. */
  readonly podCidrs?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface NodeObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly podCIDR?: string; readonly podCIDRs?: readonly string[] };
  readonly status?: { readonly conditions?: readonly NodeCondition[] };
}

export interface NodeCondition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastHeartbeatTime?: string;
  readonly lastTransitionTime?: string;
}

export interface PolicyRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

export interface ServiceAccount {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** What upstream's manifest grants to flannel. */
export const flannelRules: readonly PolicyRule[] = [
  { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
  { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
  { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
];

const issuer = "https://kubernetes.default.svc";
const port = 6443;

const networks = {
  ipv4: { services: "10.96.0.0/16", pods: "10.244.0.0/16", advertised: "192.168.50.1" },
  dual: {
    services: "10.96.0.0/16,fd00:96::/112",
    pods: "10.244.0.0/16,fd00:244::/56",
    advertised: "192.168.50.1",
  },
  ipv6: { services: "fd00:96::/112", pods: "fd00:244::/56", advertised: "fd00:50::1" },
} as const;

const serverNames = [
  ...["127.0.0.1", "::1", "192.168.50.1", "fd00:50::1", "10.96.0.1", "fd00:96::1"].map((address) => `IP:${address}`),
  ...["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map((name) => `DNS:${name}`),
];

export class KubernetesApi implements AsyncDisposable {
  readonly pki: KubernetesPki;
  readonly families: Families;
  /** The process: `kill9` by `stop()`, `pause()`, `resume()`; after `stop` see `restart`. */
  readonly server: Daemon;
  /** Requests as `system:masters`. */
  readonly client: KubernetesApiClient;
  /** As `system:masters`. */
  readonly adminKubeconfig: string;
  /** The one that was started for this API server. */
  readonly etcd: Etcd | undefined;
  readonly #cleanup: AsyncDisposableStack;
  #controllerManager: Daemon | undefined;
  #kubeconfigs = 0;

  private constructor(
    parts: Pick<KubernetesApi, "pki" | "families" | "server" | "client" | "adminKubeconfig" | "etcd">,
    cleanup: AsyncDisposableStack,
  ) {
    this.pki = parts.pki;
    this.families = parts.families;
    this.server = parts.server;
    this.client = parts.client;
    this.adminKubeconfig = parts.adminKubeconfig;
    this.etcd = parts.etcd;
    this.#cleanup = cleanup;
  }

  /** Returns when it is ready. It listens on all addresses of the box, so that hosts of a LAN reach it. */
  static async start(options: KubernetesApiOptions = {}): Promise<KubernetesApi> {
    requireBox();
    await using cleanup = new AsyncDisposableStack();
    const directory = await mkdtemp("/run/flannel-lab-kubernetes-");
    cleanup.defer(() => rm(directory, { recursive: true, force: true }));
    const pkiOf = KubernetesPki.create(join(directory, "pki"));
    const etcd = options.storeEndpoints === undefined ? cleanup.use(await Etcd.start()) : undefined;
    const pki = await pkiOf;
    const admin = await pki.issueClient("admin", ["system:masters"]);
    const adminKubeconfig = await pki.writeKubeconfig("admin", addressOf("127.0.0.1"), admin);
    const argv = await serverArguments(pki, options, etcd?.endpoints ?? options.storeEndpoints ?? "");
    const server = cleanup.use(new Daemon("kube-apiserver", boxNamespace, argv));
    const client = cleanup.use(new KubernetesApiClient(port, pki.caFile, admin));
    server.start();
    await untilServes(server, client);
    const parts = { pki, families: options.families ?? "ipv4", server, client, adminKubeconfig, etcd };
    return new KubernetesApi(parts, cleanup.move());
  }

  /** For clients in the box; hosts of a LAN use `serverAddress`. */
  get url(): string {
    return addressOf("127.0.0.1");
  }

  /** For hosts of the LAN. */
  get serverAddress(): string {
    return addressOf(networks[this.families].advertised);
  }

  /** The network of all pods, as the controller manager divides it: one or two CIDRs. */
  get podNetworks(): readonly string[] {
    return networks[this.families].pods.split(",");
  }

  /**
   * Ends the server, if it still runs, and starts it again: watches are cut, and its memory of changes is gone. Not by
   * SIGTERM: it would wait a minute for its watchers to go.
   */
  async restart(): Promise<void> {
    await this.server.stop();
    this.server.start();
    await untilServes(this.server, this.client);
  }

  /** Gives podCIDRs to nodes that have none, makes default accounts, taints lost nodes. */
  async startControllerManager(args: readonly string[] = []): Promise<Daemon> {
    if (this.#controllerManager !== undefined) throw new Error("the controller manager runs already");
    const kubeconfig = await this.kubeconfigOfUser("system:kube-controller-manager");
    const { services, pods } = networks[this.families];
    const argv = [
      kubernetesProgram("controller-manager"),
      ...kubeconfigFlags(kubeconfig),
      ...["--leader-elect=false", "--use-service-account-credentials", "--allocate-node-cidrs=true"],
      `--service-account-private-key-file=${this.pki.tokenKeyFile}`,
      `--root-ca-file=${this.pki.caFile}`,
      ...[`--cluster-cidr=${pods}`, `--service-cluster-ip-range=${services}`],
      // Or it makes a directory on the machine.
      `--flex-volume-plugin-dir=${join(this.pki.directory, "volume-plugins")}`,
      ...args,
    ];
    this.#controllerManager = this.#cleanup.use(new Daemon("kube-controller-manager", boxNamespace, argv));
    this.#controllerManager.start();
    return this.#controllerManager;
  }

  /** Puts pods without a node on one; those of a DaemonSet too. */
  async startScheduler(): Promise<Daemon> {
    const kubeconfig = await this.kubeconfigOfUser("system:kube-scheduler");
    const argv = [kubernetesProgram("scheduler"), ...kubeconfigFlags(kubeconfig), "--leader-elect=false"];
    const scheduler = this.#cleanup.use(new Daemon("kube-scheduler", boxNamespace, argv));
    scheduler.start();
    return scheduler;
  }

  /** A kubeconfig file for a client certificate; RBAC decides what its user may. Default server: the box's. */
  async kubeconfigOfUser(user: string, groups: readonly string[] = [], server = this.url): Promise<string> {
    return this.#writeKubeconfig(server, await this.pki.issueClient(user, groups));
  }

  /** A kubeconfig file with a token of a service account. */
  async kubeconfigOfAccount(account: ServiceAccount, server = this.url): Promise<string> {
    return this.#writeKubeconfig(server, { token: await this.token(account) });
  }

  /** A kubeconfig file with other credentials: a token that expires, or none. */
  kubeconfigOf(credentials: Credentials, server = this.url): Promise<string> {
    return this.#writeKubeconfig(server, credentials);
  }

  /**
   * A token as kubelets project them into pods. The API server itself grants ten minutes at least; these may be shorter,
   * and 0 or less has expired. (It accepts them for another minute, in case its clock is ahead.)
   */
  async token(account: ServiceAccount, lifetimeSeconds = 3600): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const { namespace, name, uid } = account;
    const claims = {
      ...{ iss: issuer, aud: [issuer], sub: `system:serviceaccount:${namespace}:${name}` },
      ...{ iat: now - 120, nbf: now - 120, exp: now + lifetimeSeconds },
      "kubernetes.io": { namespace, serviceaccount: { name, uid } },
    };
    const [header, payload] = [{ alg: "RS256", typ: "JWT" }, claims].map((part) =>
      Buffer.from(JSON.stringify(part)).toString("base64url"),
    );
    const signer = createSign("RSA-SHA256").update(`${header}.${payload}`);
    return `${header}.${payload}.${signer.sign(await readFile(this.pki.tokenKeyFile), "base64url")}`;
  }

  /** Makes the account, with its namespace when that is missing, and grants the rules in the whole cluster. */
  async createServiceAccount(namespace: string, name: string, rules: readonly PolicyRule[]): Promise<ServiceAccount> {
    const metadata = { name: `${namespace}-${name}` };
    const rbac = "/apis/rbac.authorization.k8s.io/v1";
    await this.client.post("/api/v1/namespaces", { metadata: { name: namespace } }).catch(unlessThere);
    const accounts = `/api/v1/namespaces/${namespace}/serviceaccounts`;
    const account = await this.client.post<{ metadata: { uid: string } }>(accounts, { metadata: { name } });
    await this.client.post(`${rbac}/clusterroles`, { metadata, rules });
    await this.client.post(`${rbac}/clusterrolebindings`, {
      metadata,
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: metadata.name },
      subjects: [{ kind: "ServiceAccount", namespace, name }],
    });
    return { namespace, name, uid: account.metadata.uid };
  }

  /** Changes what `createServiceAccount` has granted, from the next request on. */
  async grant(account: ServiceAccount, rules: readonly PolicyRule[]): Promise<void> {
    const path = `/apis/rbac.authorization.k8s.io/v1/clusterroles/${account.namespace}-${account.name}`;
    await this.client.patch(path, { rules }, "merge");
  }

  createNode(name: string, options: NodeOptions = {}): Promise<NodeObject> {
    const { podCidrs, annotations, labels } = options;
    const spec = podCidrs === undefined ? {} : { podCIDR: podCidrs[0], podCIDRs: podCidrs };
    return this.client.post("/api/v1/nodes", { metadata: { name, annotations, labels }, spec });
  }

  node(name: string): Promise<NodeObject> {
    return this.client.get(`/api/v1/nodes/${name}`);
  }

  async deleteNode(name: string): Promise<void> {
    await this.client.delete(`/api/v1/nodes/${name}`);
  }

  /** Gives podCIDRs to a node that has none; they cannot be changed later. */
  givePodCidrs(name: string, podCidrs: readonly string[]): Promise<NodeObject> {
    return this.client.patch(`/api/v1/nodes/${name}`, { spec: { podCIDR: podCidrs[0], podCIDRs: podCidrs } });
  }

  /** `null` removes an annotation. */
  annotateNode(name: string, annotations: Readonly<Record<string, string | null>>): Promise<NodeObject> {
    return this.client.patch(`/api/v1/nodes/${name}`, { metadata: { annotations } });
  }

  /** kubectl's standard output, as the administrator. */
  kubectl(words: readonly string[], input = ""): Promise<string> {
    return run(this.#kubectl(words), { input });
  }

  tryKubectl(words: readonly string[], input = ""): Promise<CommandResult> {
    return tryRun(this.#kubectl(words), { input });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }

  #kubectl(words: readonly string[]): readonly string[] {
    return [kubernetesProgram("kubectl"), `--kubeconfig=${this.adminKubeconfig}`, "--cache-dir=/run/kubectl", ...words];
  }

  #writeKubeconfig(server: string, credentials: Credentials): Promise<string> {
    this.#kubeconfigs += 1;
    return this.pki.writeKubeconfig(`client-${this.#kubeconfigs}`, server, credentials);
  }
}

function kubeconfigFlags(kubeconfig: string): readonly string[] {
  return ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"].map(
    (flag) => `--${flag}=${kubeconfig}`,
  );
}

function addressOf(address: string): string {
  return `https://${address.includes(":") ? `[${address}]` : address}:${port}`;
}

function untilServes(server: Daemon, client: KubernetesApiClient): Promise<void> {
  return server.until("the API server is ready", async () => (await client.text("GET", "/readyz")) === "ok");
}

function unlessThere(error: unknown): void {
  if (!(error instanceof KubernetesApiError && error.statusCode === 409)) throw error;
}

async function serverArguments(
  pki: KubernetesPki,
  options: KubernetesApiOptions,
  storeEndpoints: string,
): Promise<readonly string[]> {
  const network = networks[options.families ?? "ipv4"];
  const [serving, kubelets] = await Promise.all([
    pki.issueServer(serverNames),
    pki.issueClient("kube-apiserver-kubelet-client", ["system:masters"]),
  ]);
  return [
    kubernetesProgram("apiserver"),
    ...[`--etcd-servers=${storeEndpoints}`, `--secure-port=${port}`, "--bind-address=::"],
    ...[`--advertise-address=${network.advertised}`, `--service-cluster-ip-range=${network.services}`],
    ...[`--tls-cert-file=${serving.certificateFile}`, `--tls-private-key-file=${serving.keyFile}`],
    ...[`--client-ca-file=${pki.caFile}`, `--service-account-issuer=${issuer}`],
    `--kubelet-client-certificate=${kubelets.certificateFile}`,
    `--kubelet-client-key=${kubelets.keyFile}`,
    // By name it would ask DNS for it.
    "--kubelet-preferred-address-types=InternalIP",
    `--service-account-key-file=${pki.tokenKeyFile}`,
    `--service-account-signing-key-file=${pki.tokenKeyFile}`,
    ...["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true"],
    ...(options.args ?? []),
  ];
}
