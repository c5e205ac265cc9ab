// What a host joins with, as text: `ID.SECRET.PIN`. The pin is that of the store's key: whoever holds a token knows whom
// to tell the secret. Pure.
import { FlannelError } from "../../errors.ts";

export interface JoinToken {
  /** Names the token in lists and logs; no secret. */
  readonly id: string;
  /** 192 random bits. */
  readonly secret: string;
  /** See keyPin. */
  readonly pin: string;
}

const pattern = /^([a-z0-9]{8})\.([A-Za-z0-9_-]{32})\.([A-Za-z0-9_-]{43})$/;

export function formatToken({ id, secret, pin }: JoinToken): string {
  return `${id}.${secret}.${pin}`;
}

/** Blanks around it are overlooked. Throws `USAGE`, without the text: it may be a token with a slip in it. */
export function parseToken(text: string): JoinToken {
  const [, id, secret, pin] = pattern.exec(text.trim()) ?? [];
  if (id === undefined || secret === undefined || pin === undefined) {
    throw new FlannelError(
      "USAGE",
      "this is not a join token: it has three parts, ID.SECRET.PIN, as flannelctl token create prints it",
    );
  }
  return { id, secret, pin };
}

export function isTokenId(text: string): boolean {
  return /^[a-z0-9]{8}$/.test(text);
}
