// What a package contains that others wrote: licence texts for people, a bill of materials (CycloneDX) for tools.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./checkout.ts";
import { lockedPackage } from "./npm-package.ts";

export interface Component {
  readonly name: string;
  readonly version: string;
  /** An SPDX expression, where the source names one. */
  readonly license?: string;
  readonly licenseText: string;
  /** Package URL, as `pkg:npm/zod@4.6.7`. */
  readonly purl: string;
  /** Of the package's file; hexadecimal. */
  readonly hash: { readonly alg: "SHA-256" | "SHA-512"; readonly content: string };
}

/** `integrity` is npm's: "sha512-" and base64. */
export function npmComponent(
  what: Pick<Component, "name" | "version" | "licenseText"> & { readonly license: string; readonly integrity: string },
): Component {
  const { integrity, ...rest } = what;
  const purl = `pkg:npm/${rest.name.replace("@", "%40")}@${rest.version}`;
  const content = Buffer.from(integrity.slice("sha512-".length), "base64").toString("hex");
  return { ...rest, purl, hash: { alg: "SHA-512", content } };
}

/** Packages without a file for it, and the source files whose first comment has what the licence wants to be shown. */
const licenseComments: Readonly<Record<string, readonly string[]>> = {
  // Apache-2.0, as this project's own LICENSE, and Google's for what it took over.
  "@bufbuild/protobuf": ["dist/esm/wire/varint.js"],
};

/** Packages without a file for it, and another one of the same repository and licence that has it. */
const licenseSiblings: Readonly<Record<string, string>> = {
  "@aws-sdk/credential-provider-http": "@aws-sdk/client-ec2",
  "@aws-sdk/credential-provider-login": "@aws-sdk/client-ec2",
  "@aws-sdk/nested-clients": "@aws-sdk/client-ec2",
};

const mit = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files
(the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge,
publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so,
subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR
ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH
THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;

/** Packages that name a licence without its text. Where README and package.json differ, the README's is the one that its author wrote. */
const namedLicenses: Readonly<Record<string, { readonly license: string; readonly copyright: string }>> = {
  "@alicloud/openapi-util": {
    license: "Apache-2.0",
    copyright: "Copyright (c) 2009-present, Alibaba Cloud All rights reserved.",
  },
  "@alicloud/tea-util": {
    license: "Apache-2.0",
    copyright: "Copyright (c) 2009-present, Alibaba Cloud All rights reserved.",
  },
  "@alicloud/tea-typescript": { license: "MIT", copyright: "Copyright (c) Alibaba Cloud" },
  httpx: { license: "MIT", copyright: "Copyright (c) Jackson Tian" },
};

/** Packages whose licence stands at the end of their README. */
const licenseReadmes = new Set(["data-uri-to-buffer"]);

interface Manifest {
  readonly version: string;
  readonly license: string;
}

/** Of each package in the bundle, by name. Throws when one has no licence text. */
export function bundledComponents(): readonly Component[] {
  const names = JSON.parse(readFileSync(join(root, "dist/packages.json"), "utf8")) as readonly string[];
  return names.map((path) => {
    const directory = join(root, "node_modules", path);
    const name = path.replace(/^.*\/node_modules\//, "");
    const manifest = JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as Manifest;
    const { version } = manifest;
    const license = namedLicenses[name]?.license ?? manifest.license;
    const { integrity } = lockedPackage(path);
    return npmComponent({ name, version, license, licenseText: licenseText(name, directory), integrity });
  });
}

function licenseText(name: string, directory: string): string {
  const sibling = licenseSiblings[name];
  if (sibling !== undefined) return licenseText(sibling, join(root, "node_modules", sibling));
  if (licenseReadmes.has(name)) return lastChapter(readFileSync(join(directory, "README.md"), "utf8"), "License");
  const named = namedLicenses[name];
  if (named !== undefined) {
    const text = named.license === "MIT" ? mit : readFileSync(join(root, "LICENSE"), "utf8").trim();
    return `${named.copyright}\n\n${text}`;
  }
  const files = readdirSync(directory).filter((file) => /^(licen[cs]e|copying|notice)/i.test(file));
  const commented = licenseComments[name] ?? [];
  if (files.length + commented.length === 0)
    throw new Error(`${name} has no licence text: see packaging/third-party.ts`);
  const texts = [
    ...files.sort().map((file) => readFileSync(join(directory, file), "utf8")),
    ...(files.length === 0 ? [readFileSync(join(root, "LICENSE"), "utf8")] : []),
    ...commented.map((file) => firstComment(readFileSync(join(directory, file), "utf8"))),
  ];
  return texts.map((text) => text.trim()).join("\n\n");
}

/** Throws when there is no such chapter. */
function lastChapter(text: string, title: string): string {
  const start = text.lastIndexOf(`\n${title}\n`);
  if (start < 0) throw new Error(`a README has no chapter ${title}: see packaging/third-party.ts`);
  return text
    .slice(start + title.length + 2)
    .replace(/^-+\n/, "")
    .trim();
}

function firstComment(source: string): string {
  const lines = source.split("\n");
  const end = lines.findIndex((line) => !line.startsWith("//"));
  return lines
    .slice(0, end)
    .map((line) => line.replace(/^\/\/ ?/, ""))
    .join("\n");
}

/** One file with all of them. */
export function licenseDocument(components: readonly Component[]): string {
  const rule = "=".repeat(78);
  const chapters = components.map(({ name, version, license, licenseText }) =>
    [rule, `${name} ${version}: ${license ?? "see below"}`, rule, "", licenseText, ""].join("\n"),
  );
  return `flannel contains the following software of others.\n\n${chapters.join("\n")}`;
}

/** CycloneDX 1.5; the same components, version and date make the same bytes. */
export function billOfMaterials(version: string, dateSeconds: number, components: readonly Component[]): string {
  const document = {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
      timestamp: new Date(dateSeconds * 1000).toISOString(),
      component: {
        type: "application",
        "bom-ref": "flannel",
        name: "flannel",
        version,
        licenses: [{ expression: "Apache-2.0" }],
      },
    },
    components: components.map(({ name, version, license, purl, hash }) => ({
      type: "library",
      "bom-ref": purl,
      name,
      version,
      purl,
      ...(license === undefined ? {} : { licenses: [{ expression: license.replace(/^\((.*)\)$/, "$1") }] }),
      hashes: [hash],
    })),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}
