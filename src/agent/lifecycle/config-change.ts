// What a new version of the network configuration means for a running agent. Changes nothing; tells what is odd.
import type { BackendRegistry } from "../../backend/registry.ts";
import { compareNetworkConfig, withLiveKeys } from "../../config/compare-network-config.ts";
import type { NetworkConfig } from "../../config/network-config.ts";
import { type FlannelError, hasCode } from "../../errors.ts";
import type { ConfigNews } from "./config-news.ts";

/** A configuration in force, with the text it came from. */
export interface ActiveConfig {
  readonly config: NetworkConfig;
  readonly text: string;
}

export interface ConfigChange {
  /** What to go on with: the running configuration with everything new that can be applied live. */
  readonly next: ActiveConfig;
  /** Changed keys that `next` contains. */
  readonly live: readonly string[];
  /** Changed keys that only a restart applies. */
  readonly restart: readonly string[];
}

/** Throws `CONFIG_INVALID`. */
export function readConfig(backends: BackendRegistry, text: string, news: ConfigNews): ActiveConfig {
  const { config, warnings } = backends.parseConfig(text);
  for (const { path, message } of warnings) news.odd(path, message);
  return { config, text };
}

/** What is wrong with a configuration to begin with, which is reported; undefined when nothing is, whatever the host is like. */
export function faultOfConfig(backends: BackendRegistry, text: string, news: ConfigNews): FlannelError | undefined {
  try {
    backends.create(backends.parseConfig(text).config);
    return undefined;
  } catch (error) {
    if (!hasCode(error, "CONFIG_INVALID")) throw error;
    news.invalid(error);
    return error;
  }
}

/** Undefined when there is nothing to do: the same text, or one that is wrong (which is reported). */
export function judgeConfigChange(
  backends: BackendRegistry,
  running: ActiveConfig,
  text: string,
  news: ConfigNews,
): ConfigChange | undefined {
  if (text === running.text) {
    news.restartNeeded([]);
    return undefined;
  }
  try {
    const wanted = readConfig(backends, text, news);
    backends.create(wanted.config);
    const keys = backends.keysOf(wanted.config);
    const { live, restart } = compareNetworkConfig(running.config, wanted.config, keys);
    const config = live.length === 0 ? running.config : withLiveKeys(running.config, wanted.config, keys);
    // The old text stays while a restart is pending: it is what a warm start could go on with.
    return { next: { config, text: restart.length === 0 ? text : running.text }, live, restart };
  } catch (error) {
    if (!hasCode(error, "CONFIG_INVALID")) throw error;
    news.rejected(error);
    return undefined;
  }
}
