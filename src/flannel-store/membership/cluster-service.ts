// What flannel-store does in cluster mode besides keeping keys: lets in members and nobody else, takes hosts in, lets them
// go, renews certificates.
import { X509Certificate } from "node:crypto";
import type { DetailedPeerCertificate } from "node:tls";
import { describeError, FlannelError, hasCode } from "../../errors.ts";
import type { Caller } from "../grpc/caller.ts";
import type { CallContext, Ends } from "../grpc/grpc-call.ts";
import { type MethodEntry, unary } from "../grpc/grpc-methods.ts";
import type { GrpcServerOptions } from "../grpc/grpc-server.ts";
import { grpcStatus, RpcError } from "../grpc/rpc-error.ts";
import { hostAndPort } from "../grpc/store-address.ts";
import { plainAddress } from "../grpc/strangers.ts";
import { HEALTH_SERVICE } from "../server/services.ts";
import type { ExtensionHost, StoreExtension } from "../server/store-server.ts";
import { Callers } from "./callers.ts";
import { ClusterDefinition, type Host, type JoinRequest, type JoinResponse, type RemovedLeases } from "./cluster.ts";
import { ClusterAuthority } from "./cluster-authority.ts";
import { type ClusterFiles, clusterFiles, readClusterFile } from "./cluster-files.ts";
import { JoinGuard } from "./join-guard.ts";
import { formatToken, isTokenId } from "./join-token.ts";
import { keyPin, readCertificate } from "./keys.ts";
import { MemberBook } from "./member-book.ts";
import type { HostRecord } from "./member-file.ts";
import { hostNameRule, isValidHostName } from "./names.ts";
import { clockWarning, ensureOwnCertificates } from "./own-certificates.ts";
import { removeLeases } from "./remove-leases.ts";
import { serverNames } from "./server-names.ts";

const { methods } = ClusterDefinition;
const pathOf = (name: string) => `/${ClusterDefinition.fullName}/${name}`;
const openPaths = new Set([pathOf(methods.join.name), `/${HEALTH_SERVICE}/Check`]);
const hostPaths = new Set([pathOf(methods.renew.name), pathOf(methods.leave.name)]);
const clusterPaths = `/${ClusterDefinition.fullName}/`;
const MAX_JOIN_BYTES = 8 * 1024;
const LEAVING_MS = 5_000;
const TELL_AGAIN_MS = 86_400_000;

export class ClusterService implements StoreExtension {
  readonly #files: ClusterFiles;
  readonly #book: MemberBook;
  readonly #callers: Callers;
  readonly #guard = new JoinGuard();
  readonly #onFailure: (error: unknown) => void;
  #authority: Promise<ClusterAuthority> | undefined;
  #told: { readonly text: string; readonly atMs: number } | undefined;

  private constructor(files: ClusterFiles, book: MemberBook, onFailure: (error: unknown) => void) {
    this.#files = files;
    this.#book = book;
    this.#callers = new Callers(book);
    this.#onFailure = onFailure;
  }

  /**
   * Reads DATA-DIR/cluster and renews what is due there. Throws `CONFIG_INVALID` or `FILE_FAILED`. `onFailure` hears of
   * trouble that is nobody's answer.
   */
  static async open(directory: string, onFailure: (error: unknown) => void): Promise<ClusterService> {
    const files = clusterFiles(directory);
    const service = new ClusterService(files, MemberBook.open(files), onFailure);
    await service.renewOwnCertificates();
    service.#callers.addAdministrator(readCertificate(readClusterFile(files.adminCertificate), files.adminCertificate));
    return service;
  }

  /** As the files are now. Throws `FILE_FAILED`. */
  readTls(): Required<NonNullable<GrpcServerOptions["tls"]>> {
    const { serverCertificate, serverKey, caCertificate } = this.#files;
    const [cert, key, clientCa] = [serverCertificate, serverKey, caCertificate].map((file) =>
      Buffer.from(readClusterFile(file)),
    );
    if (cert === undefined || key === undefined || clientCa === undefined) throw new RangeError("three files");
    return { cert, key, clientCa };
  }

