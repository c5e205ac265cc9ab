// `flannelctl dashboard`: a page to look at this host and its network with a browser, until Ctrl-C. It changes nothing.

import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { printable } from "../../../terminal/foreign-text.ts";
import { Board } from "../dashboard/board.ts";
import { DashboardServer } from "../dashboard/dashboard-server.ts";
import { Gathering } from "../dashboard/gathering.ts";
import { type DashboardOptions, planListening } from "../dashboard/listen-plan.ts";
import { readPage } from "../dashboard/page-file.ts";
import { type Invocation, remark } from "../session/invocation.ts";
import { dashboardOutputSchema } from "../session/json-output.ts";
import { OUTPUT_VERSION } from "../session/output-version.ts";

/** 0 when it is ended by Ctrl-C; 2 when it may not or cannot listen there. */
export async function serveDashboard(invocation: Invocation, options: DashboardOptions): Promise<ExitCode> {
  const { terminal, signal } = invocation;
  const plan = planListening(options);
  const board = new Board();
  await using gathering = new Gathering(invocation, board);
  await using server: DashboardServer = await DashboardServer.open({
    ...{ plan, page: readPage(), board },
    onOpened: (address) => {
      gathering.anticipate();
      remark(invocation, `opened from ${printable(address)}; a link for another browser: ${server.link}`);
    },
    onWatched: (watchers) => gathering.follow(watchers),
  });
  if (invocation.options.json) {
    const output = dashboardOutputSchema.parse({ url: server.link, origin: server.origin });
    terminal.writeOut(`${JSON.stringify({ version: OUTPUT_VERSION, ...output }, undefined, 2)}\n`);
  } else {
    terminal.writeOut(`${server.link}\n`);
    remark(invocation, "open this link in a browser; it works once. Ctrl-C ends the page");
  }
  await untilAborted(signal);
  return exitCodes.ok;
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
