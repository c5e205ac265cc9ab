// A cluster on a real flannel-store process, and hosts that join it, for tests. Goes with `await using`.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseStoreAddress, type StoreAddress } from "../../src/flannel-store/grpc/store-address.ts";
import { ClusterClient } from "../../src/flannel-store/membership/cluster-client.ts";
import { clusterFiles } from "../../src/flannel-store/membership/cluster-files.ts";
import { type Joined, joinCluster } from "../../src/flannel-store/membership/join-cluster.ts";
import { makePrivateKey } from "../../src/flannel-store/membership/keys.ts";
import { EtcdSubnetStore } from "../../src/store/etcd/etcd-subnet-store.ts";
import { never, prefix } from "../etcd/fixture.ts";
import { EmbeddedServer, type EmbeddedServerOptions } from "./embedded-server.ts";

const run = promisify(execFile);

/** One host's files, as `flannelctl join` would lay them. */
export class TestHost {
  readonly name: string;
  readonly keyPem: string;
  readonly files: TlsFiles;
  readonly endpoints: string;

  constructor(world: ClusterWorld, name: string, keyPem: string) {
    const directory = join(world.server.directory, `host-${name}-${world.nextNumber()}`);
    mkdirSync(directory);
    this.name = name;
    this.keyPem = keyPem;
    this.endpoints = world.server.endpoints;
    this.files = {
      caFile: join(directory, "ca.pem"),
      certFile: join(directory, "host.pem"),
      keyFile: join(directory, "host-key.pem"),
    };
    writeFileSync(this.files.keyFile, keyPem);
  }

  keep({ certificatePem, caPem }: Joined): void {
    writeFileSync(this.files.certFile, certificatePem);
    writeFileSync(this.files.caFile, caPem);
  }

  get client(): ClusterClient {
    return new ClusterClient({ endpoints: this.endpoints, ...this.files });
  }

  /** As the agent of this host. */
  store(): Promise<EtcdSubnetStore> {
    return EtcdSubnetStore.open({ endpoints: this.endpoints, prefix, tls: this.files });
  }

  /** Runs etcdctl with this host's certificate. */
  control(...words: readonly string[]): Promise<string> {
    return etcdctl(this.endpoints, this.files, words);
  }
}

interface TlsFiles {
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

async function etcdctl(
  endpoints: string,
  { caFile, certFile, keyFile }: TlsFiles,
  words: readonly string[],
): Promise<string> {
  const tls = ["--cacert", caFile, "--cert", certFile, "--key", keyFile, "--command-timeout=5s"];
  const env = { ...process.env, ETCDCTL_API: "3" };
  return (await run("etcdctl", ["--endpoints", endpoints, ...tls, ...words], { env })).stdout;
}

export class ClusterWorld implements AsyncDisposable {
  readonly server: EmbeddedServer;
  #number = 0;

  private constructor(server: EmbeddedServer) {
    this.server = server;
  }

  static async start(options: EmbeddedServerOptions = {}): Promise<ClusterWorld> {
    return new ClusterWorld(await EmbeddedServer.start({ inMemory: true, ...options, clusterPrefix: prefix }));
  }

  get clusterDirectory(): string {
    return join(this.server.dataDirectory, "cluster");
  }

  get address(): StoreAddress {
    return parseStoreAddress(this.server.endpoints);
  }

  /** For `flannelctl --root`: where a host keeps its store, below this directory. */
  root(): string {
    const root = join(this.server.directory, "root");
    const dataDirectory = join(root, "var/lib/flannel-store");
    if (!existsSync(dataDirectory)) {
      mkdirSync(join(root, "var/lib"), { recursive: true });
      symlinkSync(this.server.dataDirectory, dataDirectory);
    }
    return root;
  }

  get administratorFiles(): TlsFiles {
    const { adminCertificate, adminKey, caCertificate } = clusterFiles(this.clusterDirectory);
    return { caFile: caCertificate, certFile: adminCertificate, keyFile: adminKey };
  }

  get administrator(): ClusterClient {
    return new ClusterClient({ endpoints: this.server.endpoints, ...this.administratorFiles });
  }

  /** Runs etcdctl with the administrator's certificate. */
  control(...words: readonly string[]): Promise<string> {
    return etcdctl(this.server.endpoints, this.administratorFiles, words);
  }

  async token(ttlSeconds = 600): Promise<string> {
    return (await this.administrator.createToken(ttlSeconds, never)).token;
  }

  nextNumber(): number {
    return ++this.#number;
  }

  /** A host that has its key and nothing else yet. */
  newHost(name: string, keyPem = makePrivateKey()): TestHost {
    return new TestHost(this, name, keyPem);
  }

  /** Rejects as joinCluster does. */
  async join(host: TestHost, token: string): Promise<TestHost> {
    const { name: hostName, keyPem } = host;
    host.keep(await joinCluster({ address: this.address, token, hostName, keyPem }, never));
    return host;
  }

  async joined(name: string): Promise<TestHost> {
    return await this.join(this.newHost(name), await this.token());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }
}
