// Addresses of API servers as people write them. Pure.
import { FlannelError } from "../errors.ts";

/** One or several, separated by commas, of the same cluster. `source` names in messages where they were given. Throws `CONFIG_INVALID`. */
export function parseServers(text: string, source: string): URL[] {
  return text.split(",").map((part) => {
    const trimmed = part.trim();
    const withScheme = trimmed.includes("://") ? trimmed : `http://${trimmed}`;
    const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
    if (url === undefined || !["http:", "https:"].includes(url.protocol) || url.hostname === "") {
      const shown = JSON.stringify(trimmed.slice(0, 100));
      throw new FlannelError("CONFIG_INVALID", `${source}: ${shown} is not a URL such as https://192.0.2.1:6443`);
    }
    if (url.username !== "" || url.password !== "") {
      throw new FlannelError(
        "CONFIG_INVALID",
        `${source}: a URL with a user name is not supported; use a kubeconfig file`,
      );
    }
    return url;
  });
}
