// strongSwan's daemon charon as a process: found, told from others, started so that it goes on when the agent ends, stopped.
// A charon that runs already, whoever started it, is used as it is.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { describeError, FlannelError } from "../errors.ts";
import { findTool, isExecutable, tryTool } from "../sys/run-tool.ts";
import { type OnEvent, ViciClient } from "./vici-client.ts";

/** charon's defaults; the names are compiled into it. */
export const CHARON_SOCKET = "/var/run/charon.vici";
const PID_FILE = "/var/run/charon.pid";
/** The first is one that AppArmor's profile of Debian and Ubuntu lets charon read; the second is for where /run is read-only. */
const CONFIG_FILES = ["/run/charon.flannel.conf", "/run/flannel/charon.conf"] as const;
const SYSTEM_CONFIG = "/etc/strongswan.conf";
/** In the environment of those that we start. */
const MARK = { FLANNEL_CHARON: "1" } as const;
const SYSTEMD_UNIT = "flannel-charon";

/** After PATH, where distributions put it; upstream's list. */
const places = [
  "/usr/lib/strongswan/charon",
  "/usr/lib/ipsec/charon",
  "/usr/libexec/strongswan/charon",
  "/usr/libexec/ipsec/charon",
];

const PLUGIN_DIRECTORIES = ["/usr/lib/ipsec/plugins", "/usr/lib/strongswan/plugins", "/usr/lib64/strongswan/plugins"];

const START_TIMEOUT_MS = 10_000;
const START_POLL_MS = 20;
/** One that flannel started and that does not listen after this has lost its socket: nobody can drive it any more. */
const MAX_START_MS = 120_000;
/** Unit of times in /proc, on every architecture. */
const TICKS_PER_SECOND = 100;
const STOP_TIMEOUT_MS = 5_000;
const MAX_WORDS_CHARACTERS = 8_192;

export interface CharonNeeds {
  /** The kernel has no ESP: charon has to encrypt by itself. */
  readonly isUserspace: boolean;
}

/** Full path of the program; undefined when this host does not have it. */
function findCharon(): string | undefined {
  return findTool("charon") ?? places.find(isExecutable);
}

const INSTALL =
  "install strongSwan (Debian, Ubuntu: strongswan-charon, strongswan-swanctl and libstrongswan-standard-plugins; Fedora, Alpine: strongswan)";

/** What is not installed of what charon needs, and how it is; undefined when nothing is known to be missing. */
export function missingParts({
  isUserspace,
}: CharonNeeds): { readonly what: string; readonly cure: string } | undefined {
  if (charonPid() !== undefined && existsSync(CHARON_SOCKET)) return undefined;
  if (findCharon() === undefined) return { what: "strongSwan's charon is not installed", cure: INSTALL };
  const directory = PLUGIN_DIRECTORIES.find((each) => existsSync(each));
  if (directory === undefined) return undefined;
  const lacks = (plugin: string) => !existsSync(`${directory}/libstrongswan-${plugin}.so`);
  if (lacks("vici")) {
    const cure = "install it (Debian, Ubuntu: strongswan-swanctl)";
    return { what: "strongSwan's plugin vici, by which charon is driven, is not installed", cure };
  }
  if (isUserspace && lacks("kernel-libipsec")) {
    const cure =
      "load the kernel's module esp4, or install the plugin (Debian, Ubuntu: libcharon-extra-plugins; Fedora: strongswan-libipsec)";
    return { what: "this kernel has no ESP, and strongSwan's plugin kernel-libipsec is not installed", cure };
  }
  return undefined;
}

/** The pid of a charon that lives; its file may be of one that died, or of another process by now. */
export function charonPid(): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(PID_FILE, "utf8"), 10);
    return pid > 0 && isCharon(pid) ? pid : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A charon of flannel's that has no pid file yet, or has lost it: on a busy host it takes seconds until it has one, and an agent may have
 * ended meanwhile. Another one beside it would take the socket away from it, and fail for want of the ports.
 */
function startingCharon(): number | undefined {
  const namespace = networkNamespaceOf("self");
  try {
    return readdirSync("/proc")
      .map(Number)
      .find((pid) => pid > 0 && isCharon(pid) && isOwnCharon(pid) && networkNamespaceOf(pid) === namespace);
  } catch {
    return undefined;
  }
}

function isCharon(pid: number): boolean {
  return readProcess(pid, "comm").startsWith("charon");
}

