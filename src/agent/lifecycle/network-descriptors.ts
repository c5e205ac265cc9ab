// The descriptors of one network among those kept for the next process: when the network goes, they go.
import type { Fd } from "../../sys/fd.ts";
import type { DescriptorKeeper } from "../../sys/service-descriptors.ts";

export class NetworkDescriptors implements DescriptorKeeper {
  readonly #keeper: DescriptorKeeper;
  readonly #names = new Set<string>();

  constructor(keeper: DescriptorKeeper) {
    this.#keeper = keeper;
  }

  take(name: string): Fd | undefined {
    this.#names.add(name);
    return this.#keeper.take(name);
  }

  keep(name: string, fd: Fd): void {
    this.#names.add(name);
    this.#keeper.keep(name, fd);
  }

  giveBack(name: string, fd: Fd): void {
    this.#names.add(name);
    this.#keeper.giveBack(name, fd);
  }

  forget(name: string): void {
    this.#names.delete(name);
    this.#keeper.forget(name);
  }

  /** Throws when nobody can be told; the descriptors of this process are closed all the same. */
  forgetAll(): void {
    let failure: unknown;
    for (const name of [...this.#names]) {
      try {
        this.forget(name);
      } catch (error) {
        failure = error;
      }
    }
    if (failure !== undefined) throw failure;
  }
}
