// What a command printed, as it may be shown: short, on one line, without anything that drives a terminal, and without what
// looks like a secret. Pure.
import { oneLine } from "../terminal/foreign-text.ts";
import { trimWhiteSpace } from "./command-words.ts";

const MAX_SHOWN_CHARACTERS = 500;
/** Shorter values would hide ordinary words. */
const MIN_SECRET_CHARACTERS = 4;
const SECRET_NAME = /PASS(WORD|WD|PHRASE)?$|SECRET|TOKEN|PSK|PRIVATE|CREDENTIAL|_KEY$/i;
/** 32 bytes in base64 or hexadecimal: a WireGuard key, private or not. */
const KEY = /(?<![\w+/])(?:[\w+/]{43}=|[0-9a-fA-F]{64})(?![\w+/=])/g;

/** The end of the text tells more than its beginning. Empty for a command that printed nothing. */
export function shownOutput(text: string, environment: Readonly<Record<string, string | undefined>>): string {
  const whole = withoutSecrets(trimWhiteSpace(text), environment).replaceAll(KEY, "(hidden)");
  const shown = whole.length > MAX_SHOWN_CHARACTERS ? `...${whole.slice(-MAX_SHOWN_CHARACTERS)}` : whole;
  return oneLine(shown);
}

function withoutSecrets(text: string, environment: Readonly<Record<string, string | undefined>>): string {
  let shown = text;
  for (const [name, value = ""] of Object.entries(environment)) {
    if (SECRET_NAME.test(name) && value.length >= MIN_SECRET_CHARACTERS) shown = shown.replaceAll(value, "(hidden)");
  }
  return shown;
}