/** How long it has run; 0 when that is unknown. See proc(5), `starttime`. */
function ageMs(pid: number): number {
  const [, rest = ""] = /^.*\) (.*)$/s.exec(readProcess(pid, "stat")) ?? [];
  const startedTicks = Number(rest.split(" ")[19] ?? Number.NaN);
  const upSeconds = Number.parseFloat(readFileSync("/proc/uptime", "utf8"));
  const age = (upSeconds - startedTicks / TICKS_PER_SECOND) * 1_000;
  return Number.isFinite(age) ? age : 0;
}

function networkNamespaceOf(pid: number | "self"): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}

/**
 * A connection to the charon that runs on this host, or to one that is started now. Throws `TOOL_MISSING` when there is
 * none, `SERVICE_FAILED` with its own words when it does not start.
 */
export async function connectCharon(
  needs: CharonNeeds,
  onEvent: OnEvent,
  signal: AbortSignal,
): Promise<{ readonly client: ViciClient; readonly isStarted: boolean }> {
  const living = await ViciClient.connect(CHARON_SOCKET, onEvent).catch(() => undefined);
  if (living !== undefined) return { client: living, isStarted: false };
  const program = findCharon();
  if (program === undefined) {
    throw new FlannelError(
      "TOOL_MISSING",
      `the backend ipsec needs strongSwan's charon, which is not installed: ${INSTALL}`,
    );
  }
  const pid = charonPid() ?? startingCharon();
  // Otherwise a process that has that number by chance would keep charon from starting.
  if (pid === undefined) removeIfAllowed(PID_FILE);
  const child = pid === undefined ? await start(program, needs) : undefined;
  const deadlineMs = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const client = await ViciClient.connect(CHARON_SOCKET, onEvent).catch(() => undefined);
    if (client !== undefined) {
      await throwIfNotSettled(child, client, program);
      return { client, isStarted: child !== undefined };
    }
    const ended = child?.ended();
    if (ended !== undefined) throw notStarted(program, ended);
    if (performance.now() > deadlineMs) {
      const why = child?.settle() ?? whyNotListening(needs);
      throw await notListening(pid, program, why);
    }
    await delay(START_POLL_MS, undefined, { signal });
  }
}

/** One of flannel's that will not listen any more is ended, and the next attempt starts another. */
async function notListening(pid: number | undefined, program: string, why: string): Promise<FlannelError> {
  if (pid === undefined) return notStarted(program, why);
  const isLost = isOwnCharon(pid) && ageMs(pid) > MAX_START_MS;
  if (isLost) await stop(pid);
  return notStarted(`${program} (pid ${pid})`, isLost ? `${why}; ended it, to start another one` : why);
}

/** A charon that we started may answer and still say that a part of it does not work. */
async function throwIfNotSettled(child: StartedCharon | undefined, client: ViciClient, program: string): Promise<void> {
  const problem = child?.settle();
  if (problem === undefined) return;
  await client[Symbol.asyncDispose]();
  await stopOwnCharon();
  throw notStarted(program, problem);
}

function whyNotListening(needs: CharonNeeds): string {
  const missing = missingParts(needs);
  if (missing !== undefined) return `${missing.what}: ${missing.cure}`;
  return `it does not listen at ${CHARON_SOCKET} (is its plugin vici loaded?)`;
}

interface StartedCharon {
  /** Why it is gone; undefined while it lives, or when a service manager has it. */
  ended(): string | undefined;
  /** Its output is not read any more. Returns what makes it useless although it lives; undefined when nothing is known. */
  settle(): string | undefined;
}

/** Under systemd in a unit of its own: what runs in the agent's ends with it. */
async function start(program: string, needs: CharonNeeds): Promise<StartedCharon> {
  const isOwnConfig = needs.isUserspace && process.env["STRONGSWAN_CONF"] === undefined;
  const systemdRun = existsSync("/run/systemd/system") ? findTool("systemd-run") : undefined;
  if (systemdRun !== undefined) {
    await startUnit(systemdRun, program, isOwnConfig);
    return { ended: () => undefined, settle: () => undefined };
  }
  return startDetached(program, variablesWith(isOwnConfig ? writeConfig() : process.env["STRONGSWAN_CONF"]));
}

function variablesWith(config: string | undefined): Readonly<Record<string, string>> {
  return { ...MARK, ...(config !== undefined && { STRONGSWAN_CONF: config }) };
}

