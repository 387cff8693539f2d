import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { HandAgent } from "./hand_agent.ts";

const MAIN = new URL("../../dev/control_plane/main.ts", import.meta.url).pathname;

function run(...args: string[]): Deno.ChildProcess {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, ...args],
    stdout: "piped",
    stderr: "piped",
  });
  return command.spawn();
}

/** Reads lines of the program's output until `until` accepts them. */
async function readUntil(stdout: ReadableStream<string>, until: RegExp): Promise<string> {
  let text = "";
  for await (const chunk of stdout.values({ preventCancel: true })) {
    text += chunk;
    if (until.test(text)) break;
  }
  return text;
}

Deno.test("control-plane task prints the next steps and events, and ends on SIGTERM", async () => {
  await using child = run("--port", "0", "--prefix", "/streamspace/", "--api-key", "k");
  const stdout = child.stdout.pipeThrough(new TextDecoderStream());
  const welcome = await readUntil(stdout, /COMMAND_ID\n/);
  const url = welcome.match(/http:\S+/)?.[0] ?? "";
  assertMatch(url, /^http:\/\/127\.0\.0\.1:\d+\/streamspace$/);
  assertEquals(welcome.match(/curl /g)?.length, 3);
  const agent = await HandAgent.join(url, "a\u001b1", { "X-Agent-API-Key": "k" });
  agent.send("hello", {});
  assertMatch(
    await readUntil(stdout, /hello \{\}\n/),
    /^\d\d:\d\d:\d\d registered a\?1 .*\n\d\d:.* connected a\?1\n/,
  );
  child.kill("SIGTERM");
  assertEquals(await agent.closed, 1001);
  await readUntil(stdout, /disconnected/);
  await stdout.cancel();
  assertEquals(await new Response(child.stderr).text(), "");
  assertEquals((await child.status).code, 0);
});

Deno.test("control-plane task reports a port in use in one line", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const { code, stderr } = await run("--port", String(port)).output();
  assertEquals(new TextDecoder().decode(stderr), `Cannot listen on 127.0.0.1:${port}: the port is in use\n`);
  assertEquals(code, 1);
});

Deno.test("control-plane task reports an invalid flag in one line", async () => {
  const cases: [string[], string][] = [
    [["--port", "http"], `--port must be a number from 0 to 65535, not "http"`],
    [["--prot", "1"], `Unknown argument "--prot"`],
    [["--hostname="], "--hostname must not be empty"],
    [["--api-key"], "--api-key must not be empty"],
    [["--prefix", "x"], `--prefix must begin with a slash, not be "x"`],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await run(...args).output();
    const text = new TextDecoder().decode(stderr);
    assertStringIncludes(text, message);
    assertEquals([code, text.trimEnd().split("\n").length], [2, 1]);
  }
});

Deno.test("control-plane task prints its help", async () => {
  const { code, stdout } = await run("--help").output();
  for (const flag of ["--port", "--hostname", "--prefix", "--api-key"]) {
    assertStringIncludes(new TextDecoder().decode(stdout), flag);
  }
  assertEquals(code, 0);
});
