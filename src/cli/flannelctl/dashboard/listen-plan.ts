// Where the dashboard listens, and by which names it may be asked: on loopback without TLS, elsewhere only with it.
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { createSecureContext } from "node:tls";
import { FlannelError } from "../../../errors.ts";
import { hostAndPort } from "../../../flannel-store/grpc/store-address.ts";
import { isLoopback, type ListenAddress, parseListenAddress } from "../../../flannel-store/server/listen-address.ts";
import { tryParseAddress } from "../../../ip/address.ts";

export interface DashboardOptions {
  /** `HOST:PORT`; port 0: any free one. */
  readonly listen: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

export interface ListenPlan {
  readonly address: ListenAddress;
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer };
  /** Whether a request may name this host in its `Host` header: with another name, foreign DNS led the browser here. */
  isOwnName(name: string, localAddress: string | undefined): boolean;
  /** Of the link; without the port. */
  readonly name: string;
}

/** Throws `USAGE`, also where there is no name for the link by which the server may be asked. */
export function planListening({ listen, tlsCert, tlsKey }: DashboardOptions): ListenPlan {
  const address = parseListenAddress(listen);
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new FlannelError("USAGE", "--tls-cert and --tls-key belong together: give both");
  }
  if (tlsCert === undefined || tlsKey === undefined) return withoutTls(address, listen);
  const tls = { cert: readFile("--tls-cert", tlsCert), key: readFile("--tls-key", tlsKey) };
  const certificate = certificateOf(tls, tlsCert);
  return {
    address,
    tls,
    isOwnName: (name, localAddress) =>
      (isLoopback(address) && isLoopbackName(name)) ||
      name === localAddress ||
      (tryParseAddress(name) === undefined ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined,
    name: linkName(address, certificate, tlsCert),
  };
}

function withoutTls(address: ListenAddress, listen: string): ListenPlan {
  if (!isLoopback(address)) {
    throw new FlannelError(
      "USAGE",
      `--listen ${listen} can be reached from other hosts, and the page shows the whole network: give --tls-cert and --tls-key, ` +
        `or listen on 127.0.0.1 and reach it through ssh -L ${address.port || 8475}:127.0.0.1:${address.port || 8475}`,
    );
  }
  return { address, isOwnName: isLoopbackName, name: address.host };
}

/** No web page has such a name, whatever its DNS says. */
function isLoopbackName(name: string): boolean {
  return isLoopback({ host: name, port: 0 });
}

/** A name that `isOwnName` accepts. */
function linkName(address: ListenAddress, certificate: X509Certificate, path: string): string {
  const { host } = address;
  if (isLoopback(address)) return host;
  if (isEverywhere(address)) {
    const own = hostname().toLowerCase();
    const name = nameIn(certificate) ?? (certificate.checkHost(own) === undefined ? undefined : own);
    if (name !== undefined) return name;
    throw new FlannelError(
      "USAGE",
      `${path} has neither a name nor an address for the link, and is not for this host's name ${own}: ` +
        "give --listen with the address or name by which the page is opened, or another certificate",
    );
  }
  if (tryParseAddress(host) !== undefined || certificate.checkHost(host) !== undefined) return host;
  throw new FlannelError(
    "USAGE",
    `${path} is not for the name ${host} of --listen: give one of its names, or an address`,
  );
}

function isEverywhere({ host }: ListenAddress): boolean {
  const address = tryParseAddress(host);
  return address === "0.0.0.0" || address === "::";
}

/** The first that a browser can ask for: a wildcard is none. */
function nameIn({ subjectAltName }: X509Certificate): string | undefined {
  const names = (subjectAltName ?? "").split(", ").flatMap((entry) => {
    const [, dnsName, address = ""] = /^(?:DNS:([A-Za-z0-9._-]+)|IP Address:([0-9A-Fa-f:.]+))$/.exec(entry) ?? [];
    return dnsName?.toLowerCase() ?? tryParseAddress(address.toLowerCase()) ?? [];
  });
  return names[0];
}

function readFile(option: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FlannelError("USAGE", `cannot read the file of ${option}: ${reason}`, { cause });
  }
}

function certificateOf(tls: { readonly cert: Buffer; readonly key: Buffer }, path: string): X509Certificate {
  try {
    createSecureContext(tls);
    return new X509Certificate(tls.cert);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FlannelError(
      "USAGE",
      `cannot use ${path} with its key: ${reason}; both must be PEM and belong together`,
      {
        cause,
      },
    );
  }
}

/** `http://127.0.0.1:8475`. */
export function originOf({ name, tls }: ListenPlan, port: number): string {
  return `${tls === undefined ? "http" : "https"}://${hostAndPort(name, port)}`;
}
