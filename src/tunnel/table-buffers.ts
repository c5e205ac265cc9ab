// Shared memory for forwarding tables, used again: a new block for each change of a peer would stay until a
// collects garbage, which the packet thread, making none, does not. Pure.

interface Block {
  readonly buffer: SharedArrayBuffer;
  /** Of the table in it, as the pump knows it; FREE: none that matters. */
  generation: number;
}

const FREE = -1;
/** Room to grow, so that one peer more does not need new memory. */
const SLACK = 1.5;
const LEAST_BYTES = 4_096;

export class TableBuffers {
  readonly #blocks: Block[] = [];

  /** Room for a table. `taken`: what the pump has reached; it may still read that one and all after it. */
  take(bytes: number, taken: number): SharedArrayBuffer {
    const isFree = ({ generation }: Block) => generation < taken;
    const known = this.#blocks.find((block) => isFree(block) && block.buffer.byteLength >= bytes);
    if (known !== undefined) return known.buffer;
    const tooSmall = this.#blocks.findIndex(isFree);
    if (tooSmall >= 0) this.#blocks.splice(tooSmall, 1);
    const buffer = new SharedArrayBuffer(Math.max(LEAST_BYTES, Math.ceil(bytes * SLACK)));
    this.#blocks.push({ buffer, generation: FREE });
    return buffer;
  }

  /** The pump was asked to go over to the table in this buffer. */
  publish(buffer: SharedArrayBuffer, generation: number): void {
    for (const block of this.#blocks) if (block.buffer === buffer) block.generation = generation;
  }

  /** No pump runs any more. */
  freeAll(): void {
    for (const block of this.#blocks) block.generation = FREE;
  }
}
