// What is reported once for each network, as people read it. Pure.

/** With a heading for each as soon as there are several. */
export function renderNetworks<T extends { readonly name: string }>(
  networks: readonly T[],
  render: (network: T) => readonly string[],
): string[] {
  return networks.flatMap((network, index) => {
    const heading = networks.length > 1 ? [...(index > 0 ? [""] : []), `# network ${network.name}`] : [];
    return [...heading, ...render(network)];
  });
}
