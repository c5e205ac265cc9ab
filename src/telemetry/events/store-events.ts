// Log events about the store and what it holds: configuration, leases, peers, certificates.
import { error, finding, info, notice, verbose, warn } from "./definition.ts";

export const storeEvents = {
  "certificate.ca-refused": warn(
    "The store sent a CA certificate that does not renew ours; the agent keeps the one it has.",
    "Make sure that the agent talks to the right store.",
  ),
  "certificate.ca-renewed": info("The agent took the store's renewed CA certificate."),
  "certificate.ends": finding(
    "A certificate for the store expires within 30 days, or has expired.",
    "Renew it; the line says how.",
  ),
  "certificate.not-renewed": warn(
    "The store did not renew the agent's certificate; the agent retries.",
    "Look after the store.",
  ),
  "certificate.renewed": info("The store renewed the agent's certificate."),
  "certificate.replaced": info("Somebody replaced the certificate file; the agent uses the new certificate."),
  "certificate.unreadable": warn(
    "The agent cannot read its certificate or use it.",
    "Repair the file that the line names.",
  ),

  "config.applied": info("The agent applied a changed network configuration; the line has the keys."),
  "config.changed": warn(
    "The network configuration changed while the agent was down; the agent starts anew with the new one.",
    "Re-create the containers of this host if its subnet changes.",
  ),
  "config.deleted": warn(
    "Somebody deleted the network configuration; the agent keeps the last one.",
    "`flannelctl config set`",
  ),
  "config.odd": warn(
    "The network configuration has a key that flannel does not know or does not use; the agent ignores the key.",
    "`flannelctl config check`",
  ),
  "config.read": info("The agent read the network configuration."),
  "config.rejected": error(
    "The new network configuration is wrong; the agent keeps the last one.",
    "Correct it: `flannelctl config check` says what is wrong.",
  ),
  "config.restart-needed": warn(
    "A key of the network configuration changed that a running agent cannot apply.",
    "Restart flanneld on every host.",
  ),
  "config.unavailable": warn(
    "The agent has no network configuration: the store is away, or the key is missing; the agent retries.",
    "Look after the store; if the key is missing, `flannelctl config set`.",
  ),
  "config.unavailable.recovered": info("The agent read the network configuration after it had failed to."),

  "lease.acquired": info("The agent holds a lease; the line says whether it is a new one."),
  "lease.changed": warn(
    "This host has another subnet than before.",
    "Re-create the containers that have addresses of the old subnet.",
  ),
  "lease.conflict": error(
    "Another agent announces our public IP; this agent forwards, but does not renew its lease any more.",
    "Stop one of the two agents, or give one of them another `--public-ip`.",
  ),
  "lease.deleted": verbose(2, "The lease of a peer expired or was deleted."),
  "lease.not-announced": error(
    "The host's address cannot serve the network as it is now; the lease stays as it was.",
    "Check the addresses (`ip addr`) and the flags `--iface` and `--public-ip`.",
  ),
  "lease.reacquire": warn(
    "Our lease is gone, or the store was replaced; the agent takes the lease again.",
    "Find out who deleted it, unless the store was replaced on purpose.",
  ),
  "lease.renewal-failed": warn(
    "The agent could not renew its lease; it retries.",
    "Look after the store before the lease expires.",
  ),
  "lease.renewed": info("The agent renewed its lease, or wrote changed data of this host into it."),
  "lease.reservation": info("An operator made our lease a reservation, or gave it its expiry back."),
  "lease.seen": verbose(2, "A peer holds a lease."),
  "lease.unavailable": warn(
    "The agent has no lease: the store is away, or no subnet is free; the agent retries.",
    "`flannelctl lease list`; release a subnet, or look after the store.",
  ),
  "lease.unavailable.recovered": info("The agent got a lease after it had failed to."),
  "lease.unreadable": warn("A key under the prefix is not a lease; the agent ignores it.", "Delete the key."),
  "leases.changed": verbose(1, "The store told of changed leases."),
  "leases.read": verbose(1, "The agent read all leases."),

  "peers.forgotten": warn(
    "The replaced store still lacks some peers after a minute; the agent removes them.",
    "Look after the hosts that are missing in `flannelctl lease list`.",
  ),
  "peers.missing": warn(
    "The store was replaced by one that lacks some peers; the agent keeps them for a minute.",
    "Look after the hosts that are missing in `flannelctl lease list`.",
  ),

  "store.connected": info("The agent watches the leases in the store."),
  "store.contact": verbose(6, "The store answered that nothing has changed."),
  "store.disconnected": warn(
    "The agent lost its connection to the store; forwarding goes on and the agent reconnects.",
    "Look after the store, and after the network to it.",
  ),
  "store.ended": warn(
    "The store of `--store=embedded` ended; the agent restarts it and packets go on.",
    "Read the store's own lines (`store.said`).",
  ),
  "store.opened": info("Says in which store the leases are kept."),
  "store.restart-failed": error(
    "The agent cannot restart the store of `--store=embedded`.",
    "Read the store's own lines (`store.said`), and the reason in the line.",
  ),
  "store.restarted": info("The store of `--store=embedded` serves again."),
  "store.said": warn("A line that the store of `--store=embedded` wrote itself.", "Do what the line says."),

  "warm-start": notice(
    "The agent uses the lease and the peers that it remembers: as a warning, because the store does not answer; as " +
      "information, because the udp backend does so at each start.",
    "As a warning: look after the store.",
  ),
  "warm-start.failed": warn(
    "The agent cannot use what it remembers yet; it retries until the store answers.",
    "Repair what the line names, or look after the store.",
  ),
};
