// Asks an etcd for a network of flannel up to v0.7, by its v2 HTTP API. Reads only.
import { readFile } from "node:fs/promises";
import { describeError, FlannelError, hasCode } from "../../errors.ts";
import {
  closeAgents,
  exchange,
  type HttpAgents,
  type HttpAnswer,
  type TlsTexts,
  tlsAgents,
} from "../../http/exchange.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";
import type { EtcdV2Options } from "../etcd-v2-options.ts";
import { missing, readV2Network, type V2Network } from "./v2-network.ts";

const KEY_NOT_FOUND = 100;
const UNAUTHORIZED = 110;
const TIMEOUT_MS = 30_000;

/**
 * The network as it was at one moment, from the first endpoint that answers. Throws `CONFIG_INVALID` for options that
 * cannot be used, `CONFIG_MISSING` where there is no network, `STORE_UNAVAILABLE`, `STORE_UNAUTHORIZED`.
 */
export async function readV2(options: EtcdV2Options, signal: AbortSignal): Promise<V2Network> {
  const endpoints = parseEndpoints(options.endpoints);
  const agents = tlsAgents(await readTls(options));
  const authorization = await readPassword(options);
  const prefix = `/${options.prefix.split("/").filter(Boolean).join("/")}`;
  try {
    const answer = await askFirst(
      endpoints,
      prefix,
      { agents, ...(authorization !== undefined && { authorization }) },
      signal,
    );
    return judge(answer, prefix);
  } finally {
    closeAgents(agents);
  }
}

interface Way {
  readonly agents: HttpAgents;
  readonly authorization?: string;
}

/** A quorum read: a member that was cut off would tell of leases that are long gone. */
async function askFirst(
  endpoints: readonly string[],
  prefix: string,
  way: Way,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const failures: string[] = [];
  for (const endpoint of endpoints) {
    const url = `${endpoint}/v2/keys${encodeURI(prefix)}?quorum=true&recursive=true&sorted=true`;
    const { agents, authorization } = way;
    const headers = authorization === undefined ? {} : { authorization };
    try {
      return await exchange({ url, headers, agents, timeoutMs: TIMEOUT_MS, unavailable: "STORE_UNAVAILABLE" }, signal);
    } catch (error) {
      if (!hasCode(error, "STORE_UNAVAILABLE")) throw error;
      failures.push(describeError(error));
    }
  }
  throw new FlannelError("STORE_UNAVAILABLE", `no endpoint of --etcd-v2-endpoints answers: ${failures.join("; ")}`);
}

function judge({ status, body }: HttpAnswer, prefix: string): V2Network {
  if (status === 200) return readV2Network(body, prefix);
  const parsed = tryParseJson(body);
  const code = typeof parsed === "object" && parsed !== null && "errorCode" in parsed ? parsed.errorCode : undefined;
  if (code === KEY_NOT_FOUND) throw missing(prefix);
  if (code === UNAUTHORIZED || status === 401 || status === 403) {
    throw new FlannelError(
      "STORE_UNAUTHORIZED",
      `etcd does not let us read the v2 key ${prefix}: check --etcd-v2-username and its password`,
    );
  }
  if (status === 404) {
    const message =
      "that etcd serves no v2 API: etcd 3.4 and 3.5 do with --enable-v2=true; etcd 3.6 cannot, start an etcd 3.5 on a copy of its data";
    throw new FlannelError("STORE_UNAVAILABLE", message);
  }
  throw new FlannelError(
    "STORE_UNAVAILABLE",
    `etcd answers ${status} to a read of the v2 key ${prefix}: try again, or another endpoint`,
  );
}

function parseEndpoints(list: string): readonly string[] {
  const endpoints = list
    .split(",")
    .map((text) => text.trim())
    .filter(Boolean);
  for (const endpoint of endpoints) {
    const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
    const isGood =
      url !== undefined &&
      /^https?:$/.test(url.protocol) &&
      url.pathname === "/" &&
      url.search + url.hash + url.username === "";
    if (!isGood)
      throw invalid("--etcd-v2-endpoints must be a list of URLs such as http://10.0.0.1:2379, without path and user");
  }
  if (endpoints.length === 0) throw invalid("--etcd-v2-endpoints names no endpoint");
  return endpoints.map((endpoint) => endpoint.replace(/\/$/, ""));
}

async function readTls({ caFile, certFile, keyFile }: EtcdV2Options): Promise<TlsTexts> {
  if ((certFile === undefined) !== (keyFile === undefined))
    throw invalid("--etcd-v2-certfile and --etcd-v2-keyfile belong together");
  const [ca, cert, key] = [
    await readText("--etcd-v2-cafile", caFile),
    await readText("--etcd-v2-certfile", certFile),
    await readText("--etcd-v2-keyfile", keyFile),
  ];
  return { ...(ca !== undefined && { ca }), ...(cert !== undefined && { cert }), ...(key !== undefined && { key }) };
}

/** The header that proves who we are. */
async function readPassword({ username, passwordFile }: EtcdV2Options): Promise<string | undefined> {
  if ((username === undefined) !== (passwordFile === undefined)) {
    throw invalid("--etcd-v2-username and --etcd-v2-password-file belong together");
  }
  const password = await readText("--etcd-v2-password-file", passwordFile);
  return password === undefined
    ? undefined
    : `Basic ${Buffer.from(`${username}:${password.replace(/\r?\n$/, "")}`).toString("base64")}`;
}

async function readText(flag: string, file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new FlannelError("CONFIG_INVALID", `${flag}: cannot read ${file}: ${describeError(cause)}`, {
      cause,
      tellsCause: true,
    });
  }
}

function invalid(message: string): FlannelError {
  return new FlannelError("CONFIG_INVALID", message);
}
