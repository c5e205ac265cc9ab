// What is known of containers of this host: their interfaces, their namespaces, what CNI and Docker keep. Types.
import type { Address, Prefix } from "../ip/address.ts";

export interface ContainerFacts {
  readonly bridgePorts: readonly BridgePort[];
  readonly namespaces: readonly ContainerNamespace[];
  readonly reservations: readonly { readonly directory: string; readonly addresses: readonly Address[] }[];
  /** Of the CNI configuration, and those that have containers of the network as neighbours. */
  readonly bridgeNames: readonly string[];
  /** Of the CNI configuration directory, in the order in which a runtime takes them. */
  readonly cniFiles: readonly { readonly name: string; readonly isFlannels: boolean }[];
  readonly docker?: DockerFacts;
}

export interface BridgePort {
  readonly name: string;
  readonly index: number;
  readonly bridge: string;
  readonly mtuBytes: number;
  readonly isUp: boolean;
  readonly hasCarrier: boolean;
  /** BR_STATE_*: 3 forwards. Missing where it cannot be read. */
  readonly state?: number;
}

/** A network namespace other than the host's. */
export interface ContainerNamespace {
  /** Of a process in it, or the name of the namespace. */
  readonly name: string;
  /** Of the namespace, for nsenter. */
  readonly path: string;
  readonly interfaces: readonly {
    readonly name: string;
    /** In its own namespace. */
    readonly index: number;
    readonly addresses: readonly Prefix[];
    /** Index of its other end in the host's namespace; missing: it is not there, such as that of a container within another. */
    readonly peerIndex?: number;
    readonly isUp: boolean;
    readonly mtuBytes: number;
    readonly mac?: string;
  }[];
  readonly routes: readonly { readonly destination: Prefix; readonly gateway?: Address }[];
}

export interface DockerFacts {
  /** Of docker0. */
  readonly addresses: readonly Prefix[];
  readonly attached: number;
  /** `--bip` of the running dockerd, or in the options file that mk-docker-opts wrote. */
  readonly bip?: string;
}
