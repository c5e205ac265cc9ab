// Log events of an agent with several networks: which it serves. What happens in one has a field `networkName`.
import { error, info, warn } from "./definition.ts";

export const networkEvents = {
  "network.added": info("The agent begins to serve a network (`--networks`, `--watch-networks`)."),
  "network.failed": error(
    "A network cannot be served, or was given up after an error. The agent retries; other networks are not affected.",
    "Follow the line; the table of error codes explains its code.",
  ),
  "network.left": info("The network is no longer to be served here: the agent removes its devices, routes and rules."),
  "network.removed": info("The devices, routes and rules of a network that was left are gone; its lease stays."),
  "network.remove-failed": error(
    "The agent could not remove everything of a network that was left; it retries.",
    "Remove what the line names.",
  ),
  "network.kept": warn(
    "Networks are missing in a store that is another one than before, or an older copy: the agent goes on serving them.",
    "Write their configurations again, or remove the networks from this host: restart the agent when the store is complete.",
  ),
  "network.name-refused": warn(
    "A name in the store cannot be that of a network, or there are more networks than an agent serves: it is ignored.",
    "Give the network another name.",
  ),
};
