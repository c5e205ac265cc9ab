// Events of what backends leave running, of the backend ipsec and of the strongSwan daemon that it drives.
import { error, info, verbose, warn } from "./definition.ts";

export const ipsecEvents = {
  "backend.cleaned": info("What an earlier backend of the network left running was taken away; the line names it."),
  "backend.left-behind": warn(
    "What an earlier backend of the network left running could not be taken away; it may still carry packets.",
    "`flannelctl cleanup` before the next start, or end what the line names.",
  ),
  "ipsec.association-lost": warn(
    "The kernel lacks keys of a security association that charon believes in: another program deleted them (`ip xfrm state flush`). New ones are negotiated at once.",
    "Find out which program manages IPsec on this host besides flannel.",
  ),
  "ipsec.charon": verbose(2, "A line of charon's own log (level 1, which holds no keys)."),
  "ipsec.charon-failed": error(
    "The daemon charon of strongSwan does not run, or does not do what the backend ipsec needs; the line says why. The agent retries.",
    "Do what the line says: install the packages, or stop another IKE daemon; `journalctl -u flannel-charon` has charon's own words.",
  ),
  "ipsec.charon-ready": info("The agent is connected to charon: one that it started, or one that ran already."),
  "ipsec.established": info("There is a security association with a peer again that refused one before."),
  "ipsec.refused": warn(
    "There is no security association with a peer; the line has the reason, from what charon logs.",
    "Give both hosts the same `PSK` and `ESPProposal`; a host that has just come takes some seconds to know the others.",
  ),
  "ipsec.unloaded": warn(
    "Another program took connections or keys of flannel out of charon, as `swanctl --load-all` does with all that stand in no file. They are loaded again at once.",
    "Run a charon of its own for other connections, or load them one by one; `flannelctl status` shows whether associations stand.",
  ),
};
