// Log events about the store and what it holds: configuration, leases, peers, certificates.
import { error, finding, info, notice, verbose, warn } from "./definition.ts";

export const storeEvents = {
  "certificate.ca-refused": warn(
    "The store sent a CA certificate that does not renew the current one; the agent keeps the current one.",
    "Check that `--etcd-endpoints` names the right store.",
  ),
  "certificate.ca-renewed": info("The agent uses the store's renewed CA certificate."),
  "certificate.ends": finding(
    "A certificate for the store expires within 30 days, or has expired.",
    "Renew it; the line says how.",
  ),
  "certificate.not-renewed": warn(
    "The store did not renew the agent's certificate; the agent retries.",
    "Check the store.",
  ),
  "certificate.renewed": info("The store renewed the agent's certificate."),
  "certificate.replaced": info("Another program replaced the certificate file; the agent uses the new certificate."),
  "certificate.unreadable": warn(
    "The agent cannot read or use its certificate.",
    "Correct the file that the line names.",
  ),

  "peer.examined": info(
    "Another host of the cluster asked what is wrong here (`flannelctl doctor --peer`, `flannelctl dashboard`), and got this host's report. The agent logs this once in ten minutes.",
  ),
  "peer.examination-failed": verbose(
    1,
    "The agent cannot wait for such questions at the store, or not answer one; it retries.",
  ),

  "config.applied": info("The agent applied a changed network configuration; the line has the keys."),
  "config.changed": warn(
    "The network configuration changed while the agent was down or waited for a lease; the agent restarts with the new one.",
    "Re-create the containers of this host if its subnet changes.",
  ),
  "config.deleted": warn(
    "The network configuration was deleted; the agent keeps the last one.",
    "`flannelctl config set`",
  ),
  "config.invalid": error(
    "The network configuration in the store is wrong, and the agent has no other one to start with; it waits.",
    "Correct it: `flannelctl config check` says what is wrong. The agent goes on by itself.",
  ),
  "config.odd": warn(
    "The network configuration has a key that flannel does not use; the agent ignores the key.",
    "`flannelctl config check`",
  ),
  "config.read": info("The agent read the network configuration."),
  "config.rejected": error(
    "The new network configuration is invalid; the agent keeps the last one.",
    "Correct it: `flannelctl config check` says what is wrong.",
  ),
  "config.restart-needed": warn(
    "A key of the network configuration changed that a running agent cannot apply.",
    "Restart flanneld on every host.",
  ),
  "config.unavailable": warn(
    "The agent has no network configuration: the store is unreachable or the key is missing. The agent retries.",
    "Check the store; if the key is missing, `flannelctl config set`.",
  ),
  "config.unavailable.recovered": info("The agent read the network configuration after a retry."),

  "lease.acquired": info("The agent holds a lease; the line says whether it is a new one."),
  "lease.changed": warn(
    "This host has another subnet than before.",
    "Re-create the containers that have addresses of the old subnet.",
  ),
  "lease.conflict": error(
    "Another agent announces this host's public IP; this agent keeps forwarding and no longer renews its lease.",
    "Stop one of the two agents, or give one of them another `--public-ip`.",
  ),
  "lease.deleted": verbose(2, "A peer's lease expired or was revoked."),
  "lease.not-announced": error(
    "This host's address does not fit the network configuration; the agent keeps its lease unchanged.",
    "Check the addresses (`ip addr`) and the flags `--iface` and `--public-ip`.",
  ),
  "lease.not-served": warn(
    "The agent programs no routes for a lease that would take addresses of this host, of another host or of an older lease; the line says of whom.",
    "Release the lease (`flannelctl lease release --force`), or choose a `Network` that is free on all hosts.",
  ),
  "lease.reacquire": warn(
    "The agent's lease is gone, or the store was replaced; the agent re-acquires the lease.",
    "Find out who revoked it, unless the store was replaced on purpose.",
  ),
  "lease.renewal-failed": warn(
    "The agent could not renew its lease; it retries.",
    "Check the store before the lease expires.",
  ),
  "lease.renewed": info("The agent renewed its lease, or updated the data of this host in it."),
  "lease.reservation": info("An operator made the agent's lease a reservation, or made the reservation a lease again."),
  "lease.seen": verbose(2, "A peer holds a lease."),
  "lease.unavailable": warn(
    "The agent has no lease: the store is unreachable or no subnet is free. The agent retries.",
    "`flannelctl lease list`; revoke a lease that is not needed, or check the store.",
  ),
  "lease.unavailable.recovered": info("The agent acquired a lease after a retry."),
  "lease.unreadable": warn("A key under the prefix is not a lease; the agent ignores it.", "Delete the key."),
  "leases.corrected": warn(
    "The store's watch had left out changes of leases, as etcd does after an unlucky compaction; the agent compared " +
      "what it knew with what the store holds, and corrected it.",
    "None. If it happens often, update etcd.",
  ),
  "leases.changed": verbose(1, "The store reported changed leases."),
  "leases.read": verbose(1, "The agent read all leases."),

  "node.annotation-odd": warn(
    "An annotation of this host's Node has a wrong value; the agent ignores it.",
    "Correct the annotation that the line names (`kubectl annotate node`).",
  ),
  "node.annotations-changed": warn(
    "Another program changed or removed the annotations by which this host announces itself; the agent restores them.",
    "Find out who; there must be one agent for each Node.",
  ),
  "node.condition": info("The agent wrote the condition NetworkUnavailable of this host's Node."),
  "node.family-missing": warn(
    "The network has an address family of which the Node has no podCIDR; the agent serves the other one.",
    "Give the controller manager a `--cluster-cidr` of both families, or disable one in net-conf.json.",
  ),
  "node.selection-refused": warn(
    "The API server refuses to list a selection of Nodes, with which the agent completes a watch for their metadata; the " +
      "agent watches whole Nodes for an hour, then retries.",
    "Allow `list` on `nodes` without a limit to names in the ClusterRole of flannel; look for a proxy in front of the API server.",
  ),
  "node.selection-failed": warn(
    "The API server's watch works, but it answers no lists of single Nodes, for longer than a connection may be silent: Nodes " +
      "that join are no peers yet. The agent retries.",
    "See the line's reason: limits of requests (API priority and fairness), an overloaded server, or a proxy in front of it.",
  ),
  "node.selection-works": info("Lists of single Nodes, which had failed, are answered again."),
  "node.not-written": warn(
    "The agent could not write to its Node; the line has the reason. It retries.",
    "Allow `patch` on `nodes/status` in the ClusterRole of flannel, or check the API server.",
  ),

  "peers.forgotten": warn(
    "Some peers did not return to the replaced store within a minute; the agent removes them.",
    "Check the hosts that are missing in `flannelctl lease list`.",
  ),
  "peers.missing": warn(
    "The store was replaced and lacks some peers; the agent keeps them for a minute.",
    "Check the hosts that are missing in `flannelctl lease list`.",
  ),

  "store.behind-tunnel": error(
    "A route of this host sends packets for the store into flannel's own device, so the store cannot be reached.",
    "Delete the route; the line has the command.",
  ),
  "store.connected": info("The agent watches the leases in the store."),
  "store.contact": verbose(6, "The store reported that nothing has changed."),
  "store.disconnected": warn(
    "The agent lost its connection to the store; forwarding continues and the agent reconnects.",
    "Check the store and the network to it.",
  ),
  "store.ended": warn(
    "The store of `--store=embedded` ended; the agent restarts it and forwarding continues.",
    "Read the store's own lines (`store.said`).",
  ),
  "store.odd": warn(
    "The flags for the store contradict each other: certificate files are given, but the endpoints are plain `http://`.",
    "Use `https://` endpoints, or leave the files out.",
  ),
  "store.open-to-users": warn(
    "The flag `--store-listen` serves the store of `--store=embedded` to every user of this host, who can change the network.",
    "Leave the flag out; root reaches the store on its socket.",
  ),
  "store.opened": info("The line says which store keeps the leases."),
  "store.restart-failed": error(
    "The agent cannot restart the store of `--store=embedded`; it retries.",
    "Read the store's own lines (`store.said`), and the reason in the line.",
  ),
  "store.way-unknown": verbose(1, "The agent could not ask the kernel for the way to the store."),
  "store.restarted": info("The store of `--store=embedded` accepts connections again."),
  "store.said": warn("A line of the store of `--store=embedded`.", "Follow the line."),

  "store.unreachable": warn(
    "The agent still cannot follow the store, for the reason in the line; it retries.",
    "Check the store and the network to it.",
  ),

  "warm-start": notice(
    "The agent uses the remembered lease and peers: as a warning, because the store does not answer; as " +
      "information, because the udp backend does so at each start.",
    "As a warning: check the store.",
  ),
  "warm-start.failed": warn(
    "The agent cannot use its remembered state yet; it retries until the store answers.",
    "Correct what the line names, or check the store.",
  ),
};
