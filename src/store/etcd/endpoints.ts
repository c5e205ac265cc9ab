// Reads the list of etcd endpoints and decides whether the connection is encrypted. Pure.
// Endpoints that contradict each other are errors; certificate files that plain http:// has no use for are warned about,
// where upstream flannel leaves them out silently.
import { FlannelError } from "../../errors.ts";
import { tryParseAddress } from "../../ip/address.ts";
import { MAX_SOCKET_PATH_BYTES } from "../../sys/socket-file.ts";

export const defaultEtcdEndpoints = "http://127.0.0.1:4001,http://127.0.0.1:2379";

/** Paths of PEM files; "" and undefined both mean "not given". */
export interface EtcdTlsFiles {
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
}

export interface EtcdEndpoint {
  /** For logs and errors: `https://10.0.0.1:2379`. Never holds a secret. */
  readonly url: string;
  /** What grpc-js dials: `dns:10.0.0.1:2379`, `unix:/run/etcd.sock`. */
  readonly target: string;
  /** Name or address the server's certificate must be for. */
  readonly host: string;
  /** A socket file of this host: no network leads to it. */
  readonly isSocket: boolean;
}

export interface EtcdEndpoints {
  readonly endpoints: readonly EtcdEndpoint[];
  readonly isEncrypted: boolean;
  /** Odd but workable, a sentence each. */
  readonly warnings: readonly string[];
}

type Scheme = "" | "http" | "https" | "unix" | "unixs";

const unusedFiles =
  "--etcd-endpoints: the endpoints say http://, so the connection is not encrypted and the certificate files that are " +
  "given are not used: use https://, or leave the files out";
const DEFAULT_PORT = 2379;

/**
 * Parses a comma-separated list, whose end may be a comma: `http://`, `https://`, `unix://`, `unixs://` or no scheme (encrypted exactly when
 * files are given). Throws `CONFIG_INVALID` with the reason; secrets in an endpoint are not repeated.
 */
export function parseEndpoints(list: string, files: EtcdTlsFiles): EtcdEndpoints {
  const texts = list.split(",").map((text) => text.trim());
  // A comma too many at the end names nobody.
  while (texts.length > 1 && texts.at(-1) === "") texts.pop();
  const parsed = texts.map(parseEndpoint);
  const schemes = [...new Set(parsed.map(({ scheme }) => scheme))];
  const [scheme] = schemes;
  if (scheme === undefined || schemes.length > 1) {
    const names = schemes.map((name) => (name === "" ? "no scheme" : `${name}://`)).join(" and ");
    throw invalid(`the endpoints mix ${names}: use one scheme for all of them`);
  }
  const hasFiles = checkFiles(files);
  const isEncrypted = scheme === "https" || scheme === "unixs" || (scheme !== "http" && hasFiles);
  const endpoints = parsed.map(({ address, host, isSocket }) => ({
    url: `${isSocket ? "unix" : "http"}${isEncrypted ? "s" : ""}://${address}`,
    target: `${targetScheme(address, isSocket)}:${address}`,
    host,
    isSocket,
  }));
  return { endpoints, isEncrypted, warnings: scheme === "http" && hasFiles ? [unusedFiles] : [] };
}

function targetScheme(address: string, isSocket: boolean): string {
  if (isSocket) return "unix";
  return address.includes("%") ? "ipv6-zone" : "dns";
}

/** Whether any file is given; a certificate and its key come together. */
function checkFiles(files: EtcdTlsFiles): boolean {
  const [ca, cert, key] = [files.caFile, files.certFile, files.keyFile].map((file) => (file ?? "") !== "");
  if (cert === true && key !== true) throw invalid("--etcd-certfile is given without --etcd-keyfile: give both");
  if (key === true && cert !== true) throw invalid("--etcd-keyfile is given without --etcd-certfile: give both");
  return ca === true || cert === true;
}

interface ParsedEndpoint {
  readonly scheme: Scheme;
  readonly address: string;
  readonly host: string;
  readonly isSocket: boolean;
}

function parseEndpoint(text: string): ParsedEndpoint {
  if (text === "") throw invalid("an endpoint is empty");
  const [, schemeText = "", rest = ""] = /^(?:([^:/]*):\/\/)?(.*)$/s.exec(text) ?? [];
  const scheme = schemeText.toLowerCase();
  if (!isScheme(scheme) || (scheme === "" && text.includes("://"))) {
    throw invalid(`endpoint ${show(text)} must begin with http://, https://, unix:// or unixs://`);
  }
  if (scheme === "unix" || scheme === "unixs") return { scheme, ...parseSocket(text, rest) };
  return { scheme, ...parseHostAndPort(text, rest) };
}

function isScheme(text: string): text is Scheme {
  return ["", "http", "https", "unix", "unixs"].includes(text);
}

function parseSocket(text: string, path: string) {
  if (path === "" || /\p{Cc}/u.test(path) || Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw invalid(`endpoint ${show(text)} must name a socket file of 1 to ${MAX_SOCKET_PATH_BYTES} printable bytes`);
  }
  return { address: path, host: "localhost", isSocket: true };
}

function parseHostAndPort(text: string, rest: string) {
  // The zone of a link-local address (RFC 6874), with or without URL escape: the interface it is on.
  const match = /^(?:\[([^\]%]+)(?:%(?:25)?([\w.-]{1,15}))?\]|([^:/]+))(?::(\d{1,5}))?\/?$/.exec(rest);
  const [, bracketed, zone, plain, portText] = match ?? [];
  const port = portText === undefined ? DEFAULT_PORT : Number(portText);
  const host = bracketed ?? plain ?? "";
  const isHost = bracketed === undefined ? isHostName(host) : host.includes(":") && tryParseAddress(host) !== undefined;
  if (!isHost || port < 1 || port > 65_535) {
    throw invalid(`endpoint ${show(text)} must be a host or address and a port, such as http://10.0.0.1:2379`);
  }
  const inZone = zone === undefined ? host : `${host}%${zone}`;
  return { address: bracketed === undefined ? `${host}:${port}` : `[${inZone}]:${port}`, host, isSocket: false };
}

function isHostName(host: string): boolean {
  if (/^[\d.]+$/.test(host)) return tryParseAddress(host) !== undefined;
  return host.length <= 253 && /^[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?$/.test(host);
}

/** On one line, short, and without what stands before an `@`: that may be a password. */
function show(text: string): string {
  const at = text.lastIndexOf("@");
  const safe = at < 0 ? text : `***${text.slice(at)}`;
  return JSON.stringify(safe.length > 80 ? `${safe.slice(0, 77)}...` : safe);
}

function invalid(message: string): FlannelError {
  return new FlannelError("CONFIG_INVALID", `--etcd-endpoints: ${message}`);
}
