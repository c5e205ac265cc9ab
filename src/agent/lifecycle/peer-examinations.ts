// Answers other members of a small cluster that want to know what is wrong on this host (`flannelctl doctor --peer`): keeps a call
// to the store open, and when asked runs this host's own `flannelctl doctor --json`, as a process of its own that only
// looks. The store lets members ask and nobody else, and not more often than every ten seconds.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { EtcdOptions } from "../../config/agent-options.ts";
import { describeError, hasCode } from "../../errors.ts";
import { tryTool } from "../../sys/run-tool.ts";
import type { Logger } from "../../telemetry/logger.ts";

export interface PeerExaminationsOptions {
  readonly etcd: EtcdOptions;
  /** Where the agent of this process answers, and its files are: words for flannelctl. */
  readonly flags: readonly string[];
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

const DOCTOR_WITHIN_MS = 11_000;
const FIRST_RETRY_MS = 5_000;
const LAST_RETRY_MS = 300_000;
const LEAST_PAUSE_MS = 10_000;

/** Runs until `signal`, on hosts that are members of such a cluster; else returns at once. Never rejects. */
export async function answerExaminations(options: PeerExaminationsOptions): Promise<void> {
  const { etcd, signal, logger } = options;
  const program = join(dirname(process.argv[1] ?? ""), "flannelctl.mjs");
  if (etcd.renewsCertificate !== true || !existsSync(program)) return;
  const { ClusterClient } = await import("../../flannel-store/membership/cluster-client.ts");
  const { endpoints, tls } = etcd;
  const { caFile = "", certFile = "", keyFile = "" } = tls;
  const client = new ClusterClient({ endpoints, caFile, certFile, keyFile });
  let retryMs = FIRST_RETRY_MS;
  while (!signal.aborted) {
    let pauseMs = 0;
    try {
      const id = await client.awaitExamination(signal);
      retryMs = FIRST_RETRY_MS;
      if (id === undefined) continue;
      await client.finishExamination(id, await examine(program, options), signal);
      logger.info("peer.examined", "another host asked what is wrong here, and got this host's report");
      pauseMs = LEAST_PAUSE_MS;
    } catch (error) {
      if (signal.aborted) return;
      logger.verbose(
        1,
        "peer.examination-failed",
        "cannot answer other hosts' questions what is wrong here; retrying",
        {
          error: describeError(error),
        },
      );
      // A store of an earlier version does not know the question.
      pauseMs = hasCode(error, "STORE_UNAVAILABLE") ? retryMs : LAST_RETRY_MS;
      retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
    }
    await delay(pauseMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
}

async function examine(program: string, { etcd, flags }: PeerExaminationsOptions): Promise<Uint8Array> {
  const { caFile = "", certFile = "", keyFile = "" } = etcd.tls;
  const store = [
    `--etcd-endpoints=${etcd.endpoints}`,
    `--etcd-prefix=${etcd.prefix}`,
    ...[`--etcd-cafile=${caFile}`, `--etcd-certfile=${certFile}`, `--etcd-keyfile=${keyFile}`],
  ];
  const words = ["--disable-sigusr1", program, ...flags, ...store, "--json", "doctor"];
  const { stdout, stderr } = await tryTool(process.execPath, words, "", DOCTOR_WITHIN_MS);
  // The answer says why there is nothing.
  return Buffer.from(stdout === "" ? JSON.stringify({ error: stderr.slice(0, 2_000) }) : stdout);
}
