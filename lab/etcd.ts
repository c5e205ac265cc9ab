// Real etcd servers for tests and the demo: one member or several, on addresses the box can reach, with data in memory.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CommandError, run } from "./command.ts";
import { Daemon } from "./daemon.ts";
import { boxNamespace, type Namespace } from "./namespace.ts";

export interface EtcdMemberOptions {
  /** Default 127.0.0.1. */
  readonly address?: string;
  /** Default 2379; the peer port is the next one. */
  readonly port?: number;
  /** Where it runs; default the box itself (the LAN's router). */
  readonly namespace?: Namespace;
}

export interface EtcdOptions {
  /** Default: one member with its defaults. */
  readonly members?: readonly EtcdMemberOptions[];
  /** Added to each member's command line. */
  readonly args?: readonly string[];
  /** Where a directory for the data is made; default in memory, where there is a box. */
  readonly parent?: string;
}

export interface EtcdEntry {
  readonly key: string;
  readonly value: string;
  readonly modRevision: bigint;
  /** 0n: no lease. */
  readonly leaseId: bigint;
}

/** One server process, which may be stopped and started again with its data. */
export class EtcdMember extends Daemon {
  readonly endpoint: string;
  /** The flags that tell which member of which cluster it is; a restored copy is given them too. */
  readonly identity: readonly string[];

  constructor(name: string, endpoint: string, namespace: Namespace, argv: readonly string[]) {
    super(name, namespace, argv);
    this.endpoint = endpoint;
    this.identity = argv.filter((flag) => /^--(name|initial-)/.test(flag));
  }

  kill9(): Promise<void> {
    return this.stop();
  }
}

/** One etcd, of one or several members. Disposing kills them and removes their data. */
export class Etcd implements AsyncDisposable {
  readonly members: readonly EtcdMember[];
  readonly #namespace: Namespace;
  readonly #directory: string;

  private constructor(members: readonly EtcdMember[], namespace: Namespace, directory: string) {
    this.members = members;
    this.#namespace = namespace;
    this.#directory = directory;
  }

  /** Returns when all members answer. */
  static async start(options: EtcdOptions = {}): Promise<Etcd> {
    const plans = options.members ?? [{}];
    // The box's /run is in memory and gone with the box.
    const parent = options.parent ?? (process.env["LAB_BOX"] === "1" ? "/run" : tmpdir());
    const directory = await mkdtemp(join(parent, "flannel-lab-etcd-"));
    const peers = plans.map((plan, index) => `${nameOf(index)}=${urlOf(plan, 1)}`).join(",");
    const members = plans.map((plan, index) => {
      const argv = ["etcd", ...memberArguments(plan, index, peers, directory), ...(options.args ?? [])];
      return new EtcdMember(nameOf(index), urlOf(plan, 0), plan.namespace ?? boxNamespace, argv);
    });
    const etcd = new Etcd(members, plans[0]?.namespace ?? boxNamespace, directory);
    try {
      for (const member of members) member.start();
      for (const member of members) await etcd.untilHealthy(member);
    } catch (error) {
      await etcd[Symbol.asyncDispose]();
      throw error;
    }
    return etcd;
  }

  /** For `--etcd-endpoints`. */
  get endpoints(): string {
    return this.members.map((member) => member.endpoint).join(",");
  }

  /** Waits until the member serves reads and writes. */
  async untilHealthy(member: EtcdMember): Promise<void> {
    await member.until("etcd is healthy", async () => {
      await this.ctl(["endpoint", "health"], member.endpoint);
      return true;
    });
  }

