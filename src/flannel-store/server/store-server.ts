// The embedded store on the network: one store, its services on one or more addresses.
import type { DetailedPeerCertificate } from "node:tls";
import { AuthDefinition } from "../../etcd-api/etcd.ts";
import type { Caller } from "../grpc/caller.ts";
import { ConnectionRoom } from "../grpc/connection-room.ts";
import type { Ends } from "../grpc/grpc-call.ts";
import type { MethodEntry } from "../grpc/grpc-methods.ts";
import { GrpcServer, type GrpcServerOptions } from "../grpc/grpc-server.ts";
import { MemoryBudget } from "../grpc/memory-budget.ts";
import { Access } from "./access.ts";
import type { CallerRights } from "./caller-rights.ts";
import { EmbeddedStore } from "./embedded-store.ts";
import type { ListenTarget } from "./listen-address.ts";
import { HEALTH_SERVICE, storeMethods } from "./services.ts";
import type { WatchStream } from "./watch-stream.ts";

export interface StoreServerOptions {
  /** Locked by the caller. */
  readonly directory: string;
  readonly listen: readonly ListenTarget[];
  readonly tls?: NonNullable<GrpcServerOptions["tls"]>;
  readonly users?: ReadonlyMap<string, string>;
  /** Decides who may call what, instead of certificates alone and users, and serves methods of its own. */
  readonly extension?: StoreExtension;
  /** How long history is kept; default an hour. */
  readonly retentionMs?: number;
  /** Of the database; default 1 GiB. */
  readonly quotaBytes?: number;
  /** For requests and answers of all clients; default 64 MiB. */
  readonly memoryBytes?: number;
  /** Between notices to watchers that asked for them; default ten minutes, as etcd. */
  readonly progressIntervalMs?: number;
  /** Failures that belong to no call: a full disk, a defect. */
  readonly onFailure: (error: unknown) => void;
}

export interface StoreExtension {
  /** Whether the owner of a verified certificate is authenticated. */
  isKnown(certificate: DetailedPeerCertificate): boolean;
  /** Who calls; undefined for what anybody may call. Throws the refusal of a call. */
  authorize(path: string, ends: Ends): Caller | undefined;
  /** What they may write. */
  rightsOf(caller: Caller): CallerRights | undefined;
  methods(host: ExtensionHost): readonly MethodEntry[];
}

/** What an extension is given. */
export interface ExtensionHost {
  readonly store: EmbeddedStore;
  connectedCertificates(): DetailedPeerCertificate[];
  /** On all addresses. */
  closeConnections(matches: (certificate: DetailedPeerCertificate) => boolean): void;
}

const DEFAULT_RETENTION_MS = 3_600_000;
const DEFAULT_MEMORY_BYTES = 64 * 1024 * 1024;
const DEFAULT_PROGRESS_MS = 600_000;
/** On all addresses. */
const MAX_CONNECTIONS = 1_000;

export class StoreServer implements AsyncDisposable {
  readonly #store: EmbeddedStore;
  readonly #servers: GrpcServer[] = [];
  readonly #options: StoreServerOptions;
  readonly #budget: MemoryBudget;
  readonly #progressTimer: NodeJS.Timeout;

  private constructor(options: StoreServerOptions, store: EmbeddedStore, watchStreams: ReadonlySet<WatchStream>) {
    this.#options = options;
    this.#store = store;
    this.#budget = new MemoryBudget(options.memoryBytes ?? DEFAULT_MEMORY_BYTES);
    this.#progressTimer = setInterval(() => {
      for (const stream of watchStreams) stream.notifyProgress();
    }, options.progressIntervalMs ?? DEFAULT_PROGRESS_MS);
    this.#progressTimer.unref();
  }

  /** Throws file errors, SQLite's, and Node's when an address cannot be listened on; nothing stays open then. */
  static async open(options: StoreServerOptions): Promise<StoreServer> {
    const { directory, retentionMs = DEFAULT_RETENTION_MS, quotaBytes, onFailure } = options;
    const quota = quotaBytes === undefined ? {} : { quotaBytes };
    const store = EmbeddedStore.open({ directory, retentionMs, ...quota, onFailure });
    const watchStreams = new Set<WatchStream>();
    const server = new StoreServer(options, store, watchStreams);
    try {
      await server.#listen(watchStreams);
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** `http://127.0.0.1:2379`, `unix:///run/flannel-store.sock` and so on, in the order given. */
  get urls(): string[] {
    const ending = this.#options.tls === undefined ? "" : "s";
    return this.#options.listen.map((target, index) => {
      if ("path" in target) return `unix${ending}://${target.path}`;
      const { host } = target;
      const shown = host.includes(":") ? `[${host}]` : host;
      return `http${ending}://${shown}:${this.#servers[index]?.port ?? 0}`;
    });
  }

  /** For new connections; whether client certificates are wanted does not change. Throws when they cannot be used. */
  replaceTls(tls: NonNullable<GrpcServerOptions["tls"]>): void {
    for (const server of this.#servers) server.replaceTls(tls);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#progressTimer);
    try {
      await Promise.all(this.#servers.map((server) => server[Symbol.asyncDispose]()));
    } finally {
      this.#budget[Symbol.dispose]();
      await this.#store[Symbol.asyncDispose]();
    }
  }

  async #listen(watchStreams: Set<WatchStream>): Promise<void> {
    const { listen, tls, users, onFailure, extension } = this.#options;
    const access = new Access({
      needsCertificate: tls?.clientCa !== undefined,
      ...(users !== undefined && { users }),
      openPaths: new Set([`/${HEALTH_SERVICE}/Check`]),
      tokenlessPaths: new Set([`/${AuthDefinition.fullName}/${AuthDefinition.methods.authenticate.name}`]),
    });
    const methods = storeMethods({
      store: this.#store,
      budget: this.#budget,
      watchStreams,
      name: "flannel-store",
      clientUrls: () => this.urls,
      authenticate: (name, password) => access.authenticate(name, password),
      ...(extension !== undefined && { rightsOf: (caller: Caller) => extension.rightsOf(caller) }),
    });
    const room = new ConnectionRoom(MAX_CONNECTIONS, this.#budget);
    const added = extension?.methods(this.#extensionHost()) ?? [];
    for (const target of listen) {
      const server = await GrpcServer.listen(target, {
        ...(tls !== undefined && { tls }),
        methods: new Map([...methods, ...added]),
        ...(extension !== undefined && { isKnown: (certificate) => extension.isKnown(certificate) }),
        authorize: (path, ends) => (extension ?? access).authorize(path, ends),
        room,
        budget: this.#budget,
        onFailure,
      });
      this.#servers.push(server);
    }
  }

  #extensionHost(): ExtensionHost {
    return {
      store: this.#store,
      connectedCertificates: () => this.#servers.flatMap((server) => server.connectedCertificates),
      closeConnections: (matches) => {
        for (const server of this.#servers) server.closeConnections(matches);
      },
    };
  }
}
