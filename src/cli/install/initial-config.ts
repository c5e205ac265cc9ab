// The first network configuration of a cluster, written straight into the store's data while no store runs.
import { describeError, FlannelError } from "../../errors.ts";

/**
 * Stores `text` at `key` unless there is a value. Returns the one that stands there then. The caller holds the lock of
 * `dataDirectory`. Throws `FILE_FAILED`.
 */
export async function storeInitialConfig(dataDirectory: string, key: string, text: string): Promise<string> {
  // Loaded late, as is all that only one verb needs.
  const { EmbeddedStore } = await import("../../flannel-store/server/embedded-store.ts");
  const { unframeKeyValues } = await import("../../flannel-store/server/key-value-frames.ts");
  const { PutRequest, RangeRequest } = await import("../../etcd-api/etcd.ts");
  try {
    await using store = EmbeddedStore.open({
      directory: dataDirectory,
      retentionMs: 3_600_000,
      onFailure: () => undefined,
    });
    const { frames } = store.range(RangeRequest.fromPartial({ key: Buffer.from(key) }));
    const [present] = unframeKeyValues(frames);
    if (present !== undefined) return Buffer.from(present.value).toString("utf8");
    const put = PutRequest.fromPartial({ key: Buffer.from(key), value: Buffer.from(text) });
    await store.write((writer) => writer.put(put));
    return text;
  } catch (cause) {
    throw new FlannelError("FILE_FAILED", `cannot write the network configuration: ${describeError(cause)}`, { cause });
  }
}