  /** `etcdctl` (v3) with the given words; `input` is its standard input, where `put KEY` finds a long value. */
  async ctl(words: readonly string[], endpoints = this.endpoints, input = ""): Promise<string> {
    const argv = ["etcdctl", `--endpoints=${endpoints}`, "--dial-timeout=2s", "--command-timeout=4s", ...words];
    return run(this.#namespace.command(argv), { env: { ETCDCTL_API: "3" }, input });
  }

  async put(key: string, value: string, leaseId?: bigint): Promise<void> {
    const lease = leaseId === undefined ? [] : [`--lease=${leaseId.toString(16)}`];
    await this.ctl(["put", ...lease, "--", key, value]);
  }

  async delete(key: string): Promise<void> {
    await this.ctl(["del", "--", key]);
  }

  /** The entry, or undefined. */
  async get(key: string): Promise<EtcdEntry | undefined> {
    return (await this.#read(key))[0];
  }

  /** All entries whose key starts so, by key. */
  list(prefix: string): Promise<readonly EtcdEntry[]> {
    return this.#read(prefix, "--prefix");
  }

  /** A new etcd lease of that many seconds. */
  async grant(ttlSeconds: number): Promise<bigint> {
    const text = await this.ctl(["lease", "grant", String(ttlSeconds)]);
    const match = /lease ([0-9a-f]+) granted/.exec(text);
    if (match === null) throw new CommandError(["etcdctl", "lease", "grant"], 0, text);
    return BigInt(`0x${match[1]}`);
  }

  /** Forgets all history up to now: watchers that lag behind get a compaction error. */
  async compact(): Promise<void> {
    const status = JSON.parse(await this.ctl(["get", "--write-out=json", "-"])) as { header: { revision: number } };
    await this.ctl(["compact", String(status.header.revision)]);
  }

  /**
   * Copies the data of a single member as it is now; the result puts the copy back in place of what is there then, as an
   * administrator does it with a snapshot. Lower revisions than before, and the same cluster id.
   */
  async copyData(): Promise<() => Promise<void>> {
    const [member] = this.members;
    if (member === undefined || this.members.length > 1) throw new Error("only one member's data can be put back");
    const [file, data] = [join(this.#directory, "copy.db"), join(this.#directory, member.name)];
    await this.ctl(["snapshot", "save", file]);
    return async () => {
      await member.kill9();
      await rm(data, { recursive: true });
      await this.ctl(["snapshot", "restore", file, ...member.identity, `--data-dir=${data}`]);
      member.start();
      await this.untilHealthy(member);
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill9()));
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #read(key: string, ...options: readonly string[]): Promise<readonly EtcdEntry[]> {
    const text = await this.ctl(["get", "--write-out=json", ...options, "--", key]);
    // Lease ids are 64-bit numbers: kept as text, since JSON numbers would lose their last digits.
    const exact = text.replaceAll(/"(lease|mod_revision)":(\d+)/g, '"$1":"$2"');
    const answer = JSON.parse(exact) as {
      kvs?: { key: string; value?: string; mod_revision: string; lease?: string }[];
    };
    return (answer.kvs ?? []).map((entry) => ({
      key: Buffer.from(entry.key, "base64").toString("utf8"),
      value: Buffer.from(entry.value ?? "", "base64").toString("utf8"),
      modRevision: BigInt(entry.mod_revision),
      leaseId: BigInt(entry.lease ?? "0"),
    }));
  }
}

function nameOf(index: number): string {
  return `m${index + 1}`;
}

function urlOf(plan: EtcdMemberOptions, offset: 0 | 1): string {
  const address = plan.address ?? "127.0.0.1";
  return `http://${address.includes(":") ? `[${address}]` : address}:${(plan.port ?? 2379) + offset}`;
}

function memberArguments(plan: EtcdMemberOptions, index: number, peers: string, directory: string): readonly string[] {
  const client = urlOf(plan, 0);
  const peer = urlOf(plan, 1);
  return [
    `--name=${nameOf(index)}`,
    `--data-dir=${join(directory, nameOf(index))}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=${peers}`,
    // Short elections, no disk guarantees: these servers live for a test. A data directory preallocates 62 MB.
    "--heartbeat-interval=50",
    "--election-timeout=500",
    "--unsafe-no-fsync",
    "--logger=zap",
    "--log-level=warn",
  ];
}
