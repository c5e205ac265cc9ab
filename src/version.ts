// The version of this build: of the package, with the commit where the bundle was made from a checkout.
import manifest from "../package.json" with { type: "json" };

export const version: string = manifest.version;
