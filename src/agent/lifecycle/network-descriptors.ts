// The descriptors of one network among those kept for the next process: when the network goes, they go.
import type { Fd } from "../../sys/fd.ts";
import type { DescriptorStore } from "../../sys/service-descriptors.ts";

export class NetworkDescriptors implements DescriptorStore {
  readonly #descriptorStore: DescriptorStore;
  readonly #names = new Set<string>();

  constructor(descriptorStore: DescriptorStore) {
    this.#descriptorStore = descriptorStore;
  }

  take(name: string): Fd | undefined {
    this.#names.add(name);
    return this.#descriptorStore.take(name);
  }

  keep(name: string, fd: Fd): void {
    this.#names.add(name);
    this.#descriptorStore.keep(name, fd);
  }

  giveBack(name: string, fd: Fd): void {
    this.#names.add(name);
    this.#descriptorStore.giveBack(name, fd);
  }

  forget(name: string): void {
    this.#names.delete(name);
    this.#descriptorStore.forget(name);
  }

  /** Throws when the service manager does not answer; the descriptors of this process are closed all the same. */
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
