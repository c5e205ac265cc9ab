// A certificate authority for tests, made with openssl: a server certificate for 127.0.0.1 and localhost, a client's.
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export class Pki implements AsyncDisposable {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(): Promise<Pki> {
    const pki = new Pki(await mkdtemp(join(tmpdir(), "flannel-pki-")));
    const subject = ["-subj", "/CN=test CA", "-days", "2"];
    const authority = ["-addext", "basicConstraints=critical,CA:TRUE", ...subject];
    await run("openssl", ["req", "-x509", ...newKey(pki.file("ca.key")), ...authority, "-out", pki.ca]);
    await pki.issue("server", "subjectAltName=IP:127.0.0.1,DNS:localhost");
    await pki.issue("client", "subjectAltName=DNS:client");
    return pki;
  }

  get ca(): string {
    return this.file("ca.pem");
  }

  get serverCert(): string {
    return this.file("server.pem");
  }

  get serverKey(): string {
    return this.file("server.key");
  }

  get clientCert(): string {
    return this.file("client.pem");
  }

  get clientKey(): string {
    return this.file("client.key");
  }

  file(name: string): string {
    return join(this.directory, name);
  }

  /** Writes the key `<name>.key` once more, protected by a passphrase. */
  async protectKey(name: string, file: string): Promise<void> {
    const words = ["-aes256", "-passout", "pass:secret", "-out", this.file(file)];
    await run("openssl", ["pkey", "-in", this.file(`${name}.key`), ...words]);
  }

  /** Makes `<name>.key` and `<name>.pem`, signed by this authority; overwrites earlier ones. */
  async issue(name: string, alternativeName: string): Promise<void> {
    const request = this.file(`${name}.csr`);
    const extensions = this.file(`${name}.ext`);
    await writeFile(extensions, `${alternativeName}\nextendedKeyUsage=serverAuth,clientAuth\n`);
    await run("openssl", ["req", ...newKey(this.file(`${name}.key`)), "-subj", `/CN=${name}`, "-out", request]);
    const signer = ["-CA", this.ca, "-CAkey", this.file("ca.key"), "-CAcreateserial", "-days", "2"];
    await run("openssl", [
      "x509",
      "-req",
      "-in",
      request,
      ...signer,
      "-extfile",
      extensions,
      "-out",
      this.file(`${name}.pem`),
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

function newKey(file: string): string[] {
  return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file];
}
