// Configurations of the CNI plugin `flannel` at random: keys and text of every kind, which a shell might evaluate.
import fc from "fast-check";

const key = fc
  .stringMatching(/^[A-Za-z0-9 _.:/$`'é-]{1,8}$/)
  .filter((text) => !["type", "name", "ipam", "ranges", "routes", "__proto__"].includes(text));
const leaf = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 12 }),
  fc.stringMatching(/^[$`"'\\;&|<>(){}\n\t\u2028\u2029\x7f]{0,8}$/),
  fc.integer({ min: -999_999_999, max: 999_999_999 }),
  fc.boolean(),
  fc.constant(null),
);
const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    leaf,
    fc.array(tie("tree"), { maxLength: 3 }),
    fc.dictionary(key, tie("tree"), { maxKeys: 3, noNullPrototype: true }),
  ),
}));
const anObject = fc.dictionary(key, tree, { maxKeys: 4, noNullPrototype: true });
/** What a configuration of the plugin may have besides its files. Integers only: of other numbers the two keep different texts. */
export const pluginConfig = fc.record(
  {
    name: fc.constant("cbr0"),
    cniVersion: fc.constantFrom("0.3.1", "1.0.0", "1.1.0"),
    delegate: anObject,
    ipam: anObject,
    runtimeConfig: anObject,
  },
  { requiredKeys: ["name"] },
);
