/**
 * A real desktop: TigerVNC's X server with a terminal, which writes what is typed into a file.
 * @module
 */
import { Background } from "./background.ts";

/** Programs of Debian's packages tigervnc-standalone-server, xterm and websockify. */
const PROGRAMS = ["Xvnc", "xterm", "websockify"];
/** The client of Debian's package novnc. */
const CLIENT = "/usr/share/novnc";

/** A running desktop; disposing it ends its programs. */
export class RealDesktop implements AsyncDisposable {
  /** Where it serves RFB: `127.0.0.1:PORT`. */
  readonly address: string;
  readonly #folder: string;
  readonly #programs: AsyncDisposableStack;

  private constructor(address: string, folder: string, programs: AsyncDisposableStack) {
    this.address = address;
    this.#folder = folder;
    this.#programs = programs;
  }

  /** Whether the programs are installed; Debian has them in tigervnc-standalone-server, xterm, websockify and novnc. */
  static isInstalled(): boolean {
    const checks = [...PROGRAMS.map((program) => `command -v ${program}`), `test -d ${CLIENT}`];
    return checks.every((check) =>
      new Deno.Command("sh", { args: ["-c", check], stdout: "null" }).outputSync().success
    );
  }

  /** Starts the X server and a terminal that fills its screen. */
  static async start(): Promise<RealDesktop> {
    await using starting = new AsyncDisposableStack();
    const folder = await Deno.makeTempDir();
    starting.defer(() => Deno.remove(folder, { recursive: true }));
    const port = freePort();
    const screen = "-geometry 800x500 -depth 24 -SecurityTypes None -localhost -AlwaysShared";
    const options = { cwd: folder, env: {} };
    const server = starting.use(Background.start(`Xvnc ${screen} -rfbport ${port} -displayfd 1`, options));
    const [display = ""] = await server.output(/^\d+$/m);
    const terminal =
      `xterm -display :${display} -geometry 200x60+0+0 -e sh -c 'echo Type here: && cat > typed'`;
    starting.use(Background.start(terminal, options));
    return new RealDesktop(`127.0.0.1:${port}`, folder, starting.move());
  }

  /** Serves the desktop by HTTP, too: websockify passes WebSockets on to it, and serves noVNC's `vnc_lite.html`. Returns the address. */
  serveWeb(): string {
    const address = `127.0.0.1:${freePort()}`;
    const options = { cwd: this.#folder, env: { PATH: "/usr/bin:/bin" } };
    this.#programs.use(Background.start(`websockify --web ${CLIENT} ${address} ${this.address}`, options));
    return address;
  }

  /** Waits until the file has the text. */
  async typed(text: string): Promise<void> {
    const signal = AbortSignal.timeout(30_000);
    while (!(await Deno.readTextFile(`${this.#folder}/typed`).catch(() => "")).includes(text)) {
      signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#programs.disposeAsync();
  }
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
