// Stands in for a container of this host for a moment: an interface in the bridge of the containers, with an address that no container
// has. Its packets go the whole way of a container's, through forwarding, reverse path filters and the rules for forwarded packets, which
// those of the host itself do not meet. It speaks Ethernet by a packet socket, so that the host gets no address and no route for it. IPv4.
import { setTimeout as sleep } from "node:timers/promises";
import { whoHas } from "../../../doctor/gather/arp-probe.ts";
import { FlannelError } from "../../../errors.ts";
import { removeLeftScratch, scratchNames } from "../../../host/scratch-links.ts";
import { type Address, addressToBytes, type Prefix, prefixAddress } from "../../../ip/address.ts";
import { addToAddress, prefixSize } from "../../../ip/prefix.ts";
import type { Device } from "../../../netlink/request.ts";
import { changeLink, deleteLink } from "../../../netlink/rtnetlink/link.ts";
import { Rtnetlink } from "../../../netlink/rtnetlink/rtnetlink.ts";
import { createVeth } from "../../../netlink/rtnetlink/veth.ts";
import { FrameSocket } from "../../../sys/frame-socket.ts";
import { type EchoFrame, encodeArpReply, encodeEcho, type FrameEnds, type IcmpMessage, readFrame } from "./ethernet.ts";

export interface ScratchOptions {
  /** Of the containers. */
  readonly bridge: Device & { readonly mac: string };
  readonly subnet: Prefix;
  readonly mtuBytes: number;
}

/** Tried from the end of the subnet: who gives out addresses begins at the other one. */
const CANDIDATES = 4;
const RUNNING_WITHIN_MS = 3_000;
const LOOK_MS = 5;

export class ScratchContainer implements AsyncDisposable {
  readonly address: Address;
  /** Of both ends of its interface. */
  readonly deviceNames: ReadonlyMap<number, string>;
  readonly #netlink: Rtnetlink;
  readonly #socket: FrameSocket;
  readonly #ends: FrameEnds;
  readonly #port: Device;

  private constructor(
    netlink: Rtnetlink,
    socket: FrameSocket,
    [port, peer]: readonly [port: Device, peer: Device],
    ends: FrameEnds,
  ) {
    this.address = ends.ownAddress;
    this.deviceNames = new Map([port, peer].map(({ index, name }) => [index, name]));
    this.#netlink = netlink;
    this.#socket = socket;
    this.#port = port;
    this.#ends = ends;
  }

  /** Throws a FlannelError when the kernel refuses, or no address is free. */
  static async open({ bridge, subnet, mtuBytes }: ScratchOptions): Promise<ScratchContainer> {
    const netlink = Rtnetlink.open();
    const { port: portName, peer: peerName } = scratchNames(process.pid);
    try {
      await removeLeftScratch(netlink);
      const address = await freeAddress(bridge, subnet);
      const mac = macOf(0x02, address);
      const [error] = await netlink.apply([
        createVeth({ portName, peerName, bridge, mtuBytes, ...{ portMac: macOf(0xfe, address), peerMac: mac } }),
      ]);
      if (error !== undefined) throw error;
      const links = await netlink.dump("link");
      const [port, peer] = [portName, peerName].map((name) => links.find((link) => link.name === name));
      if (port === undefined || peer === undefined) throw new FlannelError("INTERNAL", "a new device is missing");
      try {
        const refusals = await netlink.apply([port, peer].map((device) => changeLink(device, { isUp: true })));
        for (const refusal of refusals) if (refusal !== undefined) throw refusal;
        await untilRunning(netlink, [port, peer]);
        const socket = FrameSocket.open(peer.index);
        return new ScratchContainer(netlink, socket, [port, peer], {
          ...{ ownMac: mac, ownAddress: address, otherMac: bridge.mac },
        });
      } catch (cause) {
        await netlink.apply([deleteLink(port)]);
        throw cause;
      }
    } catch (cause) {
      await netlink[Symbol.asyncDispose]();
      throw cause;
    }
  }

  sendEcho(echo: EchoFrame): void {
    this.#socket.send(encodeEcho(this.#ends, echo));
  }

  /** What came for it; questions for its address are answered. */
  receive(most: number): IcmpMessage[] {
    return this.#socket.receive(most).flatMap((bytes) => {
      const frame = readFrame(bytes, this.#ends);
      if (frame?.type === "question") this.#socket.send(encodeArpReply(this.#ends, frame));
      return frame?.type === "icmp" ? [frame.message] : [];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket[Symbol.dispose]();
    await this.#netlink.apply([deleteLink(this.#port)]);
    await this.#netlink[Symbol.asyncDispose]();
  }
}

/** Before, both ends drop what is sent: the kernel turns to new carriers by and by. Goes on after a while in any case. */
async function untilRunning(netlink: Rtnetlink, ends: readonly Device[]): Promise<void> {
  const indexes = new Set(ends.map(({ index }) => index));
  for (const lastMs = performance.now() + RUNNING_WITHIN_MS; performance.now() < lastMs; await sleep(LOOK_MS)) {
    const links = (await netlink.dump("link")).filter(({ index }) => indexes.has(index));
    if (links.length === ends.length && links.every(({ isRunning }) => isRunning)) return;
  }
}

/** Locally administered. The same each time: this host remembers for minutes who had the address last. */
function macOf(first: 0x02 | 0xfe, address: Address): string {
  return [first, 0x66, ...addressToBytes(address)].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}

async function freeAddress(bridge: ScratchOptions["bridge"], subnet: Prefix): Promise<Address> {
  const size = prefixSize(subnet);
  for (let at = 2n; at < BigInt(CANDIDATES) + 2n && at < size - 2n; at++) {
    const address = addToAddress(prefixAddress(subnet), size - at);
    const holders = await whoHas({ address, device: bridge, own: new Set() });
    if (holders.length === 0) return address;
  }
  throw new FlannelError("KERNEL_BUSY", `the last addresses of ${subnet} are all in use`);
}
