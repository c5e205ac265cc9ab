// Reading from a cluster that has lost its quorum: what a member itself holds is all there is, and nothing newer can be
// written anywhere that it could see.
import { mayLackLeader } from "./etcd-errors.ts";

/** `read(true)` is to ask for a serializable read. Rejects with what the linearizable one said. */
export async function readWithoutLeader<T>(read: (isStale: boolean) => Promise<T>): Promise<T> {
  try {
    return await read(false);
  } catch (error) {
    if (!mayLackLeader(error)) throw error;
    return await read(true).catch(() => {
      throw error;
    });
  }
}
