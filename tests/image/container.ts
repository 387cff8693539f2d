/**
 * A container without a container engine: processes run in a root folder and see nothing else. It has its own namespaces for mounts and
 * processes, a read-only root and an unprivileged user, as the Deployment requires. Needs root on Linux.
 * @module
 */

/** Search path for the programs of the image and of this machine; the same as in the base image. */
const ENVIRONMENT = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };

/** A running container; disposing it kills all its processes. */
export class Container implements AsyncDisposable {
  readonly #unshare: Deno.ChildProcess;
  readonly #user: string;
  readonly #init: number;
  #hasEnded = false;

  private constructor(unshare: Deno.ChildProcess, options: { user: string; init: number }) {
    this.#unshare = unshare;
    this.#user = options.user;
    this.#init = options.init;
    void unshare.status.then(() => this.#hasEnded = true);
  }

  /** Starts `command` as the container's first process, and waits until its standard error contains `sign`. */
  static async start(
    root: string,
    options: { command: readonly string[]; user: string; sign: string },
  ): Promise<Container> {
    const mounts = [
      'mount --bind "$0" "$0"',
      'mount -t proc proc "$0/proc"',
      'mount -o remount,bind,ro "$0"',
      'exec chroot --userspec="$1" "$0" "${@:2}"',
    ];
    const unshare = new Deno.Command("unshare", {
      args: ["--mount", "--pid", "--fork", "bash", "-c", mounts.join(" && "), root].concat(
        options.user,
        options.command,
      ),
      clearEnv: true,
      env: ENVIRONMENT,
      stdin: "piped",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    await seen(unshare.stderr, options.sign);
    const children = await Deno.readTextFile(`/proc/${unshare.pid}/task/${unshare.pid}/children`);
    return new Container(unshare, { user: options.user, init: Number(children.trim()) });
  }

  /** Runs a program, as the kubelet runs a probe, and returns its exit code. */
  async exec(...command: string[]): Promise<number> {
    const { code } = await this.#enter(command).output();
    return code;
  }

  /** Starts a program, and returns when its standard error contains `sign`. */
  async spawn(command: readonly string[], sign: string): Promise<Deno.ChildProcess> {
    const child = this.#enter(command).spawn();
    await seen(child.stderr, sign);
    return child;
  }

  /** Sends a signal to the first process and returns the exit code of the container. */
  async stop(signal: Deno.Signal): Promise<number> {
    Deno.kill(this.#init, signal);
    return (await this.#unshare.status).code;
  }

  /** The effective user of the first process, as the kernel reports it. */
  async initUser(): Promise<string> {
    const status = await Deno.readTextFile(`/proc/${this.#init}/status`);
    const id = (field: string) => new RegExp(`^${field}:\\s+\\d+\\s+(\\d+)`, "m").exec(status)?.[1];
    return `${id("Uid")}:${id("Gid")}`;
  }

  /** The kernel kills all other processes with the first one. */
  async [Symbol.asyncDispose](): Promise<void> {
    // Before closing its standard input: a process that exits on that could have passed on its id.
    if (!this.#hasEnded) Deno.kill(this.#init, "SIGKILL");
    await this.#unshare.stdin.close();
    await this.#unshare.status;
  }

  #enter(command: readonly string[]): Deno.Command {
    const [uid = "", gid = ""] = this.#user.split(":");
    return new Deno.Command("nsenter", {
      args: [`--target=${this.#init}`, "--mount", "--pid", "--root", "--wd"].concat(
        `--setuid=${uid}`,
        `--setgid=${gid}`,
        ...command,
      ),
      clearEnv: true,
      env: ENVIRONMENT,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    });
  }
}

/** Waits until a program's output contains `sign`. It reads the rest, too, because a closed pipe would end the program. */
async function seen(output: ReadableStream<Uint8Array>, sign: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const readAll = async () => {
    let text = "";
    for await (const chunk of output.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (text.includes(sign)) resolve();
    }
    reject(new Error(`The program ended before it said "${sign}": ${text}`));
  };
  readAll().catch(reject);
  await promise;
}
