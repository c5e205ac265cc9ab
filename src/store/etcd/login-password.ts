// The password that the connection logs in with: given as text, or held in a file that may be replaced meanwhile.
import { readFile } from "node:fs/promises";
import { describeError, FlannelError } from "../../errors.ts";

/** Longer is no password: some other file was named. */
const MAX_CHARACTERS = 1_024;

export class LoginPassword {
  readonly #file: string;
  #password: string;

  private constructor(file: string, password: string) {
    this.#file = file;
    this.#password = password;
  }

  /** `passwordFile` before `password`; "" and missing: not given. Throws `CONFIG_INVALID` for a file of no use. */
  static async open(options: { readonly password?: string; readonly passwordFile?: string }): Promise<LoginPassword> {
    const { password = "", passwordFile = "" } = options;
    return new LoginPassword(passwordFile, passwordFile === "" ? password : await readPassword(passwordFile));
  }

  /** As the file has it now; the last one that was there while it cannot be read. */
  async read(): Promise<string> {
    if (this.#file !== "") this.#password = await readPassword(this.#file).catch(() => this.#password);
    return this.#password;
  }
}

/** Without the end of its line. */
async function readPassword(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const message = `cannot read --etcd-password-file ${file}: ${describeError(error)}`;
    throw new FlannelError("CONFIG_INVALID", message, { cause: error });
  }
  const password = text.replace(/\r?\n$/, "");
  if (password === "" || password.length > MAX_CHARACTERS || /[\r\n]/.test(password)) {
    const message = `--etcd-password-file ${file} must hold one line of 1 to ${MAX_CHARACTERS} characters, the password`;
    throw new FlannelError("CONFIG_INVALID", message);
  }
  return password;
}
