// One etcd for the tests of a file, looked at and changed by etcdctl as an operator would.
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll } from "vitest";
import { EtcdServer } from "./etcd-server.ts";

export interface StoredKey {
  readonly value: string;
  /** Decimal. */
  readonly revision: string;
  /** Decimal id of the etcd lease, "0" without one. */
  readonly lease: string;
}

export class OperatorsEtcd {
  endpoint = "";

  /** Runs etcdctl; returns what it prints. */
  ctl(...argv: string[]): string {
    const env = { ...process.env, ETCDCTL_API: "3" };
    return execFileSync("etcdctl", ["--endpoints", this.endpoint, ...argv], { env, encoding: "utf8" });
  }

  get(key: string): StoredKey | undefined {
    const text = this.ctl("get", key, "-w", "json");
    const kv = (JSON.parse(text) as { kvs?: { value: string; mod_revision: number }[] }).kvs?.[0];
    if (kv === undefined) return undefined;
    return {
      value: Buffer.from(kv.value, "base64").toString("utf8"),
      revision: String(kv.mod_revision),
      // Too large for a number.
      lease: /"lease":(\d+)/.exec(text)?.[1] ?? "0",
    };
  }

  clear(): void {
    this.ctl("del", "", "--prefix");
  }
}

/** Call at the top of a test file. */
export function useEtcd(): OperatorsEtcd {
  const etcd = new OperatorsEtcd();
  let server: EtcdServer | undefined;
  beforeAll(async () => {
    server = await EtcdServer.start();
    etcd.endpoint = server.endpoints;
  });
  afterAll(() => server?.[Symbol.asyncDispose]());
  return etcd;
}
