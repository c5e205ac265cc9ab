// Joining a cluster: the server shows the key that the token names before it hears the secret, then it has to show that
// what it gives belongs together.
import { createPublicKey, type X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { FlannelError } from "../../errors.ts";
import { tryParseAddress } from "../../ip/address.ts";
import type { StoreAddress } from "../grpc/store-address.ts";
import { callUnary } from "../grpc/unary-call.ts";
import { ClusterDefinition, type JoinResponse } from "./cluster.ts";
import { parseToken } from "./join-token.ts";
import { keyPin, readCertificate, readPrivateKey } from "./keys.ts";
import { hostNameRule, isPlainPrefix, isValidHostName } from "./names.ts";
import { makeSigningRequest } from "./signing-request.ts";

export interface JoinOptions {
  readonly address: StoreAddress;
  /** As `flannelctl token create` printed it. */
  readonly token: string;
  readonly hostName: string;
  /** The host's own; see makePrivateKey. It never leaves the host. */
  readonly keyPem: string;
}

export interface Joined {
  readonly certificatePem: string;
  readonly caPem: string;
  readonly etcdPrefix: string;
}

const operation = "join the cluster";

/**
 * May be repeated with the same key and name while the token lives: the answer may have been lost. Throws `USAGE` for
 * what is no token, `CONFIG_INVALID` for a name that cannot be, `STORE_UNAVAILABLE`, `STORE_UNAUTHORIZED` (token, or
 * another server than the token's), `CLUSTER_CONFLICT` (the name is another host's).
 */
export async function joinCluster(options: JoinOptions, signal: AbortSignal): Promise<Joined> {
  const { address, hostName, keyPem } = options;
  const { id: tokenId, secret, pin } = parseToken(options.token);
  if (!isValidHostName(hostName)) throw new FlannelError("CONFIG_INVALID", `a host name must be ${hostNameRule}`);
  const signingRequest = await makeSigningRequest(keyPem, hostName);
  let server: X509Certificate | undefined;
  const target = {
    address,
    // Nothing is known yet that could vouch for the server: its key has to be the one in the token.
    tls: { rejectUnauthorized: false },
    checkServer: (socket: TLSSocket) => {
      server = pinnedCertificate(socket, pin, address);
    },
    operation,
  };
  const method = { service: ClusterDefinition, method: ClusterDefinition.methods.join };
  const answer = await callUnary(target, method, { tokenId, secret, hostName, signingRequest }, signal);
  if (server === undefined)
    throw new FlannelError("INTERNAL", `${operation}: the server's certificate was not checked`);
  checkAnswer(answer, server, options);
  return { certificatePem: answer.certificate, caPem: answer.caCertificate, etcdPrefix: answer.etcdPrefix };
}

/** Throws `STORE_UNAUTHORIZED` when the other end has another key. */
function pinnedCertificate(socket: TLSSocket, pin: string, { url }: StoreAddress): X509Certificate {
  const certificate = socket.getPeerX509Certificate();
  if (certificate !== undefined && keyPin(certificate.publicKey) === pin) return certificate;
  throw new FlannelError(
    "STORE_UNAUTHORIZED",
    `${operation}: ${url} is not the store that issued this token: its key is a different one. Nothing was sent to it. Check the address and the token.`,
  );
}

/** The store may be right and the address a detour, or the store broken: nothing is kept that would fail later. */
function checkAnswer(
  { certificate, caCertificate, etcdPrefix }: JoinResponse,
  server: X509Certificate,
  options: JoinOptions,
): void {
  const { address, keyPem } = options;
  const authority = readCertificate(caCertificate, "the store's CA certificate");
  const own = readCertificate(certificate, "the certificate from the store");
  const fail = (reason: string): never => {
    throw new FlannelError("STORE_UNAUTHORIZED", `${operation}: ${reason}`);
  };
  // It will stand in a file of variables.
  if (!isPlainPrefix(etcdPrefix)) fail("the store named an invalid prefix of the keys");
  if (!authority.ca || !authority.verify(authority.publicKey))
    fail("the certificate that the store sent as its CA's is not a CA certificate");
  if (!isIssuedBy(server, authority)) fail("the store's certificate is not from the CA it named");
  if (!isIssuedBy(own, authority)) fail("the certificate for this host is not from the CA the store named");
  if (keyPin(own.publicKey) !== keyPin(createPublicKey(readPrivateKey(keyPem, "the host's key")))) {
    fail("the certificate for this host is for another key");
  }
  const name = address.host;
  const matches = tryParseAddress(name) === undefined ? server.checkHost(name) : server.checkIP(name);
  if (matches === undefined) {
    fail(
      `the store's certificate is not for ${name} (it is for ${server.subjectAltName ?? "no name"}): join at one of those, ` +
        `or run flannelctl init --address ${name} on the store's host`,
    );
  }
}

function isIssuedBy(certificate: X509Certificate, authority: X509Certificate): boolean {
  return certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
}
