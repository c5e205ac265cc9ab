// Reads and changes WireGuard devices of the kernel.
import { setImmediate as nextTurn } from "node:timers/promises";
import { hasCode } from "../../errors.ts";
import { GenericNetlink } from "./genetlink.ts";
import { changeMessages, DeviceDump, wireguardFamily, writeDeviceName } from "./wireguard-codec.ts";
import type { DeviceChange, DeviceState } from "./wireguard-device.ts";

/** A dump is begun again when the device changes meanwhile. */
const READ_ATTEMPTS = 8;

/** `KERNEL_NOT_FOUND` when there is no such device, `KERNEL_UNSUPPORTED` when the kernel has no WireGuard. */
export async function readKernelDevice(device: string): Promise<DeviceState> {
  const { name, version, getDevice } = wireguardFamily;
  using netlink = GenericNetlink.open(name, version);
  for (let attempt = 1; ; attempt++) {
    const dump = new DeviceDump();
    try {
      netlink.request(
        {
          command: getDevice,
          operation: `read WireGuard device ${device}`,
          isDump: true,
          writeAttributes: (writer) => writeDeviceName(writer, device),
        },
        (view, start, end) => dump.read(view, start, end),
      );
      return dump.end();
    } catch (error) {
      if (attempt === READ_ATTEMPTS || !hasCode(error, "KERNEL_BUSY")) throw error;
      await nextTurn();
    }
  }
}

/** Throws the kernel's refusal; parts of a large change that came before are done then. */
export async function changeKernelDevice(device: string, change: DeviceChange): Promise<void> {
  const { name, version, setDevice } = wireguardFamily;
  using netlink = GenericNetlink.open(name, version);
  for (const [index, writeAttributes] of changeMessages(device, change).entries()) {
    if (index > 0) await nextTurn();
    netlink.request({ command: setDevice, operation: `set WireGuard device ${device}`, writeAttributes });
  }
}
