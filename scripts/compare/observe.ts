// What `neutral` does with one world, in stages, and looks at in each.
import { boxNamespace, type Namespace } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { type Capture, captureCommands, captureHost, captureStore } from "./capture.ts";
import type { KnownAddress } from "./normalise.ts";
import type { World } from "./world.ts";

export interface Observation {
  readonly captures: readonly Capture[];
  readonly addresses: readonly KnownAddress[];
}

/** Each costs a process of Node; hosts are asked in full where it matters. */
const commands = {
  first: ["plan", "--json plan", "status", "--json status", "rules", "--json rules"],
  others: ["--json plan", "--json status"],
  store: [
    "lease list",
    "--json lease list",
    "lease show 10.5.2.0/24",
    "--json lease show 10.5.2.0/24",
    "config get",
    "--json config get",
    "config check",
    "store export",
  ],
  stopped: ["status", "--json status", "plan", "cleanup --dry-run", "--json cleanup --dry-run"],
  blocked: ["plan", "--json plan", "status", "--json status"],
} as const;

export async function observe(world: World): Promise<Observation> {
  const captures: Capture[] = [];
  const addresses: KnownAddress[] = [];
  const host = world.lan.host(1);
  const take = async (stage: string, ...looks: readonly Promise<readonly Capture[]>[]) => {
    const taken = (await Promise.all(looks)).flat();
    captures.push(...taken.map((capture) => ({ ...capture, name: `${stage}/${capture.name}` })));
    addresses.push(...(await findAddresses(world)));
  };
  for (const each of world.lan.hosts) {
    await untilAddressesAreSettled(each.namespace);
    const words = each === host ? commands.first : commands.others;
    await take("running", captureHost(each), captureCommands(world, each, words));
  }
  await take(
    "running",
    captureCommands(world, host, commands.store),
    captureStore(world).then((store) => [store]),
  );

  await world.agent(1).term();
  await untilCarrierIsLost(world);
  await take("stopped", captureHost(host), captureCommands(world, host, commands.stopped));

  const device = deviceOf(world);
  if (device !== undefined) {
    await blockDevice(world, device);
    await take("blocked", captureHost(host), captureCommands(world, host, commands.blocked));
    await world.agent(1).term();
    await host.namespace.ip("link", "del", "dev", device);
  }

  const [removal] = await captureCommands(world, host, ["cleanup --all --release"]);
  await take("removed", Promise.resolve(removal === undefined ? [] : [removal]), captureHost(host));
  await take(
    "removed",
    captureCommands(world, host, ["lease list"]),
    captureStore(world).then((store) => [store]),
  );
  return { captures, addresses };
}

/** The kernel looks for a second or two whether a new IPv6 address is free. */
async function untilAddressesAreSettled(namespace: Namespace): Promise<void> {
  const look = async () => (await namespace.ip("-6", "address", "show", "tentative")) === "";
  await until(look, { what: "the kernel to be done with new IPv6 addresses", intervalMs: 100 });
}

/** A TUN device loses its carrier with its agent; what the kernel says of links and routes follows within a second. */
async function untilCarrierIsLost(world: World): Promise<void> {
  if (world.plan.backend["Type"] !== "udp") return;
  const { namespace } = world.lan.host(1);
  const isLost = async () => (await namespace.ip("link", "show", "dev", "flannel0")).includes("NO-CARRIER");
  await until(isLost, { what: "flannel0 to be without carrier", intervalMs: 50 });
}

/** The device of the backend, where it has one. */
function deviceOf({ plan }: World): string | undefined {
  const devices: Readonly<Record<string, string>> = { vxlan: "flannel.1", udp: "flannel0" };
  return devices[String(plan.backend["Type"])];
}

/** Starts the agent while another program's device has the name: so its plan and the kernel differ for as long as we look. */
async function blockDevice(world: World, device: string): Promise<void> {
  const host = world.lan.host(1);
  const links = await host.namespace.ipJson("link", "show");
  if (links.some((link) => link["ifname"] === device)) await host.namespace.ip("link", "del", "dev", device);
  await host.namespace.ip("link", "add", "dev", device, "type", "bridge");
  world.startAgent(1);
  // By the second attempt with all peers known, nothing is added to what cannot be done.
  const hasFailed = async () => {
    const { stdout } = await world.ctl(host, "--json", "status");
    return /"known":\s*2\b/.test(stdout) && /"attempts":\s*([2-9]|\d\d)/.test(stdout);
  };
  await until(hasFailed, { what: `the agent to find ${device} taken`, intervalMs: 100 });
}

/** Of every device in the box and on its hosts. */
async function findAddresses({ lan }: World): Promise<readonly KnownAddress[]> {
  const places: readonly { readonly name: string; readonly namespace: Namespace }[] = [
    { name: "box", namespace: boxNamespace },
    ...lan.hosts,
  ];
  const found = await Promise.all(
    places.map(async ({ name, namespace }) => {
      const devices = (await namespace.ipJson("address", "show")) as unknown as readonly Device[];
      return devices.flatMap((device) => {
        const addresses = [device.address ?? "", ...device.addr_info.map(({ local }) => local ?? "")];
        return addresses.map((address) => ({ address, owner: `${name} ${device.ifname}` }));
      });
    }),
  );
  const isRandom = ({ address }: KnownAddress) =>
    address.startsWith("fe80::") || (/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(address) && address !== NO_MAC);
  return found.flat().filter(isRandom);
}

const NO_MAC = "00:00:00:00:00:00";

/** As `ip -json address` prints it. */
interface Device {
  readonly ifname: string;
  readonly address?: string;
  readonly addr_info: readonly { readonly local?: string }[];
}
