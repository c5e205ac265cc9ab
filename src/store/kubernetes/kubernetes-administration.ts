// What operators do to a network in Kubernetes with flannelctl: look at leases and the configuration, and take a Node out
// of the network for good. Subnets are Kubernetes' to give; the configuration is a ConfigMap.
import { FlannelError, hasCode } from "../../errors.ts";
import { memberOf, textOf } from "../../json/untyped-fields.ts";
import type { ApiAccess } from "../../kube-api/api-access.ts";
import { ApiClient } from "../../kube-api/api-client.ts";
import { hasHttpStatus } from "../../kube-api/api-errors.ts";
import { openAccess } from "../../kube-api/open-access.ts";
import type { Lease } from "../../lease/lease.ts";
import type { LeaseAdministration, OwnRecord, ReleaseOutcome } from "../lease-administration.ts";
import type { KubernetesStoreOptions } from "../store-options.ts";
import type { NetworkConfigDocument } from "../subnet-store.ts";
import { KubernetesRevision } from "./kubernetes-revision.ts";
import { listNodeLeases } from "./list-node-leases.ts";
import { NetConfigFile } from "./net-config-file.ts";
import { removalPatch } from "./node-annotations.ts";
import { annotationNamesOf, NodeApi } from "./node-api.ts";
import { uidOf } from "./node-lease.ts";
import { readOwnRecord } from "./own-record.ts";

/** Where upstream's manifest and ours put the configuration. */
const CONFIG_MAP = { namespace: "kube-flannel", name: "kube-flannel-cfg", key: "net-conf.json" } as const;

export class KubernetesAdministration implements LeaseAdministration {
  readonly warnings: readonly string[];
  readonly #api: NodeApi;
  readonly #configFile: NetConfigFile;
  readonly #configNamespace: string;
  readonly #options: KubernetesStoreOptions;

  private constructor(
    options: KubernetesStoreOptions,
    access: ApiAccess,
    env: Readonly<Record<string, string | undefined>>,
  ) {
    this.#api = new NodeApi(new ApiClient(access, env, "flannelctl"), annotationNamesOf(options));
    this.#configFile = new NetConfigFile(options.netConfigFile);
    this.#configNamespace = options.pod?.namespace ?? CONFIG_MAP.namespace;
    this.#options = options;
    this.warnings = access.warnings;
  }

  /** Throws `CONFIG_INVALID`. */
  static async open(
    options: KubernetesStoreOptions,
    env: Readonly<Record<string, string | undefined>>,
  ): Promise<KubernetesAdministration> {
    return new KubernetesAdministration(options, await openAccess(options, env), env);
  }

  /** The file where there is one, as in the agent's pod; else the ConfigMap that it comes from. */
  async networkConfig(signal: AbortSignal): Promise<NetworkConfigDocument> {
    try {
      return await this.#configFile.read();
    } catch (error) {
      if (!hasCode(error, "CONFIG_MISSING")) throw error;
    }
    const { name, key } = CONFIG_MAP;
    const namespace = this.#configNamespace;
    const subject = { operation: `read ConfigMap ${namespace}/${name}`, verb: "get", resource: "configmaps" } as const;
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/configmaps/${name}`;
    try {
      const map = await this.#api.client.call({ ...subject, method: "GET", path }, signal);
      const text = textOf(memberOf(memberOf(map, "data"), key));
      const resourceVersion = textOf(memberOf(memberOf(map, "metadata"), "resourceVersion")) ?? "0";
      if (text !== undefined) return { text, revision: new KubernetesRevision(resourceVersion) };
    } catch (error) {
      if (!hasHttpStatus(error, 404)) throw error;
    }
    throw new FlannelError(
      "CONFIG_MISSING",
      `there is no file ${this.#configFile.path} here, and no ${key} in ConfigMap ${namespace}/${name}; ` +
        "--net-config-path names another file",
    );
  }

  setConfig(): Promise<NetworkConfigDocument> {
    const { namespace, name } = CONFIG_MAP;
    return Promise.reject(
      new FlannelError(
        "USAGE",
        `in Kubernetes the network configuration is a ConfigMap: kubectl -n ${namespace} edit configmap ${name}, then ` +
          `kubectl -n ${namespace} rollout restart daemonset kube-flannel-ds`,
      ),
    );
  }

  list(signal: AbortSignal): Promise<readonly Lease[]> {
    return listNodeLeases(this.#api, signal);
  }

  /** In the agent's pod these are its own credentials; a kubeconfig file may be anybody's. */
  ownRecord(usualName: string, signal: AbortSignal): Promise<OwnRecord> {
    const { kubeconfigFile, apiUrl, nodeName, pod } = this.#options;
    const names = { ...(nodeName !== undefined && { nodeName }), ...(pod !== undefined && { pod }) };
    const asksRights = kubeconfigFile === undefined && apiUrl === undefined;
    return readOwnRecord(this.#api, { ...names, usualName, asksRights }, signal);
  }

  /** A podCIDR is its Node's for as long as that exists. */
  timeToLive(): Promise<ReadonlyMap<string, number>> {
    return Promise.resolve(new Map());
  }

  isSameGrant(before: Lease, now: Lease): boolean {
    return uidOf(before) !== undefined && uidOf(before) === uidOf(now);
  }

  reserve(): Promise<never> {
    const message = "Kubernetes gives each Node its subnet (spec.podCIDR) and keeps it: there is nothing to reserve";
    return Promise.reject(new FlannelError("USAGE", message));
  }

  /** Takes flannel's annotations and condition off the Node `key`; its podCIDR stays Kubernetes' own. */
  async release(
    key: string,
    { force = false }: { readonly force?: boolean },
    signal: AbortSignal,
  ): Promise<ReleaseOutcome> {
    if (!force) {
      throw new FlannelError(
        "LEASE_CONFLICT",
        `Node ${key} keeps its podCIDR as long as it exists; --force takes flannel's annotations and the condition ` +
          "NetworkUnavailable off it, and the other hosts then send it no more packets",
      );
    }
    const record = await this.#api.get(key, signal).catch((error: unknown) => {
      throw hasCode(error, "SUBNET_UNASSIGNED") ? new FlannelError("LEASE_LOST", error.message) : error;
    });
    const patch = removalPatch(this.#api.names, record.annotations);
    if (Object.keys(patch).length > 0) await this.#api.patchAnnotations(key, patch, signal);
    // Another add-on's stays.
    if (/^Flannel/.test(record.networkUnavailable?.reason ?? "")) await this.#api.removeCondition(key, signal);
    return "deleted";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#api.client[Symbol.asyncDispose]();
  }
}
