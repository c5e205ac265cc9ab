// Names of hosts in a cluster. Pure.

/** Room for it in a certificate's common name, and in a DNS label. */
const MAX_LENGTH = 63;

/** For messages. */
export const hostNameRule = `up to ${MAX_LENGTH} of a-z, 0-9, "-" and ".", beginning and ending with a letter or digit`;

export function isValidHostName(name: string): boolean {
  return (
    name.length <= MAX_LENGTH && /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/.test(name)
  );
}
