// What runs out: tables of the kernel, limits of the agent's process, disks; and what the agent is not allowed to do.
import { carriesTraffic, defineCheck } from "../check.ts";
import { setSysctl } from "../fix-step.ts";
import { type NeighbourUse, neighbourOverflows } from "../host-facts.ts";

const FULL_FROM = 0.9;
const DESCRIPTORS_FULL_FROM = 0.8;
/** The state of ten thousand peers is some megabytes. */
const MIN_FREE_BYTES = 1 << 20;
const MIN_FREE_INODES = 16;

export const conntrackFull = defineCheck({
  name: "conntrack-full",
  severity: "error",
  needs: ["tables", "counters"],
  appliesTo: carriesTraffic,
  check: (_context, { tables: { conntrack }, counters }) => {
    const drops = (counters.get("conntrack.drop")?.growth ?? 0) + (counters.get("conntrack.early_drop")?.growth ?? 0);
    const isFull = conntrack !== undefined && conntrack.used > conntrack.max * FULL_FROM;
    return isFull || drops > 0 ? [{ conntrack, drops }] : [];
  },
  evidence: ({ conntrack, drops }) =>
    [
      conntrack === undefined ? "" : `${conntrack.used} of ${conntrack.max} connections are tracked`,
      drops === 0 ? "" : `the kernel dropped ${drops} packets for want of room in half a second`,
    ]
      .filter((part) => part !== "")
      .join(", and "),
  remedy: ({ conntrack }) => `sysctl -w net.netfilter.nf_conntrack_max=${roomFor(conntrack)}`,
  fix: ({ conntrack }) => [setSysctl("net/netfilter/nf_conntrack_max", roomFor(conntrack))],
});

function roomFor(conntrack: { readonly max: number } | undefined): string {
  return String(Math.max(262_144, (conntrack?.max ?? 0) * 4));
}

/** Never below what the host has: the kernel would forget neighbours at once. */
function neighbourThresholds({ max }: NeighbourUse): readonly (readonly [string, string])[] {
  const most = Math.max(16_384, max * 4);
  return [
    ["gc_thresh3", String(most)],
    ["gc_thresh2", String(most / 2)],
    ["gc_thresh1", String(most / 4)],
  ];
}

const settingsOf = ({ family }: NeighbourUse): string => `net/ipv${family}/neigh/default`;

export const neighbourTable = defineCheck({
  name: "neighbour-gc",
  severity: "error",
  needs: ["neighbourUse", "counters"],
  appliesTo: carriesTraffic,
  check: ({ families }, { neighbourUse, counters }) =>
    neighbourUse
      .filter(({ family }) => families.has(family))
      .map((use) => ({ use, overflows: counters.get(neighbourOverflows(use.family))?.growth ?? 0 }))
      .filter(({ use: { used, max }, overflows }) => used >= max * FULL_FROM || overflows > 0),
  evidence: ({ use: { family, used, max }, overflows }) =>
    `${used} neighbours of IPv${family} in all network namespaces, beside permanent ones, of at most ${max} (gc_thresh3)` +
    (overflows === 0 ? "" : `; the kernel refused ${overflows} in half a second`),
  remedy: ({ use }) =>
    `sysctl -w ${neighbourThresholds(use)
      .map(([name, value]) => `${settingsOf(use).replaceAll("/", ".")}.${name}=${value}`)
      .join(" ")}`,
  fix: ({ use }) => neighbourThresholds(use).map(([name, value]) => setSysctl(`${settingsOf(use)}/${name}`, value)),
});

