/**
 * `deno task dev`: its arguments, and the browser that it opens. `tests/browser/` tests its page.
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Background } from "../support/background.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const DEV = `${Deno.execPath()} run -P=dev dev/dev.ts`;

/** Runs `deno task dev` until it ends. */
async function run(args: string): Promise<{ code: number; output: string }> {
  const command = new Deno.Command("bash", {
    args: ["-c", `${DEV} ${args} 2>&1`],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  });
  const { code, stdout } = await command.output();
  return { code, output: new TextDecoder().decode(stdout) };
}

Deno.test(
  "deno task dev --open opens the page in the browser",
  { ignore: Deno.build.os !== "linux" },
  async () => {
    const folder = await Deno.makeTempDir();
    await using _ = { [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
    const opened = `${folder}/opened`;
    await Deno.mkdir(opened);
    // Renamed when it is complete, so that the watcher never sees a part.
    await Deno.writeTextFile(
      `${folder}/xdg-open`,
      `#!/bin/sh\necho "$1" > ${folder}/url && mv ${folder}/url ${opened}/\n`,
      {
        mode: 0o755,
      },
    );
    using watcher = Deno.watchFs(opened);
    const env = { NO_COLOR: "1", PATH: `${folder}:${Deno.env.get("PATH")}` };
    await using program = Background.start(`${DEV} --port=0 --open`, { cwd: ROOT, env });
    const [, url] = await program.output(/StreamSpace runs at (\S+)/);
    await watcher[Symbol.asyncIterator]().next();
    assertEquals(await Deno.readTextFile(`${opened}/url`), `${url}\n`);
    await program.stop();
  },
);

Deno.test("deno task dev passes flags on to the agent, and ends with it", async () => {
  const { code, output } = await run("--port=0 -- --no-such-flag");
  // That of the agent.
  assertEquals(code, 2);
  assertStringIncludes(output, "--no-such-flag");
});

Deno.test("deno task dev rejects unknown flags and ports", async () => {
  for (const args of ["--prot=1", "--port=99999"]) {
    const { code, output } = await run(args);
    assertEquals([code, output.includes("Usage: deno task dev")], [2, true], args);
  }
});
