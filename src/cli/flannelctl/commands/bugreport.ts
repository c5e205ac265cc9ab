// `flannelctl bugreport`: one archive with what a helper needs who cannot see this host. Works without an agent.
import { randomUUID } from "node:crypto";
import { linkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { describeError, FlannelError } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { tryParseJson } from "../../../json/try-parse-json.ts";
import { count, type Paint } from "../../../terminal/text.ts";
import { collectReport, readSecretFile } from "../bugreport/collect.ts";
import { reportParts } from "../bugreport/parts.ts";
import { Redactor } from "../bugreport/redact.ts";
import { type KnownHost, knowNetworks } from "../doctor/known-host.ts";
import { type BugreportOutput, bugreportOutputSchema } from "../session/doctor-output.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { secretsIn } from "./config-secrets.ts";

const SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

export interface BugreportOptions {
  readonly output?: string;
}

/** 0 also where parts are missing: the report says which. */
export async function makeBugreport(invocation: Invocation, { output }: BugreportOptions): Promise<ExitCode> {
  const networks = await knowNetworks(invocation.options, invocation.signal);
  const stamp = new Date(invocation.terminal.nowMs()).toISOString().replaceAll(/[:-]|\.\d+/g, "");
  const name = `flannel-bugreport-${hostname()
    .replaceAll(/[^\w.-]/g, "_")
    .slice(0, 40)}-${stamp}`;
  const file = resolve(output ?? `${name}.tar.gz`);
  const redactor = knownSecrets(invocation, networks);
  const { archive, index, unpackedBytes } = await collectReport(reportParts(invocation, networks), redactor, name);
  write(file, archive, output !== undefined);
  const missing = index.filter(({ failure }) => failure !== undefined);
  const result: BugreportOutput = {
    file,
    packedBytes: archive.length,
    unpackedBytes,
    parts: index.length - missing.length,
    redactions: index.reduce((sum, { redactions }) => sum + redactions, 0),
    missing: missing.map(({ file: part, failure = "" }) => ({ file: part, reason: failure })),
  };
  present(invocation, bugreportOutputSchema, result, renderReport);
  return exitCodes.ok;
}

/** Readable by its owner alone from the first byte on; a file that is there is replaced only where the user named it. */
function write(file: string, archive: Uint8Array, mayReplace: boolean): void {
  const temporary = `${file}.${randomUUID()}.tmp`;
  try {
    writeFileSync(temporary, archive, { mode: 0o600, flag: "wx" });
    if (mayReplace) renameSync(temporary, file);
    else linkSync(temporary, file);
  } catch (cause) {
    throw new FlannelError("FILE_FAILED", `cannot write ${file}: ${describeError(cause)}`, { cause });
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** Those whose values are known here; the others are found by where they stand. */
function knownSecrets({ options, terminal }: Invocation, networks: readonly KnownHost[]): Redactor {
  const redactor = new Redactor();
  const { password, passwordFile, keyFile } = options.etcd;
  redactor.know(password);
  for (const path of [passwordFile, keyFile, SERVICE_ACCOUNT_TOKEN, options.paths.keyFile]) {
    if (path !== "") redactor.know(readSecretFile(path));
  }
  for (const [name, value] of Object.entries(terminal.env)) {
    if (/^FLANNEL/.test(name) && /PASSWORD$|TOKEN|SECRET|PSK/.test(name)) redactor.know(value);
  }
  for (const { state } of networks) {
    if (state === undefined) continue;
    redactor.know(...secretsIn(state.configText), ...stringsIn(state.identities, true));
    for (const path of filesIn(state.configText)) redactor.know(readSecretFile(path));
  }
  const kubeconfig = options.kubernetes?.kubeconfigFile;
  if (kubeconfig !== undefined) {
    const text = readSecretFile(kubeconfig) ?? "";
    redactor.know(
      ...[...text.matchAll(/(?:token|password|client-key-data)\s*:\s*["']?([^\s"']+)/g)].map(([, value]) => value),
    );
  }
  return redactor;
}

/** Files that the network configuration names: those of pre-shared keys. */
function filesIn(configText: string): string[] {
  return [...configText.matchAll(/"\w*File"\s*:\s*"(\/[^"\\]+)"/gi)].map(([, path = ""]) => path);
}

/** Of an identity everything may be secret that is not a MAC or a public key. */
function stringsIn(value: unknown, isSecret: boolean): string[] {
  if (typeof value === "string")
    return isSecret && !/^([\da-f]{2}:){5}[\da-f]{2}$/i.test(value) && tryParseJson(value) === undefined ? [value] : [];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, each]) => stringsIn(each, !/public/i.test(key)));
}

function renderReport(
  { file, packedBytes, unpackedBytes, parts, redactions, missing }: BugreportOutput,
  paint: Paint,
): string[] {
  const mebibytes = (bytes: number) => `${(bytes / 1_048_576).toFixed(1)} MiB`;
  return [
    `${paint.good("wrote")} ${file}: ${count(parts, "part")}, ${mebibytes(packedBytes)} (${mebibytes(unpackedBytes)} unpacked), ${count(redactions, "secret")} replaced`,
    ...missing.map((part) => `  ${paint.warn("without")} ${part.file}: ${part.reason}`),
    "Names and addresses of hosts are in it: look through it before you hand it on.",
  ];
}
