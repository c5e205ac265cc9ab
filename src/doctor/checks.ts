// The list of all checks: at the start of the agent, in its status and in `flannelctl doctor` it is this one. Who runs it
// gathers the facts that it can; a check whose facts are not there is not run. A further check is a file in checks/, a line
// here, and a cause in causes/.
import type { Check } from "./check.ts";
import { arpOff } from "./checks/arp-off.ts";
import { bridgeWithoutAddress, outdatedBridge } from "./checks/bridge-address.ts";
import { containerPinned, smallPort } from "./checks/container-links.ts";
import * as containers from "./checks/containers.ts";
import { deviceSetting } from "./checks/device-setting.ts";
import * as devices from "./checks/devices.ts";
import * as echoes from "./checks/echoes.ts";
import { externalMtu } from "./checks/external-mtu.ts";
import { lostAtDevice, lostOnThisHost } from "./checks/followed-echoes.ts";
import { ipForward } from "./checks/ip-forward.ts";
import { ipsecDaemon } from "./checks/ipsec-daemon.ts";
import { ipv6Off } from "./checks/ipv6-off.ts";
import { kernelFeature } from "./checks/kernel-feature.ts";
import * as leases from "./checks/leases.ts";
import { networkOverlap } from "./checks/network-overlap.ts";
import { newDevices } from "./checks/new-devices.ts";
import { dropChecks } from "./checks/packet-drops.ts";
import { policyRule } from "./checks/policy-rule.ts";
import { portInUse } from "./checks/port-in-use.ts";
import * as probes from "./checks/probes.ts";
import { networkManagerFlush, rulesFlushed } from "./checks/repairs.ts";
import * as resources from "./checks/resources.ts";
import { rpFilter } from "./checks/rp-filter.ts";
import * as rules from "./checks/rules.ts";
import { rulesUnreadable } from "./checks/rules-unreadable.ts";
import * as stores from "./checks/stores.ts";
import { wayChecks } from "./checks/ways.ts";
import { agentFacts } from "./host-facts.ts";

export const checks: readonly Check[] = [
  ...[
    resources.diskFull,
    resources.processLimits,
    resources.privilegeDenied,
    kernelFeature,
    ipsecDaemon,
    resources.tunDevice,
  ],
  ...[ipForward, deviceSetting, newDevices, ipv6Off, rpFilter, resources.conntrackFull, resources.neighbourTable],
  ...[
    devices.externalDown,
    devices.interfaceMoved,
    devices.addressFloating,
    devices.addressDuplicate,
    devices.deviceClash,
  ],
  ...[devices.announcedMac, externalMtu, devices.mtuDevice, devices.pathMtuKnown],
  ...dropChecks,
  ...[rulesUnreadable, rules.lockHeld, rules.masqueradeWide, rules.icmpFiltered, rulesFlushed, networkManagerFlush],
  ...[portInUse, policyRule, ...wayChecks, networkOverlap, rules.planDiffers],
  ...[outdatedBridge, bridgeWithoutAddress, containers.subnetFile, containers.dockerBridge, containers.detachedPort],
  ...[containers.containerRoute, containers.addressShortage, containers.largeContainerMtu, containers.cniConfig],
  ...[containerPinned, smallPort],
  ...[stores.clockSkew, stores.storeTls, stores.storeAuth, stores.storeReadOnly, stores.storeUnreachable],
  ...[stores.kubeAccess, stores.kubePodCidr],
  ...[leases.duplicateAddress, leases.leaseLost, leases.poolEmpty, leases.mixedVersion, leases.handshake],
  ...[echoes.peerDown, echoes.neighbourWrong, arpOff, echoes.underlayLossy, echoes.pathMtu, echoes.fragmentsDropped],
  ...[echoes.sourceCheck, lostAtDevice, lostOnThisHost, echoes.peerUnreachable],
  ...[probes.probedDown, probes.probedOneWay, probes.probedMtu, probes.probedPath],
];

const gatheredByAgent: ReadonlySet<string> = new Set(agentFacts);

/** Those for which the agent has the facts at any time. */
export const preflightChecks: readonly Check[] = checks.filter(({ needs }) =>
  needs.every((fact) => gatheredByAgent.has(fact)),
);
