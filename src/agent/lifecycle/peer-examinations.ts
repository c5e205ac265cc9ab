// Answers other members of a small cluster that want to know what is wrong on this host and whom it sees (`flannelctl doctor --peer`,
// `flannelctl dashboard`): keeps a call to the store open, and when asked runs this host's own `flannelctl doctor --json`, as a
// process of its own that only looks. The store lets members ask and nobody else, and not more often than every ten seconds.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { BackOff } from "../../async/back-off.ts";
import type { EtcdOptions } from "../../config/agent-options.ts";
import { describeError } from "../../errors.ts";
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
const RETRY = { firstMs: 5_000, maxMs: 300_000 } as const;
/** A store that answers at once that nobody asks is not asked in a tight loop. */
const EMPTY_PAUSE_MS = 100;
const LEAST_PAUSE_MS = 10_000;
/** A dashboard asks again and again, all night perhaps. */
const LOG_EVERY_MS = 600_000;

/** Runs until `signal`, on hosts that are members of such a cluster; else returns at once. Never rejects. */
export async function answerExaminations(options: PeerExaminationsOptions): Promise<void> {
  const { etcd, signal, logger } = options;
  const program = join(dirname(process.argv[1] ?? ""), "flannelctl.mjs");
  if (etcd.renewsCertificate !== true || !existsSync(program)) return;
  const { ClusterClient } = await import("../../flannel-store/membership/cluster-client.ts");
  const { endpoints, tls } = etcd;
  const { caFile = "", certFile = "", keyFile = "" } = tls;
  const client = new ClusterClient({ endpoints, caFile, certFile, keyFile });
  const backOff = new BackOff(RETRY);
  let loggedMs = Number.NEGATIVE_INFINITY;
  /** Returns how long to rest before the next. */
  const answerOne = async (): Promise<number> => {
    try {
      const id = await client.awaitExamination(signal);
      backOff.reset();
      if (id === undefined) return EMPTY_PAUSE_MS;
      await client.finishExamination(id, await examine(program, options), signal);
      if (performance.now() - loggedMs >= LOG_EVERY_MS) {
        loggedMs = performance.now();
        logger.info("peer.examined", "another host asked what is wrong here, and got this host's report");
      }
      return LEAST_PAUSE_MS;
    } catch (cause) {
      const error = describeError(cause);
      const message = "cannot answer other hosts' questions what is wrong here; retrying";
      if (!signal.aborted) logger.verbose(1, "peer.examination-failed", message, { error });
      return backOff.nextMs();
    }
  };
  while (!signal.aborted) {
    await delay(await answerOne(), undefined, { signal, ref: false }).catch(() => undefined);
  }
}

async function examine(program: string, { etcd, flags }: PeerExaminationsOptions): Promise<Uint8Array> {
  const { caFile = "", certFile = "", keyFile = "" } = etcd.tls;
  const store = [
    `--etcd-endpoints=${etcd.endpoints}`,
    `--etcd-prefix=${etcd.prefix}`,
    ...[`--etcd-cafile=${caFile}`, `--etcd-certfile=${certFile}`, `--etcd-keyfile=${keyFile}`],
  ];
  const words = ["--disable-sigusr1", program, ...flags, ...store, "--json", "doctor", "--with-peers"];
  const failed = (why: string) => JSON.stringify({ error: why.slice(0, 2_000) });
  // Who asked waits: the answer says why there is nothing.
  try {
    const { stdout, stderr } = await tryTool(process.execPath, words, "", DOCTOR_WITHIN_MS);
    return Buffer.from(stdout === "" ? failed(stderr) : stdout);
  } catch (error) {
    return Buffer.from(failed(describeError(error)));
  }
}
