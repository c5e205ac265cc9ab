// WireGuard devices, wherever they are served: by the kernel, or by a program in user space.
import { changeKernelDevice, readKernelDevice } from "../netlink/genetlink/wireguard-control.ts";
import type { DeviceChange, DeviceState } from "../netlink/genetlink/wireguard-device.ts";
import { changeUserspaceDevice, readUserspaceDevice } from "./userspace.ts";

/** The kind of the device's link: `wireguard` is the kernel's, `tun` a program's. */
export type ServedBy = "kernel" | "userspace";

/** `KERNEL_NOT_FOUND` when there is no such device. */
export function readDevice(device: string, servedBy: ServedBy): Promise<DeviceState> {
  return servedBy === "kernel" ? readKernelDevice(device) : readUserspaceDevice(device);
}

export function changeDevice(device: string, change: DeviceChange, servedBy: ServedBy): Promise<void> {
  return servedBy === "kernel" ? changeKernelDevice(device, change) : changeUserspaceDevice(device, change);
}
