// One HTTP request and its bounded answer: straight, or by way of the proxy that the environment names.
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { describeError, type ErrorCode, FlannelError } from "../errors.ts";

export interface HttpExchange {
  readonly url: string;
  readonly method?: "GET" | "POST" | "PUT" | "DELETE";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** For the whole exchange; default 15 s. */
  readonly timeoutMs?: number;
  /** Missing: straight, over a connection of its own. */
  readonly agents?: HttpAgents;
  /** What a failure is called: by default that of a cloud's API. */
  readonly unavailable?: ErrorCode;
}

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/** Connections that are kept for the next request. */
export interface HttpAgents {
  readonly httpAgent: HttpAgent;
  readonly httpsAgent: HttpsAgent;
}

/** PEM texts. */
export interface TlsTexts {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
const MAX_SOCKETS = 4;

/** Uses HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in capitals or not (Node 24.5, 22.21 or newer; older ones go straight). */
export function proxyAgents(env: Readonly<Record<string, string | undefined>>): HttpAgents {
  const options = { keepAlive: true, maxSockets: MAX_SOCKETS, proxyEnv: { ...env } };
  return { httpAgent: new HttpAgent(options), httpsAgent: new HttpsAgent(options) };
}

export function tlsAgents(tls: TlsTexts): HttpAgents {
  const options = { keepAlive: true, maxSockets: MAX_SOCKETS };
  return { httpAgent: new HttpAgent(options), httpsAgent: new HttpsAgent({ ...options, ...tls }) };
}

export function closeAgents({ httpAgent, httpsAgent }: HttpAgents): void {
  httpAgent.destroy();
  httpsAgent.destroy();
}

/** Resolves with any answer, whatever its status. Rejects with `unavailable` where there is none, `CANCELLED` by the signal. */
export async function exchange(given: HttpExchange, signal: AbortSignal): Promise<HttpAnswer> {
  const { url, timeoutMs = 15_000, unavailable = "CLOUD_UNAVAILABLE" } = given;
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await send(given, AbortSignal.any([signal, timeout]));
    return { status: response.statusCode ?? 0, body: await bodyOf(response) };
  } catch (cause) {
    if (signal.aborted) throw new FlannelError("CANCELLED", `ask ${originOf(url)}: cancelled`);
    const why = timeout.aborted ? `no answer within ${timeoutMs / 1_000} s` : describeError(cause);
    const message = `${originOf(url)} does not answer: ${why}`;
    throw new FlannelError(unavailable, message, { cause, tellsCause: true, retryable: true });
  }
}

/** Without user, path and query, which may hold secrets or what was signed with them. */
function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : "an address that is no URL";
}

function send(given: HttpExchange, signal: AbortSignal): Promise<IncomingMessage> {
  const { url, method = "GET", headers = {}, body, agents } = given;
  const isSecure = url.startsWith("https:");
  const agent = (isSecure ? agents?.httpsAgent : agents?.httpAgent) ?? false;
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const sent = (isSecure ? httpsRequest : httpRequest)(url, { method, headers, signal, agent }, resolve);
  sent.on("error", reject);
  sent.end(body);
  return promise;
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response) {
    length += (part as Buffer).length;
    if (length > MAX_ANSWER_BYTES) throw new Error(`an answer of more than ${MAX_ANSWER_BYTES} bytes`);
    parts.push(part as Buffer);
  }
  return Buffer.concat(parts).toString("utf8");
}
