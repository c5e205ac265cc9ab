// What flannel-store does in cluster mode besides keeping keys: lets in members and nobody else, takes hosts in, lets them
// go, renews certificates.
import { X509Certificate } from "node:crypto";
import type { DetailedPeerCertificate } from "node:tls";
import { FlannelError, hasCode } from "../../errors.ts";
import type { Caller } from "../grpc/caller.ts";
import type { CallContext, Ends } from "../grpc/grpc-call.ts";
import { type MethodEntry, unary } from "../grpc/grpc-methods.ts";
import type { GrpcServerOptions } from "../grpc/grpc-server.ts";
import { grpcStatus, RpcError } from "../grpc/rpc-error.ts";
import { hostAndPort } from "../grpc/store-address.ts";
import { plainAddress } from "../grpc/unauthenticated-connections.ts";
import type { CallerRights } from "../server/caller-rights.ts";
import { HEALTH_SERVICE } from "../server/services.ts";
import type { ExtensionHost, StoreExtension } from "../server/store-server.ts";
import { Callers } from "./callers.ts";
import { ClusterDefinition, type Host, type JoinRequest, type JoinResponse } from "./cluster.ts";
import { ClusterAuthority } from "./cluster-authority.ts";
import { type ClusterFiles, clusterFiles, readClusterFile } from "./cluster-files.ts";
import { Examinations, MAX_REPORT_BYTES } from "./examinations.ts";
import { addressesOf } from "./host-addresses.ts";
import { JoinGuard } from "./join-guard.ts";
import { formatToken, isTokenId } from "./join-token.ts";
import { keyPin, readCertificate } from "./keys.ts";
import { LogOnce } from "./log-once.ts";
import type { HostRecord } from "./member-file.ts";
import { MemberRegistry } from "./member-registry.ts";
import { MemberRemoval } from "./member-removal.ts";
import { checkHostCall, rightsOf } from "./member-rights.ts";
import { hostNameRule, isValidHostName } from "./names.ts";
import { clockWarning, ensureOwnCertificates } from "./own-certificates.ts";
import { serverNames } from "./server-names.ts";

const { methods } = ClusterDefinition;
const pathOf = (name: string) => `/${ClusterDefinition.fullName}/${name}`;
const openPaths = new Set([pathOf(methods.join.name), `/${HEALTH_SERVICE}/Check`]);
const { renew, leave, awaitExamination, finishExamination } = methods;
const hostPaths = new Set([renew, leave, awaitExamination, finishExamination].map(({ name }) => pathOf(name)));
/** For every member, about any other. */
const memberPaths = new Set([pathOf(methods.examineHost.name)]);
const clusterPaths = `/${ClusterDefinition.fullName}/`;
const MAX_JOIN_BYTES = 8 * 1024;

export class ClusterService implements StoreExtension {
  readonly #files: ClusterFiles;
  readonly #registry: MemberRegistry;
  readonly #callers: Callers;
  readonly #guard = new JoinGuard();
  readonly #examinations = new Examinations();
  readonly #onFailure: (error: unknown) => void;
  #authority: Promise<ClusterAuthority> | undefined;
  readonly #failures: LogOnce;
  #removal: MemberRemoval | undefined;
  #connectedCertificates: ExtensionHost["connectedCertificates"] = () => [];

  private constructor(files: ClusterFiles, registry: MemberRegistry, onFailure: (error: unknown) => void) {
    this.#files = files;
    this.#registry = registry;
    this.#callers = new Callers(registry);
    this.#onFailure = onFailure;
    this.#failures = new LogOnce(onFailure);
  }

