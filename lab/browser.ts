// A real browser, Debian's Chromium without a screen, in a namespace of the lab; and what went wrong in its pages.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AxeResults } from "axe-core";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import type { Namespace } from "./namespace.ts";

/** A violation of these is what people with a screen reader or without a mouse stumble over. */
const seriousImpacts = ["serious", "critical"];
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

export class LabBrowser implements AsyncDisposable {
  readonly #browser: Browser;
  readonly #directory: string;

  private constructor(browser: Browser, directory: string) {
    this.#browser = browser;
    this.#directory = directory;
  }

  static async start(namespace: Namespace): Promise<LabBrowser> {
    const directory = mkdtempSync(join(tmpdir(), "lab-browser-"));
    const program = join(directory, "chromium");
    const words = namespace.command(["chromium"]).map((word) => `'${word}'`);
    writeFileSync(program, `#!/bin/sh\nexec ${words.join(" ")} "$@"\n`);
    chmodSync(program, 0o755);
    // Root has no sandbox there, and the tests' pages are our own.
    const args = ["--no-sandbox", "--disable-gpu", "--disable-extensions", "--disable-background-networking"];
    const browser = await chromium.launch({ executablePath: program, args, headless: true });
    return new LabBrowser(browser, directory);
  }

  /** A page of its own, with no cookies of others. */
  async open(options: BrowserContextOptions = {}): Promise<LabPage> {
    const context = await this.#browser.newContext({ viewport: { width: 1_280, height: 900 }, ...options });
    return new LabPage(await context.newPage());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export class LabPage implements AsyncDisposable {
  readonly page: Page;
  /** Addresses that it asked. */
  readonly requests: string[] = [];
  /** Errors of scripts and of the policy; dialogs that a script opened. */
  readonly problems: string[] = [];

  constructor(page: Page) {
    this.page = page;
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("pageerror", (error) => this.problems.push(error.message));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.problems.push(message.text());
    });
    page.on("dialog", (dialog) => {
      this.problems.push(`a dialog: ${dialog.message()}`);
      void dialog.dismiss().catch(() => undefined);
    });
  }

  /** What axe-core finds serious: rule, and the elements. */
  async seriousFaults(): Promise<readonly string[]> {
    // The page's policy lets no script in; what the debugger evaluates is no part of the page.
    await this.page.evaluate(readFileSync(axe, "utf8"));
    const results = await this.page.evaluate<AxeResults>("axe.run(document, { resultTypes: ['violations'] })");
    return results.violations
      .filter(({ impact }) => seriousImpacts.includes(impact ?? ""))
      .map(
        ({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("; ")}`,
      );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.page.context().close();
  }
}
