// One gRPC channel per endpoint and the choice among them. Channels are replaced when certificates are reloaded, and when
// the way to the store may be another one.
import { type ChannelOptions, Client } from "@grpc/grpc-js";
import { tryParseAddress } from "../../ip/address.ts";
import type { CertificateInUse } from "../subnet-store.ts";
import { type LoadedCredentials, loadCredentials } from "./credentials.ts";
import { type EtcdEndpoint, type EtcdTlsFiles, parseEndpoints } from "./endpoints.ts";
import { registerZonedTargets } from "./zoned-target.ts";

export interface EtcdTimings {
  /** Longest wait for one answer from one endpoint, connecting included. */
  readonly callTimeoutMs: number;
  /** Between pings; etcd hangs up on clients that ping more often than every 5 s. */
  readonly keepaliveTimeMs: number;
  /** An unanswered ping closes the connection. */
  readonly keepaliveTimeoutMs: number;
  /** Between requests for a sign of life on a watch. */
  readonly progressIntervalMs: number;
}

export const defaultTimings: EtcdTimings = {
  callTimeoutMs: 5_000,
  keepaliveTimeMs: 10_000,
  keepaliveTimeoutMs: 5_000,
  progressIntervalMs: 15_000,
};

/** Pages and watch batches stay far below; a store full of huge values is read in smaller pages. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** HTTP/2 window: a page of leases arrives without waiting for window updates. */
const FLOW_CONTROL_WINDOW_BYTES = 4 * 1024 * 1024;

export interface EtcdChannel {
  readonly url: string;
  readonly client: Client;
  /** Aborts when the channel is replaced or closed: streams on it must move. */
  readonly closed: AbortSignal;
}

export class EtcdChannels {
  /** Of the options: odd but workable. */
  readonly warnings: readonly string[];
  readonly #endpoints: readonly EtcdEndpoint[];
  readonly #isEncrypted: boolean;
  readonly #files: EtcdTlsFiles;
  readonly #timings: EtcdTimings;
  #credentials: LoadedCredentials;
  #channels: readonly EtcdChannel[] = [];
  #generation = new AbortController();
  #index = 0;

  private constructor(
    { endpoints, isEncrypted, warnings }: ReturnType<typeof parseEndpoints>,
    files: EtcdTlsFiles,
    timings: EtcdTimings,
    loaded: LoadedCredentials,
  ) {
    this.warnings = warnings;
    this.#endpoints = endpoints;
    this.#isEncrypted = isEncrypted;
    this.#files = files;
    this.#timings = timings;
    this.#credentials = loaded;
    this.renew();
  }

  /** Reads the certificate files; connects nowhere yet. Throws `CONFIG_INVALID`. */
  static async open(list: string, files: EtcdTlsFiles, timings: EtcdTimings): Promise<EtcdChannels> {
    const parsed = parseEndpoints(list, files);
    registerZonedTargets();
    return new EtcdChannels(parsed, files, timings, await loadCredentials(files, parsed.isEncrypted));
  }

  get urls(): readonly string[] {
    return this.#endpoints.map(({ url }) => url);
  }

  certificates(): readonly CertificateInUse[] {
    return this.#credentials.certificates();
  }

  get current(): EtcdChannel {
    const channel = this.#channels[this.#index];
    if (channel === undefined) throw new RangeError("no etcd endpoint is given: set --etcd-endpoints");
    return channel;
  }

  /** Moves on to the next endpoint, unless another caller already left `failed`. */
  leave(failed: EtcdChannel): void {
    if (this.current.url === failed.url) this.#index = (this.#index + 1) % this.#channels.length;
  }

  /** New channels with the certificates as they are on disk now. When they cannot be used the old ones stay. */
  async reload(): Promise<void> {
    if (!this.#isEncrypted) return;
    this.#credentials = await loadCredentials(this.#files, this.#isEncrypted);
    this.renew();
  }

  /** New connections: those that stand are of no use any more when this host's address has changed. */
  renew(): void {
    this.close();
    this.#generation = new AbortController();
    this.#channels = this.#endpoints.map((endpoint) => ({
      url: endpoint.url,
      client: new Client(endpoint.target, this.#credentials.make(endpoint), channelOptions(endpoint, this.#timings)),
      closed: this.#generation.signal,
    }));
  }

  /**
   * A channel to an endpoint that is none of ours, for the caller to close; undefined when it cannot be reached in the way
   * ours are.
   */
  tryOpenOther(url: string): Client | undefined {
    try {
      const { endpoints, isEncrypted } = parseEndpoints(url, this.#files);
      const [endpoint] = endpoints;
      if (endpoint === undefined || isEncrypted !== this.#isEncrypted) return undefined;
      return new Client(endpoint.target, this.#credentials.make(endpoint), channelOptions(endpoint, this.#timings));
    } catch {
      return undefined;
    }
  }

  close(): void {
    this.#generation.abort();
    for (const { client } of this.#channels) client.close();
  }
}

function channelOptions({ host }: EtcdEndpoint, timings: EtcdTimings): ChannelOptions {
  return {
    "grpc.keepalive_time_ms": timings.keepaliveTimeMs,
    "grpc.keepalive_timeout_ms": timings.keepaliveTimeoutMs,
    // etcd ends connections whose client pings without a call; after a rest the next call sends the ping that is due.
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2_000,
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc-node.flow_control_window": FLOW_CONTROL_WINDOW_BYTES,
    // A store is never reached through a web proxy, and its DNS name carries no gRPC service configuration.
    "grpc.enable_http_proxy": 0,
    "grpc.service_config_disable_resolution": 1,
    // Each connection has its own sockets and its own certificates.
    "grpc.use_local_subchannel_pool": 1,
    // RFC 6066 forbids addresses as server name, and Node warns; the certificate is checked against the address anyway.
    ...(tryParseAddress(host) !== undefined && { "grpc.ssl_target_name_override": "localhost" }),
  };
}
