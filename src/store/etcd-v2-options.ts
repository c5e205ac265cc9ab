// How an etcd is reached that still has a network of flannel up to v0.7 in its v2 keys.

export interface EtcdV2Options {
  /** URLs, separated by commas. */
  readonly endpoints: string;
  /** Of the network there: `/coreos.com/network`. */
  readonly prefix: string;
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly username?: string;
  readonly passwordFile?: string;
}
