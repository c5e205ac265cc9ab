// The server that the contract tests of the store port run against: a real etcd, or the embedded store when the test
// project says so (vitest.config.ts). The tests must not be able to tell.
import { EmbeddedServer } from "../embedded/embedded-server.ts";
import { EtcdServer } from "./etcd-server.ts";

export interface ContractServer extends AsyncDisposable {
  /** As `--etcd-endpoints` wants them. */
  readonly endpoints: string;
  readonly member: {
    start(): void;
    healthy(): Promise<void>;
    /** With -9. */
    kill(): Promise<void>;
  };
  /** Runs etcdctl and resolves with its output. */
  control(...commandLine: readonly string[]): Promise<string>;
  /** Copies all data as it is now; the result puts the copy back in place of what is there then. */
  copyData(): Promise<() => Promise<void>>;
}

export function startContractServer(): Promise<ContractServer> {
  return process.env["FLANNEL_TEST_STORE"] === "embedded" ? EmbeddedServer.start() : EtcdServer.start();
}
