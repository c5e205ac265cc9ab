// Metrics about this host: the kernel's objects, traffic rules, notifications.
import { counter, durations, gauge } from "./definition.ts";

export const hostMetrics = {
  flannel_convergence_seconds: durations(
    "Time from the moment when the store reported a changed lease of a peer until the kernel had all objects of that peer.",
  ),
  flannel_convergence_pending: gauge("Changed peers that the kernel does not have yet."),

  flannel_mtu_bytes: gauge("MTU of packets between containers.", [], "bytes"),

  flannel_reconcile_passes_total: counter("Reconcile passes, by result: done, failed (in part or as a whole).", [
    "result",
  ]),
  flannel_reconcile_operations_total: counter(
    "Kernel objects that the agent added, changed or removed, or attempted to.",
  ),
  flannel_reconcile_duration_seconds: durations("Duration of a reconcile pass."),
  flannel_failed_objects: gauge("Kernel objects and traffic rules that the kernel or a tool refuses at present."),
  flannel_repairs_total: counter(
    "What the agent repaired after an external change, by kind (of the kernel object, or rule), action (added, corrected, " +
      "removed) and author, the program that made the change: unknown if the kernel does not report it, several if " +
      "there was more than one.",
    ["kind", "action", "author"],
  ),

  flannel_kernel_notifications_total: counter(
    "Notifications of the kernel that the agent read, by source: rtnetlink (objects), nftables (commits).",
    ["source"],
  ),
  flannel_kernel_overflows_total: counter(
    "How often the kernel dropped notifications because the agent was too slow, which makes the agent look at everything, by source.",
    ["source"],
  ),

  flannel_firewall_mode: gauge(
    "1 for the tool that holds the traffic rules, 0 for the others: nftables, iptables-nft, iptables-legacy, none.",
    ["mode"],
  ),
  flannel_firewall_failures: gauge("Families of traffic rules that could not be written."),
};
