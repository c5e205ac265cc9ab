// The version of this build: of the package, with the commit where the bundle was made from a checkout.
import manifest from "../package.json" with { type: "json" };

/** Put in place by scripts/build.ts; empty where the sources are in no git checkout, missing where nothing was bundled. */
declare const FLANNEL_COMMIT: string | undefined;

export const version: string = manifest.version;

/** The last commit that changed what the bundle is made from, with `-dirty` where files differ from it. */
export const commit: string | undefined =
  typeof FLANNEL_COMMIT === "string" && FLANNEL_COMMIT !== "" ? FLANNEL_COMMIT : undefined;
