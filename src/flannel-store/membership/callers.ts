// Who calls, told by the certificate: a host that is a member, the administrator, or nobody.
import { X509Certificate } from "node:crypto";
import type { DetailedPeerCertificate } from "node:tls";
import type { Ends } from "../grpc/grpc-call.ts";
import { grpcStatus, RpcError } from "../grpc/rpc-error.ts";
import { endsAtMs, keyPin } from "./keys.ts";
import type { HostRecord } from "./member-file.ts";
import type { MemberRegistry } from "./member-registry.ts";

export type Member = { readonly kind: "host"; readonly host: HostRecord } | { readonly kind: "administrator" };

interface Facts {
  readonly serialNumber: string;
  readonly keyPin: string;
  readonly endsAtMs: number;
}

export class Callers {
  readonly #registry: MemberRegistry;
  /** Serial number → key pin. The one before is good as long as this process runs: a command may have just read it. */
  readonly #administrators = new Map<string, string>();
  /** One entry for each connection. */
  readonly #facts = new WeakMap<DetailedPeerCertificate, Facts>();

  constructor(registry: MemberRegistry) {
    this.#registry = registry;
  }

  addAdministrator(certificate: X509Certificate): void {
    this.#administrators.set(certificate.serialNumber, keyPin(certificate.publicKey));
  }

  /**
   * Asked again for each call, since members are removed while they are connected. That the cluster's authority signed
   * the certificate is not enough: it has to be listed, with its key. Throws the refusal.
   */
  identify({ certificate, certificateProblem }: Ends, nowMs: number): Member {
    if (certificate === undefined) throw withoutCertificate(certificateProblem);
    const facts = this.#factsOf(certificate);
    if (facts.endsAtMs <= nowMs) throw ended();
    const caller = this.#find(facts);
    if (caller !== undefined) return caller;
    throw new RpcError(
      grpcStatus.permissionDenied,
      "flannel-store: this certificate does not belong to a present member of the cluster: run flannelctl join with a new token",
    );
  }

  isKnown(certificate: DetailedPeerCertificate): boolean {
    return this.#find(this.#factsOf(certificate)) !== undefined;
  }

  keyPinOf(certificate: DetailedPeerCertificate): string {
    return this.#factsOf(certificate).keyPin;
  }

  #find({ serialNumber, keyPin: pin }: Facts): Member | undefined {
    if (this.#administrators.get(serialNumber) === pin) return { kind: "administrator" };
    const host = this.#registry.findBySerial(serialNumber, pin);
    return host && { kind: "host", host };
  }

  #factsOf(certificate: DetailedPeerCertificate): Facts {
    const known = this.#facts.get(certificate);
    if (known !== undefined) return known;
    const parsed = new X509Certificate(certificate.raw);
    const facts = {
      serialNumber: parsed.serialNumber,
      keyPin: keyPin(parsed.publicKey),
      endsAtMs: endsAtMs(parsed),
    };
    this.#facts.set(certificate, facts);
    return facts;
  }
}

function withoutCertificate(problem: string | undefined): RpcError {
  if (problem === "CERT_HAS_EXPIRED") return ended();
  if (problem === "CERT_NOT_YET_VALID") {
    const message =
      "flannel-store: by the clock of the store's host the certificate is not valid yet: correct that clock";
    return new RpcError(grpcStatus.unauthenticated, message);
  }
  const reason =
    problem === undefined
      ? "flannel-store: this store requires the certificate of a member of its cluster: see flannelctl join"
      : `flannel-store: the certificate is not from this cluster (${problem}): see flannelctl join`;
  return new RpcError(grpcStatus.unauthenticated, reason);
}

function ended(): RpcError {
  return new RpcError(
    grpcStatus.unauthenticated,
    "flannel-store: the certificate has expired: run flannelctl join with a new token",
  );
}