  /**
   * The authority's, the server's and the administrator's, when they are due. What fails is told, and a clock that cannot
   * be right; call it again and again. Rejects with nothing.
   */
  async renewOwnCertificates(): Promise<void> {
    const { adminCertificate, caCertificate } = this.#files;
    const nowMs = Date.now();
    try {
      const names = serverNames(this.#book.facts.addresses);
      const written = await ensureOwnCertificates(this.#files, names, nowMs);
      // Nothing more is to be signed with the one from before.
      if (written.includes(caCertificate)) this.#authority = undefined;
      if (written.includes(adminCertificate)) {
        this.#callers.addAdministrator(readCertificate(readClusterFile(adminCertificate), adminCertificate));
      }
      const warning = clockWarning(this.#files, nowMs);
      this.#tellOnce(warning === undefined ? undefined : new FlannelError("FILE_FAILED", warning));
    } catch (error) {
      // Some may have been written before.
      this.#authority = undefined;
      this.#tellOnce(new FlannelError("FILE_FAILED", "the store's certificates cannot be renewed", { cause: error }));
    }
  }

  /** Not with every look: when it changes, and once a day. */
  #tellOnce(trouble: FlannelError | undefined): void {
    const [told, nowMs] = [this.#told, performance.now()];
    this.#told = undefined;
    if (trouble === undefined) return;
    const text = describeError(trouble);
    const isNews = told?.text !== text || nowMs - told.atMs >= TELL_AGAIN_MS;
    this.#told = isNews ? { text, atMs: nowMs } : told;
    if (isNews) this.#onFailure(trouble);
  }

  authorize(path: string, ends: Ends): Caller | undefined {
    if (openPaths.has(path)) return undefined;
    const member = this.#callers.identify(ends, Date.now());
    const isAboutItself = hostPaths.has(path);
    if (member.kind === "host") {
      this.#noteAddress(member.host, ends);
      if (path.startsWith(clusterPaths) && !isAboutItself) throw onlyAdministrator();
    } else if (isAboutItself) {
      throw new RpcError(grpcStatus.permissionDenied, "flannel-store: only a host may do this, for itself");
    }
    if (member.kind !== "host") return member;
    return { kind: "host", name: member.host.name, keyPin: member.host.keyPin };
  }

  isKnown(certificate: DetailedPeerCertificate): boolean {
    return this.#callers.isKnown(certificate);
  }

  methods(host: ExtensionHost): readonly MethodEntry[] {
    const service = ClusterDefinition;
    return [
      unary(
        service,
        methods.join,
        answered((request, context) => this.#join(request, context)),
        MAX_JOIN_BYTES,
      ),
      unary(
        service,
        methods.renew,
        answered((_, context) => this.#renew(this.#hostOf(context), context)),
      ),
      unary(
        service,
        methods.leave,
        answered(async (_, context) => this.#leave(this.#hostOf(context), host)),
      ),
      unary(
        service,
        methods.createToken,
        answered(({ ttlSeconds }) => this.#createToken(ttlSeconds)),
      ),
      unary(service, methods.listTokens, () => ({ tokens: this.#listTokens() })),
      unary(
        service,
        methods.revokeToken,
        answered(({ id }) => this.#revokeToken(id)),
      ),
      unary(service, methods.listHosts, () => ({ hosts: this.#listHosts(host) })),
      unary(
        service,
        methods.removeHost,
        answered(async ({ name }) => {
          const removed = await this.#remove(name, host);
          return { removed };
        }),
      ),
    ];
  }

  async #join(request: JoinRequest, { remoteAddress }: CallContext): Promise<JoinResponse> {
    const address = plainAddress(remoteAddress);
    const refusal = this.#guard.enter(address);
    if (refusal !== undefined) throw new RpcError(grpcStatus.resourceExhausted, `flannel-store: ${refusal}`);
    let failure: unknown;
    try {
      return await this.#admit(request, address);
    } catch (error) {
      failure = error;
    } finally {
      this.#guard.leave();
    }
    if (hasCode(failure, "STORE_UNAUTHORIZED")) await this.#guard.slowDown(address);
    throw failure;
  }

  /** Nothing of the request is looked at before the secret is right. */
  async #admit({ tokenId, secret, hostName, signingRequest }: JoinRequest, address: string): Promise<JoinResponse> {
    this.#book.checkSecret(tokenId, secret);
    if (!isValidHostName(hostName)) throw new FlannelError("CONFIG_INVALID", `a host name must be ${hostNameRule}`);
    const authority = await this.#openAuthority();
    const { publicKey, keyPin: pin } = authority.readSigningRequest(signingRequest);
    const nowMs = Date.now();
    const attempt = { tokenId, secret, hostName, keyPin: pin, address };
    const issued = this.#book.join(attempt, nowMs, () => authority.issueHost(publicKey, hostName, nowMs));
    return {
      certificate: issued.pem,
      caCertificate: readClusterFile(this.#files.caCertificate),
      etcdPrefix: this.#book.facts.etcdPrefix,
    };
  }

  async #renew(host: HostRecord, { certificate }: CallContext) {
    const authority = await this.#openAuthority();
    const { publicKey, serialNumber } = new X509Certificate(certificate?.raw ?? Buffer.alloc(0));
    const issued = authority.issueHost(publicKey, host.name, Date.now());
    this.#book.addCertificate(host, issued, serialNumber);
    return { certificate: issued.pem, caCertificate: readClusterFile(this.#files.caCertificate) };
  }

  async #leave(host: HostRecord, extensionHost: ExtensionHost) {
    const removed = await this.#withoutMember(host.name, extensionHost);
    // The answer goes out on one of the connections that end, and is lost when that is reset before it was read: who has
    // it closes. No call is let in on any of them meanwhile.
    const timer = setTimeout(() => this.#cutOff(host, extensionHost), LEAVING_MS);
    timer.unref();
    return { removed };
  }

  async #remove(name: string, extensionHost: ExtensionHost): Promise<RemovedLeases> {
    return await this.#withoutMember(name, extensionHost, (host) => this.#cutOff(host, extensionHost));
  }

  /** In this order: once it is no member no call of it is accepted, so that none writes a lease after they are gone. */
  async #withoutMember(
    name: string,
    { store }: ExtensionHost,
    cutOff: (host: HostRecord) => void = () => undefined,
  ): Promise<RemovedLeases> {
    const host = this.#book.remove(name);
    cutOff(host);
    return await removeLeases(store, this.#book.facts, host, this.#book.hosts);
  }

  #cutOff(host: HostRecord, { closeConnections }: ExtensionHost): void {
    closeConnections((certificate) => this.#callers.keyPinOf(certificate) === host.keyPin);
  }

  #createToken(ttlSeconds: bigint) {
    const { id, secret, expiresAtMs } = this.#book.createToken(Number(ttlSeconds) * 1_000, Date.now());
    const { serverCertificate } = this.#files;
    const pin = keyPin(readCertificate(readClusterFile(serverCertificate), serverCertificate).publicKey);
    const { addresses, port } = this.#book.facts;
    const joinAddress = hostAndPort(addresses[0] ?? "", port);
    return { token: formatToken({ id, secret, pin }), id, expiresAtMs: BigInt(expiresAtMs), joinAddress };
  }

  #listTokens() {
    return this.#book.tokens.map(({ id, createdAtMs, expiresAtMs, revokedAtMs = 0, usedBy }) => ({
      id,
      createdAtMs: BigInt(createdAtMs),
      expiresAtMs: BigInt(expiresAtMs),
      revokedAtMs: BigInt(revokedAtMs),
      usedAtMs: BigInt(usedBy?.atMs ?? 0),
      usedBy: usedBy?.hostName ?? "",
    }));
  }

  #revokeToken(id: string) {
    // What is no id is not repeated: it may be a whole token.
    if (!isTokenId(id))
      throw new FlannelError("CONFIG_INVALID", "a token's id has 8 characters; see flannelctl token list");
    this.#book.revokeToken(id, Date.now());
    return {};
  }

  #listHosts(host: ExtensionHost): Host[] {
    const connected = new Set(host.connectedCertificates().map((certificate) => this.#callers.keyPinOf(certificate)));
    return this.#book.hosts.map(({ name, keyPin: pin, joinedAtMs, certificates, addresses }) => ({
      name,
      joinedAtMs: BigInt(joinedAtMs),
      certificateEndsAtMs: BigInt(certificates[0]?.endsAtMs ?? 0),
      addresses: [...addresses],
      isConnected: connected.has(pin),
    }));
  }

  #hostOf(context: CallContext): HostRecord {
    const caller = this.#callers.identify(context, Date.now());
    if (caller.kind !== "host")
      throw new RpcError(grpcStatus.permissionDenied, "flannel-store: only a host may do this");
    return caller.host;
  }

  /** Only for the removal of a host: its call must not fail. */
  #noteAddress(host: HostRecord, { remoteAddress }: Ends): void {
    try {
      this.#book.noteAddress(host, plainAddress(remoteAddress));
    } catch (error) {
      this.#onFailure(error);
    }
  }

  /** Read when the first certificate is to be made: a store that makes none needs neither the key nor the library. */
  #openAuthority(): Promise<ClusterAuthority> {
    this.#authority ??= ClusterAuthority.open(this.#files).catch((error: unknown) => {
      this.#authority = undefined;
      throw error;
    });
    return this.#authority;
  }
}

type Handler<Request, Response> = (request: Request, context: CallContext) => Response | Promise<Response>;

/** With our own errors as statuses. */
function answered<Request, Response>(handle: Handler<Request, Response>) {
  return async (request: Request, context: CallContext): Promise<Response> => {
    try {
      return await handle(request, context);
    } catch (error) {
      throw toRpcError(error);
    }
  };
}

function toRpcError(error: unknown): unknown {
  const status =
    (hasCode(error, "STORE_UNAUTHORIZED") && grpcStatus.unauthenticated) ||
    (hasCode(error, "CONFIG_INVALID") && grpcStatus.invalidArgument) ||
    (hasCode(error, "CLUSTER_CONFLICT") && grpcStatus.alreadyExists) ||
    (hasCode(error, "CLUSTER_NOT_FOUND") && grpcStatus.notFound) ||
    (hasCode(error, "FILE_FAILED") && grpcStatus.unavailable);
  if (status === false || !(error instanceof FlannelError)) return error;
  return new RpcError(status, error.message, { cause: error });
}

function onlyAdministrator(): RpcError {
  return new RpcError(
    grpcStatus.permissionDenied,
    "flannel-store: only the administrator may do this: run flannelctl as root on the store's host",
  );
}
