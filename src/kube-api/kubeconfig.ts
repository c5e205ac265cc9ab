// Reads a kubeconfig file: the current context's cluster and user, in every form that people have them (embedded or in
// files, tokens, exec plugins, proxies). YAML is parsed by a library, loaded when such a file is given.
import { readFileSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { describeError, FlannelError } from "../errors.ts";
import { isRecord, itemsOf, memberOf, textOf } from "../json/untyped-fields.ts";
import { type ApiAccess, anonymous, type CredentialSource, type PemSource } from "./api-access.ts";
import { type FixedCredentials, readPem, StaticCredentials, TokenFile } from "./credentials.ts";
import { ExecCredentials, type ExecPlugin } from "./exec-credential.ts";
import { parseServers } from "./server-address.ts";

/** Real files have a few KiB, with embedded certificates. */
const MAX_FILE_LENGTH = 1024 * 1024;

/** `apiUrl` replaces the server of the file. Throws `CONFIG_INVALID`, naming what is wrong with the file. */
export async function kubeconfigAccess(file: string, apiUrl: string | undefined): Promise<ApiAccess> {
  const config = await parse(file);
  const wrong = (reason: string) => new FlannelError("CONFIG_INVALID", `kubeconfig file ${file}: ${reason}`);
  const directory = dirname(resolve(file));
  const contextName = textOf(memberOf(config, "current-context"));
  const context = contextName === undefined ? undefined : named(config, "contexts", "context", contextName);
  if (contextName !== undefined && context === undefined) throw wrong(`has no context ${JSON.stringify(contextName)}`);
  const cluster = pick(config, "clusters", "cluster", memberOf(context, "cluster"), wrong);
  const user = pick(config, "users", "user", memberOf(context, "user"), wrong);
  const server = apiUrl ?? textOf(memberOf(cluster, "server"));
  if (server === undefined) {
    throw wrong(contextName === undefined ? "has no current-context" : "the cluster of its context has no server");
  }
  const servers = parseServers(
    server,
    apiUrl === undefined ? `the server of kubeconfig file ${file}` : "--kube-api-url",
  );
  const authority = pemOf(cluster, "certificate-authority", directory, wrong);
  const isInsecure = memberOf(cluster, "insecure-skip-tls-verify") === true;
  const tlsServerName = textOf(memberOf(cluster, "tls-server-name"));
  const proxy = proxyOf(cluster, wrong);
  return {
    servers,
    ...(authority !== undefined && { authority }),
    ...(tlsServerName !== undefined && { tlsServerName }),
    isInsecure,
    ...(proxy !== undefined && { proxy }),
    credentials: credentialsOf(user, () => clusterInfo(cluster, servers[0]?.href ?? "", authority), directory, wrong),
    headers: impersonation(user),
    warnings: isInsecure
      ? [
          "insecure-skip-tls-verify: anybody on the way to the API server can read the credentials and change its answers",
        ]
      : [],
    description: `Kubernetes API ${servers.map(({ origin }) => origin).join(",")}`,
  };
}

type Wrong = (reason: string) => FlannelError;

async function parse(file: string): Promise<unknown> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new FlannelError("CONFIG_INVALID", `cannot read kubeconfig file ${file}`, { cause });
  }
  if (text.length > MAX_FILE_LENGTH) throw new FlannelError("CONFIG_INVALID", `kubeconfig file ${file} is too long`);
  const { parseYaml } = await import("./parse-yaml.ts");
  try {
    return parseYaml(text);
  } catch (error) {
    // The library's message quotes the line, which may hold a secret.
    const place = /at line (\d+)/.exec(describeError(error))?.[1];
    const where = place === undefined ? "" : ` (line ${place})`;
    throw new FlannelError("CONFIG_INVALID", `kubeconfig file ${file} is not valid YAML${where}`);
  }
}

function named(config: unknown, list: string, kind: string, name: unknown): unknown {
  const entry = itemsOf(memberOf(config, list)).find((item) => memberOf(item, "name") === name);
  return entry === undefined ? undefined : (memberOf(entry, kind) ?? {});
}

/** The entry that the context names; without a context none. */
function pick(config: unknown, list: string, kind: string, name: unknown, wrong: Wrong): unknown {
  if (textOf(name) === undefined) return undefined;
  const entry = named(config, list, kind, name);
  if (entry === undefined) throw wrong(`has no ${kind} ${JSON.stringify(name)}, which its context names`);
  return entry;
}

/** `X-data` (base64) goes before `X` (a file, relative to the kubeconfig file's directory). */
function pemOf(entry: unknown, name: string, directory: string, wrong: Wrong): PemSource | undefined {
  const data = textOf(memberOf(entry, `${name}-data`));
  if (data !== undefined) {
    const pem = Buffer.from(data, "base64").toString("utf8");
    if (!pem.includes("-----BEGIN ")) throw wrong(`${name}-data is not PEM in base64`);
    return { pem };
  }
  const file = textOf(memberOf(entry, name));
  return file === undefined ? undefined : { file: isAbsolute(file) ? file : join(directory, file) };
}

