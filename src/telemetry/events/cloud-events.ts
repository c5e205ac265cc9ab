// Log events about the route tables of a cloud provider.
import { info, warn } from "./definition.ts";

export const cloudEvents = {
  "cloud.failed": warn(
    "The agent could not read or correct the route tables of the cloud, or something there keeps packets from this host; the line says what. The agent retries.",
    "What the line says, such as a permission to give; docs/cloud.md.",
  ),
  "cloud.failed.recovered": info("The route tables of the cloud lead to this host again."),
  "cloud.identified": info("The line has this host as the cloud provider knows it: instance, next hop, route tables."),
  "cloud.repaired": warn(
    "Another program or person changed this host's route in a route table of the cloud; the agent repaired it. The line has what it found.",
    "Find who changed it in the provider's audit log.",
  ),
  "cloud.route-removed": info(
    "The agent removed a route inside the network that led to a host that is gone, or to this host for an earlier subnet.",
  ),
  "cloud.route-set": info("The agent set this host's route in a route table of the cloud."),
};
