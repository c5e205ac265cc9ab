// The address of a provider's API that a variable of the environment names.
import { FlannelError } from "../errors.ts";

/** Without a scheme it is https, as the vendors' own programs have it. Throws `CLOUD_REJECTED` naming the variable. */
export function namedEndpoint(
  env: Readonly<Record<string, string | undefined>>,
  variable: string,
  fallback: string,
): string {
  const given = env[variable]?.trim();
  if (!given) return fallback;
  const url = /^[a-z]+:\/\//i.test(given) ? given : `https://${given}`;
  if (URL.canParse(url) && /^https?:\/\/[^/?#]/i.test(url)) return new URL(url).href;
  const message = `${variable} is no address of an API, such as ${fallback}: correct or remove that variable`;
  throw new FlannelError("CLOUD_REJECTED", message);
}
