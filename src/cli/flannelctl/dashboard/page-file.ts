// The page: one file that the build makes, and the policy that lets a browser run what is in it and nothing else.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { FlannelError } from "../../../errors.ts";

export interface PageFile {
  readonly html: Buffer;
  readonly contentSecurityPolicy: string;
}

/** Throws `FILE_FAILED` when it is not there. */
export function readPage(): PageFile {
  const place = import.meta.url.endsWith(".ts") ? "../../../../dist/dashboard.html" : "./dashboard.html";
  const path = fileURLToPath(new URL(place, import.meta.url));
  try {
    const html = readFileSync(path);
    return { html, contentSecurityPolicy: policyOf(html.toString("utf8")) };
  } catch (cause) {
    throw new FlannelError("FILE_FAILED", `cannot read the page ${path}: install flannel again, or run npm run build`, {
      cause,
    });
  }
}

function policyOf(html: string): string {
  return [
    "default-src 'none'",
    `script-src ${hashes(html, "script")}`,
    `style-src ${hashes(html, "style")}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
}

function hashes(html: string, element: "script" | "style"): string {
  const contents = [...html.matchAll(new RegExp(`<${element}[^>]*>([\\s\\S]*?)</${element}>`, "g"))];
  return contents
    .map(([, content = ""]) => `'sha256-${createHash("sha256").update(content).digest("base64")}'`)
    .join(" ");
}
