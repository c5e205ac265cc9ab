// Names of networks, where one agent serves several: part of a key, a file name and a label. Pure.

/** As many networks as one agent serves: each has sockets and files of its own. */
export const MAX_NETWORKS = 256;

export const NETWORK_NAME_RULE =
  "must be 1 to 63 letters, digits, dots, hyphens and underscores, a letter or digit first";

/** Names come from the store, too, where anybody with access to it writes them. */
export function isNetworkName(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(text);
}