export const processLimits = defineCheck({
  name: "process-limits",
  severity: "error",
  needs: ["agent"],
  check: (_context, { agent: { process } }) => {
    if (process === undefined) return [];
    const {
      pid,
      usedDescriptors = 0,
      maxDescriptors = Number.POSITIVE_INFINITY,
      memory,
      tasks,
      outOfMemoryKills = 0,
    } = process;
    const found: { pid: number; what: string; remedy: string }[] = [];
    if (usedDescriptors > maxDescriptors * DESCRIPTORS_FULL_FROM) {
      const what = `${usedDescriptors} of ${maxDescriptors} file descriptors of flanneld are in use`;
      found.push({ pid, what, remedy: `prlimit --pid ${pid} --nofile=65536 # for good: LimitNOFILE= of the unit` });
    }
    if (memory !== undefined && memory.usedBytes > memory.maxBytes * FULL_FROM) {
      const what = `flanneld's control group uses ${mebibytes(memory.usedBytes)} of ${mebibytes(memory.maxBytes)} MiB`;
      found.push({ pid, what, remedy: "raise MemoryMax= of the unit, or the memory limit of the container" });
    }
    if (tasks !== undefined && tasks.used > tasks.max * FULL_FROM) {
      const what = `${tasks.used} of ${tasks.max} tasks of flanneld's control group are in use`;
      found.push({ pid, what, remedy: "raise TasksMax= of the unit, or the limit of processes of the container" });
    }
    if (outOfMemoryKills > 0 && found.length === 0 && memory !== undefined) {
      const what = `the kernel killed ${outOfMemoryKills} processes of flanneld's control group for its memory limit`;
      found.push({ pid, what, remedy: "raise MemoryMax= of the unit, or the memory limit of the container" });
    }
    return found;
  },
  evidence: ({ what }) => what,
  remedy: ({ remedy }) => remedy,
});

function mebibytes(bytes: number): number {
  return Math.round(bytes / (1 << 20));
}

export const diskFull = defineCheck({
  name: "disk-full",
  severity: "error",
  needs: ["disks"],
  check: (_context, { disks }) =>
    disks.filter(
      ({ freeBytes, freeInodes }) => freeBytes < MIN_FREE_BYTES || (freeInodes ?? MIN_FREE_INODES) < MIN_FREE_INODES,
    ),
  evidence: ({ path, holds, freeBytes, freeInodes }) =>
    freeBytes < MIN_FREE_BYTES
      ? `${path} with ${holds} has ${freeBytes} bytes left`
      : `${path} with ${holds} has ${freeInodes} inodes left`,
  remedy: ({ path }) => `df -h ${path}; df -i ${path} # and make room there`,
});

export const privilegeDenied = defineCheck({
  name: "privilege-denied",
  severity: "error",
  needs: ["agent"],
  check: (_context, { agent: { process, refusals } }) => {
    const refused = refusals.find(({ error }) =>
      /\b(EPERM|EACCES|EROFS)\b|not permitted|permission denied|read-only/i.test(error),
    );
    const missing = process?.missingCapabilities ?? [];
    const isRefusedBySys = process?.isSysReadOnly === true && refused !== undefined;
    if (missing.length === 0 && !isRefusedBySys && refused === undefined) return [];
    return [{ missing, refused, isSysReadOnly: process?.isSysReadOnly === true }];
  },
  evidence: ({ missing, refused, isSysReadOnly }) =>
    [
      missing.length === 0 ? "" : `flanneld lacks ${missing.join(" and ")}`,
      isSysReadOnly && refused !== undefined ? "/proc/sys is read-only for flanneld" : "",
      refused === undefined ? "" : `the kernel refused ${refused.object} (${refused.error})`,
    ]
      .filter((part) => part !== "")
      .join("; "),
  remedy: ({ missing, isSysReadOnly }) =>
    isSysReadOnly && missing.length === 0
      ? "make /proc/sys writable for flanneld: ProtectKernelTunables=no of the unit, or a privileged container"
      : "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in the unit, or capabilities NET_ADMIN and NET_RAW of the container",
});

/** `errno` names stand in the words of the kernel's refusals. */
export const tunDevice = defineCheck({
  name: "udp-device",
  severity: "error",
  needs: ["tunRefusal", "portHolder"],
  appliesTo: ({ needs }) => needs.carriesTraffic && needs.udpPort !== undefined && needs.kernelDevice === undefined,
  check: (context, { tunRefusal, portHolder }) => [
    ...(tunRefusal !== undefined && context.devices.some((device) => /^flannel\d+$/.test(device))
      ? [{ what: tunRefusal, remedy: "modprobe tun # in a container, give it the device /dev/net/tun" }]
      : []),
    ...(portHolder === undefined
      ? []
      : [
          {
            what: `${portHolder} has UDP port ${context.needs.udpPort}, at which the backend receives`,
            remedy: `ss -ulpn 'sport = :${context.needs.udpPort}' # stop that program, or set another Backend.Port`,
          },
        ]),
  ],
  evidence: ({ what }) => what,
  remedy: ({ remedy }) => remedy,
});
