// Takes secrets out of texts of any kind: those that are known by their value, and those that their place gives away. What stands
// for one is the same for equal secrets of one report, and says nothing about them: the key of the hash is thrown away.
import { createHmac, randomBytes } from "node:crypto";

/** Shorter ones would be found by chance all over. */
const MIN_KNOWN_CHARACTERS = 6;
const MAX_KNOWN = 1_000;

const secretWord = String.raw`[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|psk|pre[-_ ]?shared[-_ ]?key|private[-_ ]?key|privatekey|api[-_]?key|access[-_]?key|client-key-data|credential|authorization|cookie)[\w.-]*`;

/** Each has the secret in its last group, and what is kept before it in the others. */
const places: readonly RegExp[] = [
  /((?:bearer|basic|digest)\s+)([\w.~+/=-]{6,})/gi,
  // {"PSK": "…"}, escaped as within a JSON text, and YAML or environment: TOKEN=…, token: …
  new RegExp(String.raw`(\\*["']?${secretWord}\\*["']?\s*[:=]\s*\\*["'])((?:(?!\\*["']).)+)`, "gi"),
  new RegExp(String.raw`((?:^|[\s;,{&?("'])${secretWord}\s*[:=]\s*)(?!\\*["'])([^\s"',;&}]+)`, "gim"),
  // --etcd-password …, --token …
  new RegExp(String.raw`(--${secretWord}[ \0])([^\s\0]+)`, "gi"),
  // https://user:password@host
  /([a-z][a-z0-9+.-]*:\/\/[^\s/:@]*:)([^\s@]+)(?=@)/gi,
  // JSON Web Tokens, wherever they stand.
  /()(eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?)/g,
  // Join tokens of a small cluster.
  /(\b[a-z0-9]{8}\.)([\w-]{32}\.[\w-]{43})(?![\w-])/g,
];

const privateKey = /-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----[\s\S]*?(?:-----END \1-----|$)/g;
/** The same inside of base64, as kubeconfig files have it: `-----BEGIN` of a key that ends in `PRIVATE KEY`. */
const encodedPem = /LS0tLS1CRUdJTi[A-Za-z0-9+/=]+/g;

export class Redactor {
  readonly #key = randomBytes(32);
  readonly #known = new Set<string>();
  #count = 0;

  /** Secrets by their values, and in the forms in which texts hold them. */
  know(...values: readonly (string | undefined)[]): void {
    for (const value of values) {
      const text = value?.trim() ?? "";
      if (text.length < MIN_KNOWN_CHARACTERS || this.#known.size >= MAX_KNOWN) continue;
      this.#known.add(text);
      this.#known.add(encodeURIComponent(text));
      this.#known.add(Buffer.from(text).toString("base64"));
      this.#known.add(JSON.stringify(text).slice(1, -1));
    }
  }

  /** The text without its secrets, and how many there were. */
  redact(text: string): { readonly text: string; readonly count: number } {
    this.#count = 0;
    let clean = text.replaceAll(privateKey, (found) => this.#standIn(found));
    clean = clean.replaceAll(encodedPem, (found) =>
      /PRIVATE KEY/.test(Buffer.from(found, "base64").toString("latin1")) ? this.#standIn(found) : found,
    );
    for (const known of [...this.#known].toSorted((a, b) => b.length - a.length)) {
      clean = clean.replaceAll(known, (found) => this.#standIn(found));
    }
    for (const place of places) {
      clean = clean.replaceAll(place, (whole, kept: string, secret: string) =>
        isHarmless(secret) ? whole : `${kept}${this.#standIn(secret)}`,
      );
    }
    return { text: clean, count: this.#count };
  }

  #standIn(secret: string): string {
    this.#count++;
    return `<secret ${createHmac("sha256", this.#key).update(secret).digest("hex").slice(0, 8)}>`;
  }
}

/** What stands for a secret already, and values that are none. */
function isHarmless(text: string): boolean {
  return /^(<secret\b.*|bearer|basic|digest|\(hidden\)|true|false|null|undefined|\d{1,3}|\/[\w./-]+|)$/i.test(text);
}
