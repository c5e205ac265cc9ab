// WireGuard in a user-space program (wireguard-go), for kernels that have none: started here, then spoken to over its
// socket. The program goes on when the agent ends, and ends when its device is deleted.
import { existsSync } from "node:fs";
import { createConnection } from "node:net";
import { describeError, FlannelError } from "../errors.ts";
import type { DeviceChange, DeviceState } from "../netlink/genetlink/wireguard-device.ts";
import { errnoName, fromErrno } from "../sys/errno.ts";
import { findTool, tryTool } from "../sys/run-tool.ts";
import { publicKeyOf } from "./keys.ts";
import { answerErrno, changeText, readDeviceText } from "./uapi-text.ts";

const SOCKET_DIRECTORY = "/var/run/wireguard";
const ANSWER_TIMEOUT_MS = 10_000;
/** 10,000 peers need some 4 MB. */
const MAX_ANSWER_CHARACTERS = 64 * 1024 * 1024;

/** Whether a program serves the device. A socket that a killed one left behind does not count. */
export async function isServed(device: string): Promise<boolean> {
  if (!existsSync(socketPath(device))) return false;
  try {
    await exchange(device, "get=1\n\n");
    return true;
  } catch {
    return false;
  }
}

export async function readUserspaceDevice(device: string): Promise<DeviceState> {
  return readDeviceText(await exchange(device, "get=1\n\n"), publicKeyOf);
}

export async function changeUserspaceDevice(device: string, change: DeviceChange): Promise<void> {
  await exchange(device, changeText(change));
}

/**
 * Starts a program for the device, which exists when this returns. `KERNEL_UNSUPPORTED` when none is installed. Under
 * systemd it gets a unit of its own, since what runs in ours ends with the agent.
 */
export async function startUserspace(device: string): Promise<void> {
  const program = findTool("wireguard-go");
  if (program === undefined) {
    throw new FlannelError(
      "KERNEL_UNSUPPORTED",
      "this kernel has no WireGuard, and wireguard-go is not installed: load the kernel's module (modprobe wireguard; " +
        "Linux 5.6 or newer, on some systems in a package of further modules), or install wireguard-go",
    );
  }
  const systemdRun = existsSync("/run/systemd/system") ? findTool("systemd-run") : undefined;
  const [command, args] =
    systemdRun === undefined
      ? [program, [device]]
      : [
          systemdRun,
          ["--quiet", "--collect", `--unit=wireguard-go-${device}`, "--service-type=forking", program, device],
        ];
  const { exitCode, stdout, stderr } = await tryTool(command, args);
  if (exitCode === 0) return;
  const words = (stderr.trim() || stdout.trim()).split("\n").at(-1) ?? "";
  throw new FlannelError("KERNEL_REJECTED", `wireguard-go ${device}: exit code ${exitCode}: ${words}`, {
    retryable: true,
  });
}

function socketPath(device: string): string {
  return `${SOCKET_DIRECTORY}/${device}.sock`;
}

/** One request, one answer: up to an empty line. */
function exchange(device: string, request: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const operation = `ask wireguard-go about ${device}`;
  const fail = (words: string, cause?: unknown) =>
    reject(new FlannelError("KERNEL_REJECTED", `${operation}: ${words}`, { cause, retryable: true }));
  const socket = createConnection(socketPath(device));
  const timer = setTimeout(() => {
    fail(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s`);
    socket.destroy();
  }, ANSWER_TIMEOUT_MS);
  let answer = "";
  const finish = () => {
    const errno = answerErrno(answer);
    if (errno === undefined) fail("the answer is cut off");
    else if (errno === 0) resolve(answer);
    else reject(fromErrno(operation, errno, { kernelText: `wireguard-go: ${errnoName(errno)}` }));
    socket.destroy();
  };
  socket.setEncoding("utf8").on("data", (text: string) => {
    answer += text;
    if (answer.length > MAX_ANSWER_CHARACTERS) {
      fail("the answer is too long");
      socket.destroy();
    } else if (answer.endsWith("\n\n")) finish();
  });
  socket.once("error", (error) => fail(describeError(error), error));
  socket.once("close", () => {
    clearTimeout(timer);
    fail("the connection was closed");
  });
  socket.write(request);
  return promise;
}