function proxyOf(cluster: unknown, wrong: Wrong): URL | undefined {
  const text = textOf(memberOf(cluster, "proxy-url"));
  if (text === undefined) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:", "socks5:"].includes(url.protocol)) {
    throw wrong("proxy-url must begin with http://, https:// or socks5://");
  }
  return url;
}

function credentialsOf(
  user: unknown,
  cluster: NonNullable<ExecPlugin["cluster"]>,
  directory: string,
  wrong: Wrong,
): CredentialSource {
  const cert = pemOf(user, "client-certificate", directory, wrong);
  const key = pemOf(user, "client-key", directory, wrong);
  if ((cert === undefined) !== (key === undefined))
    throw wrong("has a client certificate without its key, or a key alone");
  const [token, username, password] = ["token", "username", "password"].map((name) => textOf(memberOf(user, name)));
  const fixed: FixedCredentials = {
    ...(token !== undefined && { token }),
    ...(username !== undefined && { basic: { username, password: password ?? "" } }),
    ...(cert !== undefined && key !== undefined && { certificate: { cert, key } }),
  };
  const source = Object.keys(fixed).length === 0 ? anonymous : new StaticCredentials(fixed);
  // As kubectl: a token file goes before a token.
  const tokenFile = textOf(memberOf(user, "tokenFile"));
  if (tokenFile !== undefined) {
    return new TokenFile(isAbsolute(tokenFile) ? tokenFile : join(directory, tokenFile), source);
  }
  const exec = memberOf(user, "exec");
  if (exec !== undefined) return new ExecCredentials(execPlugin(exec, cluster, directory, wrong));
  if (memberOf(user, "auth-provider") !== undefined) {
    throw wrong("its user has an auth-provider, which Kubernetes removed in 1.26: use an exec plugin");
  }
  return source;
}

function execPlugin(
  exec: unknown,
  cluster: NonNullable<ExecPlugin["cluster"]>,
  directory: string,
  wrong: Wrong,
): ExecPlugin {
  const apiVersion = textOf(memberOf(exec, "apiVersion")) ?? "";
  const command = textOf(memberOf(exec, "command"));
  if (!/^client\.authentication\.k8s\.io\/(v1|v1beta1)$/.test(apiVersion)) {
    throw wrong("exec.apiVersion must be client.authentication.k8s.io/v1 or v1beta1");
  }
  if (command === undefined) throw wrong("exec.command is missing");
  if (memberOf(exec, "interactiveMode") === "Always") throw wrong("its exec plugin wants a terminal (interactiveMode)");
  const env = itemsOf(memberOf(exec, "env")).flatMap((entry) => {
    const name = textOf(memberOf(entry, "name"));
    const value = memberOf(entry, "value");
    return name === undefined || typeof value !== "string" ? [] : [[name, value] as const];
  });
  return {
    apiVersion,
    command: command.includes("/") && !isAbsolute(command) ? join(directory, command) : command,
    args: itemsOf(memberOf(exec, "args")).filter((argument) => typeof argument === "string"),
    env: Object.fromEntries(env),
    installHint: textOf(memberOf(exec, "installHint"))?.replaceAll(/\s+/g, " ").slice(0, 300) ?? "",
    ...(memberOf(exec, "provideClusterInfo") === true && { cluster }),
  };
}

/** Fields of ExecCredential's `spec.cluster`: a program cannot be given a file, it gets what is in it now. */
async function clusterInfo(
  cluster: unknown,
  server: string,
  authority: PemSource | undefined,
): Promise<Readonly<Record<string, unknown>>> {
  const known = ["tls-server-name", "insecure-skip-tls-verify", "proxy-url"].flatMap((name) => {
    const value = memberOf(cluster, name);
    return value === undefined ? [] : [[name, value] as const];
  });
  const pem = authority === undefined ? undefined : await readPem(authority, "the CA certificate");
  const extension = itemsOf(memberOf(cluster, "extensions")).find(
    (entry) => memberOf(entry, "name") === "client.authentication.k8s.io/exec",
  );
  const config = memberOf(extension, "extension");
  return {
    server,
    ...Object.fromEntries(known),
    ...(pem !== undefined && { "certificate-authority-data": Buffer.from(pem).toString("base64") }),
    ...(config !== undefined && { config }),
  };
}

/** `as`, `as-uid`, `as-groups`, `as-user-extra` as the headers they become. */
function impersonation(user: unknown): Readonly<Record<string, string | readonly string[]>> {
  const as = textOf(memberOf(user, "as"));
  if (as === undefined) return {};
  const uid = textOf(memberOf(user, "as-uid"));
  const groups = itemsOf(memberOf(user, "as-groups")).filter((group) => typeof group === "string");
  const extra = memberOf(user, "as-user-extra");
  const extraHeaders = Object.entries(isRecord(extra) ? extra : {}).map(([name, values]) => [
    `Impersonate-Extra-${encodeURIComponent(name)}`,
    itemsOf(values).filter((value) => typeof value === "string"),
  ]);
  return {
    "Impersonate-User": as,
    ...(uid !== undefined && { "Impersonate-Uid": uid }),
    ...(groups.length > 0 && { "Impersonate-Group": groups }),
    ...Object.fromEntries(extraHeaders),
  };
}
