// For the bundler: leaves out of AWS's client for EC2 the shapes of the 700 operations that nobody calls. They are three
// quarters of its code and would cost the agent 70 MB of memory.
import { readFileSync } from "node:fs";
import type { Plugin } from "esbuild";

/** Modules, of which unused parts can be left out; the package's own entry for Node is one CommonJS file. */
export const awsClientAlias = { "@aws-sdk/client-ec2": "@aws-sdk/client-ec2/dist-es/index.js" };

/** `export var Shape$ = [ … ];`, over several lines. */
const shape = /^((?:export )?var \w+\$? = )(\[[\s\S]*?\n?\]);$/gm;

/** Keys that are computed keep a bundler from seeing that the tables of shapes have no effect: this says so. */
export const smallAwsClient: Plugin = {
  name: "small-aws-client",
  setup(build) {
    build.onLoad({ filter: /@aws-sdk\/client-ec2\/dist-es\/schemas\/schemas_0\.js$/ }, ({ path }) => {
      const text = readFileSync(path, "utf8");
      const contents = text.replaceAll(shape, "$1/* @__PURE__ */ (() => $2)();");
      if (contents.split("@__PURE__").length < 1_000)
        throw new Error(`${path} has another form than before: look at it`);
      return { contents };
    });
  },
};
