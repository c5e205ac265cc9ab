// Device and sockets of the data plane. They are held from one session to the next and kept for the next process, so that
// what arrives meanwhile waits in them: a device without a holder loses its carrier and drops what is routed to it.
import { FlannelError } from "../errors.ts";
import { type Address, addressToBytes, familyOf } from "../ip/address.ts";
import type { Fd } from "../sys/fd.ts";
import { networkNamespace } from "../sys/network-namespace.ts";
import type { DescriptorStore } from "../sys/service-descriptors.ts";
import { isTun, makeTransient, openTun } from "../sys/tun-device.ts";
import { isBoundTo, openUdpSocket } from "../sys/udp-socket.ts";
import { VNET_HEADER_BYTES } from "./arena.ts";
import type { TunnelState } from "./tunnel-state.ts";

/** Capped by net.core.rmem_max for those who are not root. */
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
/** The kernel doubles it. Room for one batch: what is beyond stands in the device's queue, as with a network card. */
const SEND_BUFFER_BYTES = 512 * 1024;

/** A UDP socket that was wanted and could not be had. */
export interface MissingSocket {
  readonly address: Address;
  readonly port: number;
  readonly error: unknown;
}

/** What a session works with; owned by TunnelDescriptors, to be left open while the session runs. */
export interface SessionDescriptors {
  readonly tun: Fd;
  readonly udp4: Fd | undefined;
  readonly udp6: Fd | undefined;
  readonly missing: MissingSocket | undefined;
}

export class TunnelDescriptors implements Disposable {
  readonly #descriptorStore: DescriptorStore;
  readonly #onUntold: (error: unknown) => void;
  readonly #held = new Map<string, Fd>();
  /** Of those held. */
  readonly #kept = new Set<string>();
  /** The device is to end with this process, and nothing is kept for the next one. */
  #isHandedOver = false;

  /** `onUntold` gets the reason why the store did not answer. */
  constructor(descriptorStore: DescriptorStore, onUntold: (error: unknown) => void) {
    this.#descriptorStore = descriptorStore;
    this.#onUntold = onUntold;
  }

  /**
   * What `state` needs, and no more is held afterwards. Throws when the device or every socket cannot be had; with the
   * socket of one family, the other is missing.
   */
  open(state: TunnelState): SessionDescriptors {
    const { device, localIpv4, localIpv6, port } = state;
    const addresses = [localIpv4, localIpv6].filter((address) => address !== undefined);
    const wanted = new Set([deviceName(device), ...addresses.map((address) => socketName(address, port))]);
    for (const name of [...this.#held.keys()]) if (!wanted.has(name)) this.#letGo(name);
    const tun = this.#obtain(
      deviceName(device),
      (fd) => isTun(fd, device, VNET_HEADER_BYTES),
      () => openTun(device, VNET_HEADER_BYTES),
    );
    const missing: MissingSocket[] = [];
    const udp4 = localIpv4 && this.#tryObtainSocket(localIpv4, port, missing);
    const udp6 = localIpv6 && this.#tryObtainSocket(localIpv6, port, missing);
    if (missing[0] !== undefined && udp4 === undefined && udp6 === undefined) throw missing[0].error;
    if (this.#isHandedOver) this.#endWithProcess(device, tun);
    else this.#keepHeld();
    return { tun, udp4, udp6, missing: missing[0] };
  }

  /**
   * From now on the device goes when this process ends, and with it its addresses and routes; the port is free then. For
   * another program that is to take their place. Throws when the device is not held.
   */
  handOver(device: string): void {
    const tun = this.#held.get(deviceName(device));
    if (tun === undefined) throw new FlannelError("KERNEL_BUSY", `this process does not hold ${device}`);
    this.#isHandedOver = true;
    this.#endWithProcess(device, tun);
  }

  /** The device may be gone; and what nobody reads is better dropped than kept. */
  letDeviceGo(): void {
    for (const name of [...this.#held.keys()]) if (name.startsWith(DEVICE)) this.#letGo(name);
  }

  /** To the store: neither is the device detached nor the port free. */
  [Symbol.dispose](): void {
    for (const [name, fd] of this.#held) this.#descriptorStore.giveBack(name, fd);
    this.#held.clear();
    this.#kept.clear();
  }

  #tryObtainSocket(address: Address, port: number, missing: MissingSocket[]): Fd | undefined {
    try {
      return this.#obtain(
        socketName(address, port),
        (fd) => isBoundTo(fd, address, port),
        () => openSocket(address, port),
      );
    } catch (error) {
      missing.push({ address, port, error });
      return undefined;
    }
  }

  #obtain(name: string, isUsable: (fd: Fd) => boolean, open: () => Fd): Fd {
    const held = this.#held.get(name);
    if (held !== undefined) return held;
    const kept = this.#descriptorStore.take(name);
    if (kept !== undefined) {
      this.#held.set(name, kept);
      this.#kept.add(name);
      if (isUsable(kept)) return kept;
      this.#letGo(name);
    }
    try {
      const fd = open();
      this.#held.set(name, fd);
      return fd;
    } catch (error) {
      // The store may have missed that it is not to be kept any more: then nobody can have it.
      this.#updateStore(() => this.#descriptorStore.forget(name));
      throw error;
    }
  }

  #keepHeld(): void {
    for (const [name, fd] of this.#held) {
      if (this.#kept.has(name)) continue;
      this.#kept.add(name);
      this.#updateStore(() => this.#descriptorStore.keep(name, fd));
    }
  }

  #endWithProcess(device: string, tun: Fd): void {
    makeTransient(device, tun);
    for (const name of this.#kept) this.#updateStore(() => this.#descriptorStore.forget(name));
    this.#kept.clear();
  }

  #letGo(name: string): void {
    this.#held.get(name)?.[Symbol.dispose]();
    this.#held.delete(name);
    if (this.#kept.delete(name)) this.#updateStore(() => this.#descriptorStore.forget(name));
  }

  #updateStore(update: () => void): void {
    try {
      update();
    } catch (error) {
      this.#onUntold(error);
    }
  }
}

/** Whether a socket that could not be had can be had now. */
export function canOpenSocket({ address, port }: MissingSocket): boolean {
  try {
    using _socket = openSocket(address, port);
    return true;
  } catch {
    return false;
  }
}

function openSocket(address: Address, port: number): Fd {
  return openUdpSocket(address, port, RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES);
}

const DEVICE = "tun-";

/** With the network namespace: a device or socket of another is none of ours. */
function deviceName(device: string): string {
  return `${DEVICE}${device}-${networkNamespace()}`;
}

/** Without the colons of IPv6, which separate names. */
function socketName(address: Address, port: number): string {
  const bytes = Buffer.from(addressToBytes(address)).toString("hex");
  return `udp${familyOf(address)}-${bytes}-${port}-${networkNamespace()}`;
}
