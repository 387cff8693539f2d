import { assertEquals, assertStringIncludes } from "@std/assert";

const ROOT = new URL("../../", import.meta.url).pathname;

Deno.test("demo comes true without a cluster, and ends by itself", async () => {
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-P=dev", "dev/demo.ts", "--kubeconfig="],
    cwd: ROOT,
    stderr: "inherit",
    // What is left in the program's event loop would hold it up for two minutes.
    signal: AbortSignal.timeout(90_000),
  }).output();
  assertStringIncludes(new TextDecoder().decode(stdout), "Every step came true.");
  assertEquals(code, 0);
});
