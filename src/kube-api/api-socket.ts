// A connection to an API server: straight or through a proxy (CONNECT or SOCKS5), with TLS by what CA and certificate
// files hold at this moment.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { FlannelError } from "../errors.ts";
import type { ApiAccess, Credentials } from "./api-access.ts";
import { readPem } from "./credentials.ts";
import { hostOf, portOf } from "./proxy-choice.ts";

/** A server that does not answer in this time is given up: detection of a dead one has to stay below 30 s. */
const CONNECT_TIMEOUT_MS = 5_000;
/** After so much silence the kernel asks the other end every second, ten times. */
const KEEPALIVE_AFTER_MS = 10_000;
const MAX_PROXY_ANSWER_BYTES = 16 * 1024;

export interface Route {
  readonly server: URL;
  readonly proxy: URL | undefined;
}

/** Resolves when the connection can carry a request. Rejects with what the system or TLS said. */
export async function openSocket(
  access: ApiAccess,
  { server, proxy }: Route,
  credentials: Credentials,
): Promise<Socket> {
  const deadline = AbortSignal.timeout(CONNECT_TIMEOUT_MS);
  const raw = proxy === undefined ? await openTcp(server, deadline) : await openThroughProxy(proxy, server, deadline);
  if (server.protocol !== "https:") return raw;
  try {
    const authority =
      access.authority === undefined ? undefined : await readPem(access.authority, "the CA certificate");
    const { clientCertificate } = credentials;
    const name = access.tlsServerName ?? hostOf(server);
    const secure = connectTls({
      socket: raw,
      // A name for SNI must not be an address.
      ...(!/^[\d.]+$|:/.test(name) && { servername: name }),
      host: name,
      ...(authority !== undefined && { ca: authority }),
      ...clientCertificate,
      rejectUnauthorized: !access.isInsecure,
      ALPNProtocols: ["http/1.1"],
    });
    return await untilSecure(secure, deadline);
  } catch (error) {
    raw.destroy();
    throw error;
  }
}

async function openTcp(target: URL, deadline: AbortSignal): Promise<Socket> {
  const socket = connect({ host: hostOf(target), port: portOf(target), keepAlive: true, noDelay: true });
  socket.setKeepAlive(true, KEEPALIVE_AFTER_MS);
  await untilEvent(socket, "connect", deadline);
  return socket;
}

async function untilSecure(secure: TLSSocket, deadline: AbortSignal): Promise<TLSSocket> {
  await untilEvent(secure, "secureConnect", deadline);
  return secure;
}

async function untilEvent(socket: Socket, event: string, deadline: AbortSignal): Promise<void> {
  try {
    await once(socket, event, { signal: deadline });
  } catch (error) {
    socket.on("error", () => undefined);
    socket.destroy();
    if (!deadline.aborted) throw error;
    throw new Error(`no connection within ${CONNECT_TIMEOUT_MS / 1_000} s`, { cause: error });
  }
}

async function openThroughProxy(proxy: URL, server: URL, deadline: AbortSignal): Promise<Socket> {
  const tcp = await openTcp(proxy, deadline);
  try {
    const socket =
      proxy.protocol === "https:"
        ? await untilSecure(connectTls({ socket: tcp, servername: hostOf(proxy), host: hostOf(proxy) }), deadline)
        : tcp;
    if (proxy.protocol === "socks5:") await socksConnect(socket, proxy, server, deadline);
    else await httpConnect(socket, proxy, server, deadline);
    return socket;
  } catch (cause) {
    tcp.destroy();
    throw new FlannelError("STORE_UNAVAILABLE", `the proxy ${proxy.protocol}//${proxy.host} does not lead there`, {
      cause,
      retryable: true,
    });
  }
}

async function httpConnect(socket: Socket, proxy: URL, server: URL, deadline: AbortSignal): Promise<void> {
  const target = `${server.hostname}:${portOf(server)}`;
  const user = proxyUser(proxy);
  const authorization =
    user === undefined
      ? ""
      : `Proxy-Authorization: Basic ${Buffer.from(`${user.name}:${user.password}`).toString("base64")}\r\n`;
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${authorization}\r\n`);
  const answer = await readUntil(socket, (bytes) => bytes.indexOf("\r\n\r\n") + 4, deadline);
  const [, status = ""] = /^HTTP\/1\.[01] (\d{3})/.exec(answer.toString("latin1")) ?? [];
  if (status !== "200") throw new Error(`it answered ${status === "" ? "no HTTP" : `HTTP ${status}`}`);
}

/** RFC 1928, with user name and password by RFC 1929. */
async function socksConnect(socket: Socket, proxy: URL, server: URL, deadline: AbortSignal): Promise<void> {
  const user = proxyUser(proxy);
  socket.write(Buffer.from(user === undefined ? [5, 1, 0] : [5, 2, 0, 2]));
  const [, method] = await readUntil(socket, () => 2, deadline);
  if (method === 2 && user !== undefined) {
    const [name, password] = [Buffer.from(user.name).subarray(0, 255), Buffer.from(user.password).subarray(0, 255)];
    socket.write(Buffer.concat([Buffer.from([1, name.length]), name, Buffer.from([password.length]), password]));
    const [, status] = await readUntil(socket, () => 2, deadline);
    if (status !== 0) throw new Error("it refuses the user");
  } else if (method !== 0) {
    throw new Error("it wants an authentication that is not supported");
  }
  const host = Buffer.from(hostOf(server)).subarray(0, 255);
  const port = portOf(server);
  // As a name, whatever it is: the proxy finds out what an address is.
  socket.write(Buffer.concat([Buffer.from([5, 1, 0, 3, host.length]), host, Buffer.from([port >> 8, port & 0xff])]));
  const answer = await readUntil(socket, socksAnswerLength, deadline);
  if (answer[1] !== 0) throw new Error(`it answered SOCKS error ${answer[1]}`);
}

function socksAnswerLength(bytes: Buffer): number {
  if (bytes.length < 5) return 5;
  const addressLength = { 1: 4, 3: 1 + (bytes[4] ?? 0), 4: 16 }[bytes[3] ?? 0] ?? 4;
  return 6 + addressLength;
}

function proxyUser(proxy: URL): { readonly name: string; readonly password: string } | undefined {
  if (proxy.username === "") return undefined;
  return { name: decodeURIComponent(proxy.username), password: decodeURIComponent(proxy.password) };
}

/** Reads exactly as many bytes as `lengthOf` asks for; below 4 it asks for more bytes of unknown number. */
async function readUntil(socket: Socket, lengthOf: (bytes: Buffer) => number, deadline: AbortSignal): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  for (;;) {
    const wanted = lengthOf(bytes);
    if (bytes.length > 0 && wanted >= 2 && wanted !== 3 && bytes.length >= wanted) {
      if (bytes.length > wanted) socket.unshift(bytes.subarray(wanted));
      return bytes.subarray(0, wanted);
    }
    if (bytes.length > MAX_PROXY_ANSWER_BYTES) throw new Error("its answer is too long");
    const chunk: Buffer | null = socket.read();
    if (chunk !== null) {
      bytes = Buffer.concat([bytes, chunk]);
      continue;
    }
    if (socket.readableEnded || socket.destroyed) throw new Error("it closed the connection");
    await Promise.race([once(socket, "readable", { signal: deadline }), once(socket, "close", { signal: deadline })]);
  }
}
