import { expect, test } from "vitest";
import { makePaint } from "../../../terminal/text.ts";
import type { NetworkTrace } from "../session/trace-output.ts";
import { renderTrace } from "./trace-view.ts";

const cause = "10.5.2.0/24 via eth1, desired is flannel.1";

function rowsOf(more: Partial<NetworkTrace>): string[] {
  const network: NetworkTrace = { name: "n", place: "peer", lines: [], verdict: "v", cause, ...more };
  return renderTrace({ target: "10.5.2.2", agent: "running", networks: [network] }, makePaint(false));
}

test("what is wrong is no reason for success", () => {
  expect(rowsOf({ lost: false })).toContain(`  but: ${cause}`);
  expect(rowsOf({ lost: true })).toContain(`  since: ${cause}`);
  // Without a live test.
  expect(rowsOf({})).toContain(`  since: ${cause}`);
});
