// TUN devices: a process reads and writes the IP packets that the kernel routes to and takes from the device.
import { closeSync, constants, openSync } from "node:fs";
import { FlannelError } from "../errors.ts";
import { errnos, fromErrno } from "./errno.ts";
import { Fd } from "./fd.ts";
import { ioctlNumber, ioctlPointer, settled } from "./libc.ts";

/** linux/if_tun.h */
const TUNSETIFF = 0x4004_54ca;
const TUNSETPERSIST = 0x4004_54cb;
const TUNSETOFFLOAD = 0x4004_54d0;
const TUNGETIFF = 0x8004_54d2;
const TUNSETVNETHDRSZ = 0x4004_54d8;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_TSO6 = 0x04;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;
/** struct ifreq: name of 16 bytes, then a union of up to 24. */
const IFREQ_BYTES = 40;
const NAME_BYTES = 16;
const DEVICE = "/dev/net/tun";

/** What the kernel hands over uncut and without finished checksums. */
export type TunOffload = "none" | "tcp" | "tcp and udp";

/**
 * Attaches to the device `name`, making it when there is none; it stays when the descriptor is closed. Packets carry a
 * virtio header of `vnetHeaderBytes`. Throws `KERNEL_BUSY` when another process holds it.
 */
export function openTun(name: string, vnetHeaderBytes: number): Fd {
  const fd = attach(name, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
  try {
    const setUp = setVnetHeaderBytes(fd, vnetHeaderBytes);
    if (setUp < 0) throw fromErrno(`set up ${name}`, -setUp);
    makePersistent(name, fd);
  } catch (error) {
    fd[Symbol.dispose]();
    throw error;
  }
  return fd;
}

/** Whether `fd`, which may be anything, is attached to the device of this name, and fit for use like one of `openTun`. */
export function isTun(fd: Fd, name: string, vnetHeaderBytes: number): boolean {
  const request = new Uint8Array(IFREQ_BYTES);
  if (ioctlPointer(fd.number, TUNGETIFF, request) < 0) return false;
  const attached = Buffer.from(request.subarray(0, NAME_BYTES)).toString("latin1").replace(/\0.*$/s, "");
  const flags = new DataView(request.buffer).getUint16(NAME_BYTES, true);
  return attached === name && (flags & IFF_VNET_HDR) !== 0 && setVnetHeaderBytes(fd, vnetHeaderBytes) >= 0;
}

/** Makes the device when there is none, and leaves it to whoever attaches to it. */
export function ensureTun(name: string): void {
  try {
    using fd = attach(name, IFF_TUN | IFF_NO_PI);
    makePersistent(name, fd);
  } catch (error) {
    // Who holds it has made it.
    if (!(error instanceof FlannelError && error.code === "KERNEL_BUSY")) throw error;
  }
}

/** Asks for the most that `wanted` allows; older kernels know less (UDP since 6.2). */
export function setTunOffload(fd: Fd, wanted: TunOffload): TunOffload {
  const tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  const steps = [
    ["tcp and udp", tcp | TUN_F_USO4 | TUN_F_USO6],
    ["tcp", tcp],
    ["none", 0],
  ] as const;
  const first = steps.findIndex(([name]) => name === wanted);
  for (const [name, bits] of steps.slice(first)) if (ioctlNumber(fd.number, TUNSETOFFLOAD, bits) === 0) return name;
  return "none";
}

/** 0, or minus the errno. */
function setVnetHeaderBytes(fd: Fd, bytes: number): number {
  const call = (): number => ioctlPointer(fd.number, TUNSETVNETHDRSZ, new Uint8Array(Int32Array.of(bytes).buffer));
  return settled(call(), [], call);
}

function makePersistent(name: string, fd: Fd): void {
  setPersistence(fd, 1, `make ${name} persistent`);
}

/** From now on the device `name` goes, with its addresses and routes, when the last copy of `fd` is closed. */
export function makeTransient(name: string, fd: Fd): void {
  setPersistence(fd, 0, `let ${name} end with this process`);
}

/** Takes the devices away; `KERNEL_BUSY`, and all stay, when a process holds one: it may be another program's. */
export function removeTuns(names: readonly string[]): void {
  const attached: { readonly name: string; readonly fd: Fd }[] = [];
  try {
    for (const name of names) attached.push({ name, fd: attach(name, IFF_TUN | IFF_NO_PI) });
    for (const { name, fd } of attached) makeTransient(name, fd);
  } finally {
    for (const { fd } of attached) fd[Symbol.dispose]();
  }
}

function setPersistence(fd: Fd, value: 0 | 1, operation: string): void {
  const call = (): number => ioctlNumber(fd.number, TUNSETPERSIST, value);
  const result = settled(call(), [], call);
  if (result < 0) throw fromErrno(operation, -result);
}

function attach(name: string, flags: number): Fd {
  const fd = openDevice();
  const request = new Uint8Array(IFREQ_BYTES);
  request.set(Buffer.from(name).subarray(0, NAME_BYTES - 1));
  new DataView(request.buffer).setUint16(NAME_BYTES, flags, true);
  const call = (): number => ioctlPointer(fd, TUNSETIFF, request);
  const result = settled(call(), [errnos.EBUSY], call);
  if (result >= 0) return new Fd(fd);
  const errno = -result;
  closeSync(fd);
  const hint =
    errno === errnos.EBUSY ? { kernelText: "another process uses the device: check for another flanneld" } : {};
  throw fromErrno(`attach to the TUN device ${name}`, errno, hint);
}

function openDevice(): number {
  try {
    return openSync(DEVICE, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (cause) {
    throw new FlannelError("KERNEL_UNSUPPORTED", `cannot open ${DEVICE}: load the module with: modprobe tun`, {
      cause,
    });
  }
}