/** The unit writes charon's configuration itself: the agent's own may write in few places, none of which charon may read. */
async function startUnit(systemdRun: string, program: string, isOwnConfig: boolean): Promise<void> {
  const [file] = CONFIG_FILES;
  const variables = variablesWith(isOwnConfig ? file : process.env["STRONGSWAN_CONF"]);
  const environment = Object.entries(variables).map(([name, value]) => `--setenv=${name}=${value}`);
  const properties = isOwnConfig ? [`--property=ExecStopPost=/bin/rm -f ${file}`] : [];
  const script = `echo "$1" >${file} && exec "$0"`;
  const argv = isOwnConfig ? ["/bin/sh", "-c", script, program, configText()] : [program];
  const options = ["--quiet", "--collect", `--unit=${SYSTEMD_UNIT}`, ...environment, ...properties];
  const { exitCode, stderr } = await tryTool(systemdRun, [...options, ...argv]);
  if (exitCode !== 0) throw notStarted(program, stderr.trim().slice(-300));
}

function startDetached(program: string, variables: Readonly<Record<string, string>>): StartedCharon {
  const child = spawn(program, [], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...variables },
  });
  let words = "";
  let end: string | undefined;
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("error", () => undefined);
    stream.setEncoding("utf8").on("data", (text: string) => {
      words = (words + text).slice(-MAX_WORDS_CHARACTERS);
    });
  }
  child.once("error", (error) => {
    end = describeError(error);
  });
  child.once("exit", (code, signalName) => {
    end = `${lastWords(words)} (${signalName ?? `exit code ${code}`})`;
  });
  child.unref();
  return {
    ended: () => end,
    // It ignores that nobody listens any more (SIGPIPE); what it says comes over its socket, too.
    settle: () => {
      const isDeaf = /could not create any sockets/.test(words);
      child.stdout.destroy();
      child.stderr.destroy();
      return isDeaf
        ? "another program on this host uses UDP port 500 or 4500 (another IKE daemon?): stop it"
        : undefined;
    },
  };
}

/** The lines that tell of what failed. */
function lastWords(words: string): string {
  const lines = words.split("\n").filter((line) => line !== "");
  const failures = lines.filter((line) => /unable|failed|error|could not|already|abort/i.test(line));
  return (failures.length > 0 ? failures : lines).slice(-3).join("; ").slice(0, 400);
}

function notStarted(program: string, why: string): FlannelError {
  return new FlannelError("SERVICE_FAILED", `cannot start ${program}: ${why}`, { retryable: true });
}

/**
 * The system's configuration, and what charon needs on top of it to encrypt by itself; routes are the agent's. It holds no
 * secret.
 */
function configText(): string {
  return `# Written by flanneld for the charon that it starts: this kernel has no ESP.
${existsSync(SYSTEM_CONFIG) ? `include ${SYSTEM_CONFIG}\n` : ""}charon {
  install_routes = no
  plugins {
    kernel-libipsec {
      load = yes
    }
  }
}
`;
}

/** Returns where it is; throws when it can be written nowhere. */
function writeConfig(): string {
  let failure: unknown;
  for (const file of CONFIG_FILES) {
    try {
      writeFileSync(file, configText(), { mode: 0o644 });
      return file;
    } catch (error) {
      failure = error;
    }
  }
  throw new FlannelError("FILE_FAILED", `cannot write charon's configuration: ${describeError(failure)}`, {
    cause: failure,
    tellsCause: true,
    retryable: true,
  });
}

/** What cannot be removed is charon's to complain of. */
function removeIfAllowed(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch {
    // A service manager may have made the directory read-only.
  }
}

/**
 * Whether the charon that runs was started by flannel. An agent without all capabilities, as under systemd, may not read the
 * environment of one that has them: there the unit tells.
 */
export function isOwnCharon(pid: number): boolean {
  const isInUnit = readProcess(pid, "cgroup").includes(`/${SYSTEMD_UNIT}.service`);
  return isInUnit || readProcess(pid, "environ").split("\0").includes("FLANNEL_CHARON=1");
}

function readProcess(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

async function stop(pid: number): Promise<void> {
  process.kill(pid, "SIGTERM");
  const deadlineMs = performance.now() + STOP_TIMEOUT_MS;
  while (isCharon(pid) && performance.now() < deadlineMs) await delay(START_POLL_MS);
}

/** Ends the charon that flannel started, which takes its associations with it. Returns when it is gone. */
export async function stopOwnCharon(): Promise<void> {
  const pid = charonPid() ?? startingCharon();
  if (pid !== undefined && isOwnCharon(pid)) await stop(pid);
  for (const file of CONFIG_FILES) removeIfAllowed(file);
}