  /**
   * Reads DATA-DIR/cluster and renews what is due there. Throws `CONFIG_INVALID` or `FILE_FAILED`. `onFailure` hears of
   * failures that belong to no call.
   */
  static async open(directory: string, onFailure: (error: unknown) => void): Promise<ClusterService> {
    const files = clusterFiles(directory);
    const service = new ClusterService(files, MemberRegistry.open(files), onFailure);
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
   * The authority's, the server's and the administrator's, when they are due. What fails is reported, and a clock that cannot
   * be right; call it again and again. Rejects with nothing.
   */
  async renewOwnCertificates(): Promise<void> {
    const { adminCertificate, caCertificate } = this.#files;
    const nowMs = Date.now();
    try {
      const names = serverNames(this.#registry.facts.addresses);
      const written = await ensureOwnCertificates(this.#files, names, nowMs);
      // Nothing more is to be signed with the one from before.
      if (written.includes(caCertificate)) this.#authority = undefined;
      if (written.includes(adminCertificate)) {
        this.#callers.addAdministrator(readCertificate(readClusterFile(adminCertificate), adminCertificate));
      }
      const warning = clockWarning(this.#files, nowMs);
      this.#failures.follow(warning === undefined ? undefined : new FlannelError("FILE_FAILED", warning));
    } catch (error) {
      // Some may have been written before.
      this.#authority = undefined;
      this.#failures.follow(
        new FlannelError("FILE_FAILED", "the store's certificates cannot be renewed", { cause: error }),
      );
    }
  }

  authorize(path: string, ends: Ends): Caller | undefined {
    if (openPaths.has(path)) return undefined;
    const member = this.#callers.identify(ends, Date.now());
    const isAboutItself = hostPaths.has(path);
    if (member.kind === "host") {
      this.#noteAddress(member.host, ends);
      if (!isAboutItself) {
        if (path.startsWith(clusterPaths) && !memberPaths.has(path)) throw onlyAdministrator();
        if (!memberPaths.has(path)) checkHostCall(path, member.host);
      }
    } else if (isAboutItself) {
      throw new RpcError(grpcStatus.permissionDenied, "flannel-store: only a host may do this, for itself");
    }
    if (member.kind !== "host") return member;
    const { name, keyPin: pin } = member.host;
    const addresses = addressesOf([plainAddress(ends.remoteAddress)], this.#registry.facts);
    return { kind: "host", name, keyPin: pin, addresses };
  }

  rightsOf(caller: Caller): CallerRights | undefined {
    const isConnected = (pin: string) =>
      this.#connectedCertificates().some((certificate) => this.#callers.keyPinOf(certificate) === pin);
    return rightsOf(caller, this.#registry, isConnected);
  }

  isKnown(certificate: DetailedPeerCertificate): boolean {
    return this.#callers.isKnown(certificate);
  }

  /** Begins to delete what is left of removed hosts, when the store serves; call it again and again. */
  finishRemovals(): void {
    this.#removal?.finish().catch(this.#onFailure);
  }

  methods(host: ExtensionHost): readonly MethodEntry[] {
    const service = ClusterDefinition;
    const removal = new MemberRemoval({
      registry: this.#registry,
      store: host.store,
      cutOff: ({ keyPin: pin }) => host.closeConnections((certificate) => this.#callers.keyPinOf(certificate) === pin),
      onFailure: this.#onFailure,
    });
    this.#removal = removal;
    this.#connectedCertificates = () => host.connectedCertificates();
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
        answered(async (_, context) => ({ removed: await removal.leave(this.#hostOf(context)) })),
      ),
      ...this.#examinationMethods(),
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
        answered(async ({ name }) => ({ removed: await removal.remove(name) })),
      ),
    ];
  }

  #examinationMethods(): readonly MethodEntry[] {
    const service = ClusterDefinition;
    return [
      unary(
        service,
        awaitExamination,
        answered(async (_, context) => ({ id: await this.#examinations.next(this.#hostOf(context)) })),
      ),
      unary(
        service,
        finishExamination,
        answered(({ id, report }, context) => {
          this.#examinations.finish(this.#hostOf(context), id, report);
          return {};
        }),
        MAX_REPORT_BYTES + 1_024,
      ),
      unary(
        service,
        methods.examineHost,
        answered(async ({ host }) => {
          const record = this.#memberOf(host);
          return { hostName: record.name, report: await this.#examinations.examine(record) };
        }),
      ),
    ];
  }

  #memberOf(nameOrAddress: string): HostRecord {
    const { hosts, facts } = this.#registry;
    const found =
      hosts.find(({ name }) => name === nameOrAddress) ??
      hosts.find(({ addresses }) => addressesOf(addresses, facts).includes(nameOrAddress));
    if (found !== undefined) return found;
    throw new FlannelError("CLUSTER_NOT_FOUND", `the cluster has no host ${nameOrAddress.slice(0, 64)}`);
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
    this.#registry.checkSecret(tokenId, secret);
    if (!isValidHostName(hostName)) throw new FlannelError("CONFIG_INVALID", `a host name must be ${hostNameRule}`);
    const authority = await this.#openAuthority();
    const { publicKey, keyPin: pin } = authority.readSigningRequest(signingRequest);
    const nowMs = Date.now();
    const attempt = { tokenId, secret, hostName, keyPin: pin, address };
    const issued = this.#registry.join(attempt, nowMs, () => authority.issueHost(publicKey, hostName, nowMs));
    return {
      certificate: issued.pem,
      caCertificate: readClusterFile(this.#files.caCertificate),
      etcdPrefix: this.#registry.facts.etcdPrefix,
    };
  }

  async #renew(host: HostRecord, { certificate }: CallContext) {
    const authority = await this.#openAuthority();
    const { publicKey, serialNumber } = new X509Certificate(certificate?.raw ?? Buffer.alloc(0));
    const issued = authority.issueHost(publicKey, host.name, Date.now());
    this.#registry.addCertificate(host, issued, serialNumber);
    return { certificate: issued.pem, caCertificate: readClusterFile(this.#files.caCertificate) };
  }

  #createToken(ttlSeconds: bigint) {
    const { serverCertificate } = this.#files;
    // First what can fail without a trace: a token that was not shown could not be used.
    const pin = keyPin(readCertificate(readClusterFile(serverCertificate), serverCertificate).publicKey);
    const { id, secret, expiresAtMs } = this.#registry.createToken(Number(ttlSeconds) * 1_000, Date.now());
    const { addresses, port } = this.#registry.facts;
    const joinAddress = hostAndPort(addresses[0] ?? "", port);
    return { token: formatToken({ id, secret, pin }), id, expiresAtMs: BigInt(expiresAtMs), joinAddress };
  }

  #listTokens() {
    return this.#registry.tokens.map(({ id, createdAtMs, expiresAtMs, revokedAtMs = 0, usedBy }) => ({
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
    this.#registry.revokeToken(id, Date.now());
    return {};
  }

  #listHosts(host: ExtensionHost): Host[] {
    const connected = new Set(host.connectedCertificates().map((certificate) => this.#callers.keyPinOf(certificate)));
    const { hosts, leaving } = this.#registry;
    return [...hosts, ...leaving].map(({ name, keyPin: pin, joinedAtMs, certificates, addresses }, index) => ({
      name,
      joinedAtMs: BigInt(joinedAtMs),
      certificateEndsAtMs: BigInt(certificates[0]?.endsAtMs ?? 0),
      addresses: [...addresses],
      isConnected: connected.has(pin),
      isLeaving: index >= hosts.length,
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
      this.#registry.noteAddress(host, plainAddress(remoteAddress));
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
    (hasCode(error, "AGENT_SILENT") && grpcStatus.failedPrecondition) ||
    (hasCode(error, "FILE_FAILED", "STORE_UNAVAILABLE") && grpcStatus.unavailable);
  if (status === false || !(error instanceof FlannelError)) return error;
  return new RpcError(status, error.message, { cause: error });
}

function onlyAdministrator(): RpcError {
  return new RpcError(
    grpcStatus.permissionDenied,
    "flannel-store: only the administrator may do this: run flannelctl as root on the store's host",
  );
}
