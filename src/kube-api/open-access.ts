// Which access the flags mean: the URL, the kubeconfig file with the URL in place of its server, or that of a pod.
import { type ApiAccess, anonymous } from "./api-access.ts";
import { type Environment, inClusterAccess } from "./in-cluster.ts";
import { kubeconfigAccess } from "./kubeconfig.ts";
import { parseServers } from "./server-address.ts";

export interface AccessOptions {
  readonly apiUrl?: string;
  readonly kubeconfigFile?: string;
}

/** As client-go: a URL alone is used without credentials. Throws `CONFIG_INVALID`. */
export async function openAccess({ apiUrl, kubeconfigFile }: AccessOptions, env: Environment): Promise<ApiAccess> {
  if (kubeconfigFile !== undefined) return await kubeconfigAccess(kubeconfigFile, apiUrl);
  if (apiUrl === undefined) return inClusterAccess(env);
  const servers = parseServers(apiUrl, "--kube-api-url");
  return {
    servers,
    isInsecure: false,
    credentials: anonymous,
    headers: {},
    warnings: [],
    description: `Kubernetes API ${servers.map(({ origin }) => origin).join(",")}`,
  };
}
