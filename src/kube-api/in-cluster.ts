// Access from inside a pod: the address in the environment, CA and token in the files of the service account.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { FlannelError } from "../errors.ts";
import { type ApiAccess, anonymous } from "./api-access.ts";
import { TokenFile } from "./credentials.ts";

const DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Throws `CONFIG_INVALID` outside of a pod. */
export function inClusterAccess(env: Environment, directory = DIRECTORY): ApiAccess {
  const [host = "", port = ""] = [env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]];
  if (host === "" || port === "") {
    throw new FlannelError(
      "CONFIG_INVALID",
      "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, as they are in a pod: outside of one give " +
        "--kubeconfig-file or --kube-api-url",
    );
  }
  const server = new URL(`https://${host.includes(":") ? `[${host}]` : host}:${port}`);
  const authority = join(directory, "ca.crt");
  const hasAuthority = existsSync(authority);
  return {
    servers: [server],
    ...(hasAuthority && { authority: { file: authority } }),
    isInsecure: false,
    credentials: new TokenFile(join(directory, "token"), anonymous),
    headers: {},
    warnings: hasAuthority
      ? []
      : [`${authority} is missing: the API server's certificate is checked with the system's CAs`],
    description: `Kubernetes API ${server.origin}`,
  };
}
