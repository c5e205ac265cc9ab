// The part of the demo that runs in the box; the box and all in it end with this process. File descriptor 3 leads to
// the part outside: it says our process id as seen from there, and its end means "stop".
import { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import type { AgentExit, LabAgent } from "../../lab/agent.ts";
import { type Capability, missingCapabilities } from "../../lab/capability.ts";
import { describeError } from "../../src/errors.ts";
import { type DemoOptions, parseDemoOptions } from "./demo-options.ts";
import { openScreen, type Screen } from "./screen.ts";
import { deviceToOthers, tellStory } from "./story.ts";
import type { World } from "./world.ts";

interface Outside {
  /** Process id of the box, for `nsenter`. */
  readonly boxPid: Promise<string>;
  /** Settles when the part outside wants us to stop, or is gone. */
  readonly ended: Promise<void>;
}

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));

async function main(): Promise<number> {
  const options = parseDemoOptions(process.argv.slice(2));
  const screen = openScreen(process.stdout);
  const outside = connectOutside();
  const stopped = outside.ended.then(() => 130);
  const outcome = await Promise.race([tell(options, screen), stopped]);
  if (typeof outcome === "number") return outcome;
  if (options.once) return 0;
  await showInstructions(outcome, await outside.boxPid, screen);
  for (const agent of outcome.agents) reportEnd(agent, screen);
  await outside.ended;
  return 0;
}

/** The world when all was shown and came true, else the exit code. */
async function tell(options: DemoOptions, screen: Screen): Promise<World | 1> {
  try {
    const lacking = await describeLacking(options);
    if (lacking === undefined) return await tellStory(options, screen);
    screen.failed(lacking);
  } catch (error) {
    screen.failed(describeFailure(error));
  }
  return 1;
}

/** A sentence on what this machine's kernel cannot do, or undefined. */
async function describeLacking({ backend }: DemoOptions): Promise<string | undefined> {
  const wanted: readonly Capability[] = ["netns", "veth", "bridge", ...(backend === "vxlan" ? ["vxlan" as const] : [])];
  const [missing] = await missingCapabilities(wanted);
  if (missing === undefined) return undefined;
  const cure =
    missing.name === "vxlan" ? "try modprobe vxlan, or npm start -- --backend=host-gw" : `try modprobe ${missing.name}`;
  return `this machine's kernel does not support ${missing.name} here (${missing.reason}): ${cure}.`;
}

function describeFailure(error: unknown): string {
  // An agent's last words are many lines, and what is needed to find the cause.
  return error instanceof Error && error.message.includes("\n") ? error.message : describeError(error);
}

/** Says so when the agent ends. */
function reportEnd(agent: LabAgent, screen: Screen): void {
  const report = ({ code, signal }: AgentExit) =>
    screen.failed(
      `flanneld on ${agent.host.name} ended (${signal ?? `code ${code}`}); the kernel keeps forwarding packets`,
    );
  agent.exited.then(report, () => undefined);
}

async function showInstructions(world: World, boxPid: string, screen: Screen): Promise<void> {
  const enter = `nsenter -t ${boxPid} -a`;
  const control = `${flannelctl} --etcd-endpoints=${world.store.endpoints}`;
  const device = await deviceToOthers(world.lan.host(1));
  screen.heading("The demo keeps running. In another terminal, as root:");
  const show = (text: string, ...commands: readonly string[]) =>
    screen.lines([text, ...commands.map((command) => `  ${command}`), ""]);
  show("See the leases", `${enter} ${control} lease list`);
  show(
    "Show the status of the agent on h1",
    `${enter} ${flannelctl} status --subnet-file ${world.agents[0]?.subnetFile}`,
  );
  show("Look at the routes on h1", `${enter} ip -n h1 route`);
  if (device !== undefined) {
    const inContainer1 = `ping ${world.pods[0]?.ipv4 ?? ""}`;
    show(
      "Open a shell in container 2, and ping container 1 from it",
      `${enter} ip netns exec container2 sh`,
      inContainer1,
    );
    const damage = `ip -n h2 route flush root 10.5.0.0/16 dev ${device}; ip -n h2 route; sleep 1; ip -n h2 route`;
    show("Delete the routes of host 2, and see them return within a second", `${enter} sh -c '${damage}'`);
  }
  screen.lines(["Ctrl-C ends the demo and removes everything."]);
}

function connectOutside(): Outside {
  const pipe = new Socket({ fd: 3, readable: true, writable: true });
  const boxPid = Promise.withResolvers<string>();
  const ended = Promise.withResolvers<void>();
  let said = "";
  pipe.setEncoding("utf8").on("data", (text: string) => {
    said += text;
    const [line, rest] = said.split("\n");
    if (rest !== undefined) boxPid.resolve(line ?? "");
  });
  pipe.on("close", () => ended.resolve()).on("error", () => ended.resolve());
  pipe.write("here\n");
  return { boxPid: boxPid.promise, ended: ended.promise };
}

// Without a reader (`npm start | head`) there is nobody to tell a story to.
process.stdout.on("error", () => process.exit(1));
process.exit(await main());
