// The version of what flannelctl writes with --json. In a file of its own, so that the schemas are loaded by those who need them.

/** Of all outputs but an export, which names its own format. Fields may be added without a new one. */
export const OUTPUT_VERSION = 1;
