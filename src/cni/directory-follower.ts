// Names that come and go in a directory that other programs write, each change once; also of those that are gone again before
// anybody looks. By inotify, and by a look at the whole directory, which makes up for what was missed.
import { existsSync, type FSWatcher, readdirSync, statSync, watch } from "node:fs";
import { join } from "node:path";
import { isMissingFile } from "../sys/files.ts";

export interface DirectoryNews {
  readonly isWanted: (name: string) => boolean;
  readonly onAppeared: (name: string) => void;
  readonly onGone: (name: string) => void;
  /** Came and went, and was gone when its coming was heard. */
  readonly onPassed: (name: string) => void;
  /** Its content or times changed. */
  readonly onChanged?: (name: string) => void;
}

/** A host has some hundred containers. */
const MAX_NAMES = 50_000;

export class DirectoryFollower implements Disposable {
  readonly #directory: string;
  readonly #news: DirectoryNews;
  #present: Set<string> = new Set();
  /** Gone when their coming was heard; their going is still to be heard. */
  readonly #unseen = new Set<string>();
  #watcher: FSWatcher | undefined;
  #watchedInode = 0;

  /** What is there already is not reported. The directory may come later. Throws nothing. */
  constructor(directory: string, news: DirectoryNews) {
    this.#directory = directory;
    this.#news = news;
    this.#open();
    this.#present = new Set(this.#list());
  }

  get names(): ReadonlySet<string> {
    return this.#present;
  }

  /** Whether it is there, or was a moment ago and its going is still to be heard. */
  hasSeen(name: string): boolean {
    return this.#present.has(name) || this.#unseen.has(name);
  }

  /** To be called now and then: follows a directory that came, or came again, and makes up for what was missed. */
  resync(): void {
    this.#open();
    const present = new Set(this.#list());
    this.#unseen.clear();
    for (const name of this.#present) if (!present.has(name)) this.#take(name, false);
    for (const name of present) if (!this.#present.has(name)) this.#take(name, true);
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #open(): void {
    const inode = statSync(this.#directory, { throwIfNoEntry: false })?.ino ?? 0;
    if (inode === this.#watchedInode && this.#watcher !== undefined) return;
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watchedInode = inode;
    if (inode === 0) return;
    try {
      // `persistent` would keep a process alive that has nothing else to do.
      const watcher = watch(this.#directory, { persistent: false }, (type, name) => this.#hear(type, name));
      watcher.on("error", () => {
        watcher.close();
        // The next look opens another.
        if (this.#watcher === watcher) this.#watcher = undefined;
      });
      this.#watcher = watcher;
    } catch {
      // Gone meanwhile, or no watch is left for this user: the looks remain.
    }
  }

  #hear(type: string, name: string | null): void {
    if (name === null || !this.#news.isWanted(name)) return;
    if (type !== "rename") {
      this.#news.onChanged?.(name);
      return;
    }
    const isThere = existsSync(join(this.#directory, name));
    if (isThere || this.#present.has(name)) {
      if (isThere !== this.#present.has(name)) this.#take(name, isThere);
    } else if (this.#unseen.delete(name)) {
      this.#news.onPassed(name);
    } else if (this.#unseen.size < MAX_NAMES) this.#unseen.add(name);
  }

  #take(name: string, isThere: boolean): void {
    if (isThere) {
      this.#present.add(name);
      this.#news.onAppeared(name);
    } else {
      this.#present.delete(name);
      this.#news.onGone(name);
    }
  }

  #list(): string[] {
    // What cannot be read is not gone.
    return listNames(this.#directory, this.#news.isWanted) ?? [...this.#present];
  }
}

/** What is wanted of a directory, none where there is no such directory; undefined when it cannot be read. */
export function listNames(directory: string, isWanted: (name: string) => boolean): string[] | undefined {
  try {
    return readdirSync(directory).filter(isWanted).slice(0, MAX_NAMES);
  } catch (error) {
    return isMissingFile(error) ? [] : undefined;
  }
}
