// Private words: what the code once called things, and nobody would search for. Names the lines that still have one, in
// code, comments, strings, help and docs; docs/style.md has the words to use instead.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

interface PrivateWord {
  readonly pattern: RegExp;
  readonly instead: string;
}

const privateWords: readonly PrivateWord[] = [
  { pattern: /\b[Aa]new\b|Anew(?![a-z])/, instead: "again; retry, restart, recreate, reopen, reissue" },
  { pattern: /\bsomebody\b/i, instead: "another program, an operator, an external change" },
  {
    pattern: /\b(?:is|are|be|been|being|was|were|nobody|not) told\b/i,
    instead: "is reported, is logged; learns, gets",
  },
  { pattern: /\blook(?:s|ed)? after\b/i, instead: "watch, renew, repair, maintain" },
  { pattern: /\bgood for nothing\b/i, instead: "unusable, skipped, invalid" },
  { pattern: /\b(?:try|tries|tried|trying) (?:on|anew)\b/i, instead: "retry" },
  { pattern: /strangers?\b/i, instead: "unauthenticated, unknown, external change" },
  { pattern: /keepers?\b/i, instead: "renewer, reconciler, store, supervisor" },
  { pattern: /\bbooks?\b|Book\b/, instead: "registry, record, table" },
  { pattern: /\bputting[- ]back\b/i, instead: "rollback, restore, repair" },
  { pattern: /\bnobody's answer\b/i, instead: "say what failed and why" },
];

interface Exception {
  readonly file: string;
  /** A part of the line. */
  readonly text: string;
  readonly why: string;
}

/** Each with its reason. */
const exceptions: readonly Exception[] = [];

export interface Hit {
  readonly file: string;
  readonly line: number;
  readonly text: string;
  readonly word: string;
  readonly instead: string;
}

/** What private words a file's text has. `file` is for the report and for exceptions. */
export function privateWordsIn(file: string, text: string, allowed: readonly Exception[] = exceptions): Hit[] {
  return text.split("\n").flatMap((line, index) => {
    if (allowed.some((exception) => exception.file === file && line.includes(exception.text))) return [];
    return privateWords.flatMap(({ pattern, instead }) => {
      const [word] = pattern.exec(line) ?? [];
      return word === undefined ? [] : [{ file, line: index + 1, text: line.trim(), word, instead }];
    });
  });
}

/** Sources without tests (whose worlds have strangers), and all docs but the one that names the words. */
export function isChecked(file: string): boolean {
  if (/(^|\/)(test|fixtures)\/|\.test\.tsx?$/.test(file)) return false;
  if (["docs/style.md", "scripts/check-words.ts", "src/etcd-api/etcd.ts"].includes(file)) return false;
  // Shell scripts of the product have no suffix.
  return /\.(?:tsx?|mjs|md|sh|ya?ml|html|css|tpl)$|^(?:bin|cni)\//.test(file);
}

interface SourceText {
  readonly file: string;
  readonly text: string;
}

/** What is to be mended, a paragraph each: every private word, and every exception that nothing needs. */
export function complaintsOf(texts: readonly SourceText[], allowed: readonly Exception[] = exceptions): string[] {
  const hits = texts.flatMap(({ file, text }) => privateWordsIn(file, text, allowed));
  const unused = allowed.filter(
    ({ file, text }) => !texts.some((each) => each.file === file && each.text.includes(text)),
  );
  return [
    ...hits.map(
      ({ file, line, word, instead, text }) =>
        `${file}:${line}: "${word}": write ${instead} (docs/style.md)\n    ${text.slice(0, 160)}`,
    ),
    ...unused.map(({ file, text }) => `scripts/check-words.ts: the exception "${text}" in ${file} is not needed`),
  ];
}

function main(): number {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const listing = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
  });
  const files = listing.split("\n").filter((file) => isChecked(file) && existsSync(join(root, file)));
  const texts = files.map((file) => ({ file, text: readFileSync(join(root, file), "utf8") }));
  const complaints = complaintsOf(texts);
  for (const complaint of complaints) console.log(complaint);
  return complaints.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main();
