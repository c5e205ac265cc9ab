// The certificates of a Kubernetes cluster of the lab, made with openssl: an authority, the API server's certificate,
// clients' certificates by user and groups, the key that signs tokens of service accounts. And kubeconfig files of them.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../command.ts";

export interface Certificate {
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** What a client is to the API server: a client certificate, or a token, or nobody. */
export type Credentials = Certificate | { readonly token: string } | undefined;

export class KubernetesPki {
  readonly directory: string;
  #issued = 0;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** In a directory that is made; its files go with it. */
  static async create(directory: string): Promise<KubernetesPki> {
    await mkdir(directory, { recursive: true });
    const pki = new KubernetesPki(directory);
    const subject = ["-subj", "/CN=kubernetes", "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE"];
    await run(["openssl", "req", "-x509", ...newKey(join(directory, "ca.key")), ...subject, "-out", pki.caFile]);
    const rsa = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    await run([...rsa, "-out", pki.tokenKeyFile]);
    return pki;
  }

  get caFile(): string {
    return join(this.directory, "ca.crt");
  }

  /** Signs and verifies tokens of service accounts. */
  get tokenKeyFile(): string {
    return join(this.directory, "service-accounts.key");
  }

  /** `names` are subject alternative names as openssl has them: `IP:127.0.0.1`, `DNS:kubernetes`. */
  issueServer(names: readonly string[]): Promise<Certificate> {
    return this.#issue("/CN=kube-apiserver", "serverAuth", `subjectAltName=${names.join(",")}\n`);
  }

  issueClient(user: string, groups: readonly string[] = []): Promise<Certificate> {
    return this.#issue(`${groups.map((group) => `/O=${group}`).join("")}/CN=${user}`, "clientAuth");
  }

  /** Writes a kubeconfig with all credentials in it and gives its path. */
  async writeKubeconfig(name: string, server: string, credentials: Credentials): Promise<string> {
    const path = join(this.directory, `${name}.kubeconfig`);
    const user = await embedded(credentials);
    const ca = (await readFile(this.caFile)).toString("base64");
    const config = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "lab", cluster: { server, "certificate-authority-data": ca } }],
      users: [{ name: "user", user }],
      contexts: [{ name: "lab", context: { cluster: "lab", user: "user" } }],
      "current-context": "lab",
    };
    await writeFile(path, JSON.stringify(config, undefined, 2), { mode: 0o600 });
    return path;
  }

  async #issue(subject: string, usage: string, extensions = ""): Promise<Certificate> {
    this.#issued += 1;
    const number = this.#issued;
    const base = join(this.directory, `certificate-${number}`);
    const [keyFile, request, certificateFile] = [`${base}.key`, `${base}.csr`, `${base}.crt`];
    await writeFile(`${base}.ext`, `${extensions}extendedKeyUsage=${usage}\n`);
    await run(["openssl", "req", ...newKey(keyFile), "-subj", subject, "-out", request]);
    // A number of our own: several are issued at once, and openssl's file of numbers is not made for that.
    const serial = ["-set_serial", String(number)];
    const signer = ["-CA", this.caFile, "-CAkey", join(this.directory, "ca.key"), ...serial, "-days", "2"];
    const files = ["-in", request, "-extfile", `${base}.ext`, "-out", certificateFile];
    await run(["openssl", "x509", "-req", ...files, ...signer]);
    return { certificateFile, keyFile };
  }
}

function newKey(file: string): readonly string[] {
  return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file];
}

async function embedded(credentials: Credentials): Promise<Readonly<Record<string, string>>> {
  if (credentials === undefined) return {};
  if ("token" in credentials) return { token: credentials.token };
  return {
    "client-certificate-data": (await readFile(credentials.certificateFile)).toString("base64"),
    "client-key-data": (await readFile(credentials.keyFile)).toString("base64"),
  };
}
