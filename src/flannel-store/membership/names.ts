// What the names of hosts and the prefix of the keys in a cluster may look like. Pure.

/** Room for it in a certificate's common name, and in a DNS label. */
const MAX_LENGTH = 63;

/** For messages. */
export const hostNameRule = `up to ${MAX_LENGTH} of a-z, 0-9, "-" and ".", beginning and ending with a letter or digit`;

export function isValidHostName(name: string): boolean {
  return (
    name.length <= MAX_LENGTH && /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/.test(name)
  );
}

/** Of the keys in the store: it has to stand in a file of variables on every host. */
export function isPlainPrefix(prefix: string): boolean {
  return /^[\w./-]{1,200}$/.test(prefix);
}
