// Credentials issued by a program that a kubeconfig file names (`exec:`), by the protocol of
// client.authentication.k8s.io/v1 and v1beta1: it prints an ExecCredential, which is used until it expires.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { abandonOnAbort } from "../async/cancellation.ts";
import { describeError, FlannelError } from "../errors.ts";
import { tryParseJson } from "../json/try-parse-json.ts";
import { isRecord, textOf } from "../json/untyped-fields.ts";
import type { CredentialSource, Credentials } from "./api-access.ts";

export interface ExecPlugin {
  readonly apiVersion: string;
  /** Absolute, or a name to be found in PATH; relative paths have been resolved against the kubeconfig file. */
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** What to do when the program is missing. */
  readonly installHint: string;
  /** With `provideClusterInfo`: the cluster as the program gets it. Rejects with `STORE_UNAUTHORIZED`. */
  readonly cluster?: () => Promise<Readonly<Record<string, unknown>>>;
}

const RUN_TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;
/** Issued again so long before the end: clocks differ. */
const RENEW_BEFORE_MS = 10_000;

interface Issued {
  readonly credentials: Credentials;
  readonly expiresAtMs: number;
}

export class ExecCredentials implements CredentialSource {
  readonly #plugin: ExecPlugin;
  #issued: Issued | undefined;
  #running: Promise<Issued> | undefined;

  constructor(plugin: ExecPlugin) {
    this.#plugin = plugin;
  }

  async current(signal: AbortSignal): Promise<Credentials> {
    if (this.#issued !== undefined && Date.now() < this.#issued.expiresAtMs - RENEW_BEFORE_MS) {
      return this.#issued.credentials;
    }
    this.#running ??= issue(this.#plugin).finally(() => {
      this.#running = undefined;
    });
    this.#running.catch(() => undefined); // nobody may wait for it any more
    this.#issued = await abandonOnAbort(this.#running, "ask for credentials", signal);
    return this.#issued.credentials;
  }

  refused(): void {
    this.#issued = undefined;
  }
}

async function issue(plugin: ExecPlugin): Promise<Issued> {
  const { apiVersion, command, args, env, cluster } = plugin;
  const info = {
    apiVersion,
    kind: "ExecCredential",
    spec: { interactive: false, ...(cluster !== undefined && { cluster: await cluster() }) },
  };
  let output: string;
  try {
    const { stdout } = await promisify(execFile)(command, [...args], {
      env: { ...process.env, ...env, KUBERNETES_EXEC_INFO: JSON.stringify(info) },
      timeout: RUN_TIMEOUT_MS,
      killSignal: "SIGKILL",
      maxBuffer: MAX_OUTPUT_BYTES,
    });
    output = stdout;
  } catch (error) {
    throw failed(plugin, error);
  }
  return readIssued(plugin, output);
}

/** Node's own message quotes the whole command line and the output: there may be secrets in both. */
function failed({ command, installHint }: ExecPlugin, error: unknown): FlannelError {
  const code = error instanceof Error && "code" in error ? String(error.code) : describeError(error);
  const what = code === "ENOENT" ? "is not installed" : `failed (${code})`;
  const hint = installHint === "" ? "" : `; ${installHint}`;
  const message = `the program ${command}, which issues the credentials for the Kubernetes API, ${what}${hint}`;
  return new FlannelError("STORE_UNAUTHORIZED", message);
}

function readIssued({ command, apiVersion }: ExecPlugin, output: string): Issued {
  const parsed = tryParseJson(output);
  const status = isRecord(parsed) && isRecord(parsed["status"]) ? parsed["status"] : undefined;
  const [token, cert, key] = ["token", "clientCertificateData", "clientKeyData"].map((name) => textOf(status?.[name]));
  const isComplete = token !== undefined || (cert !== undefined && key !== undefined);
  if (!isRecord(parsed) || parsed["apiVersion"] !== apiVersion || !isComplete) {
    const message = `the program ${command} printed no ExecCredential of ${apiVersion} for the Kubernetes API`;
    throw new FlannelError("STORE_UNAUTHORIZED", message);
  }
  const expiry = Date.parse(textOf(status?.["expirationTimestamp"]) ?? "");
  return {
    credentials: {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      ...(cert !== undefined && key !== undefined && { clientCertificate: { cert, key } }),
    },
    expiresAtMs: Number.isNaN(expiry) ? Number.POSITIVE_INFINITY : expiry,
  };
}
