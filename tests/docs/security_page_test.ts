/**
 * SECURITY.md names the tests that verify its claims; each must exist under that name.
 * @module
 */
import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);

Deno.test("SECURITY.md names only tests that exist", async () => {
  const page = (await Deno.readTextFile(new URL("SECURITY.md", ROOT))).replace(/\s+/g, " ");
  const proofs = [...page.matchAll(/`(tests\/[^`]+)`: "([^"]+)"/g)];
  assert(proofs.length > 15, `SECURITY.md names only ${proofs.length} tests`);
  const missing: string[] = [];
  for (const [, file = "", name = ""] of proofs) {
    const text = await Deno.readTextFile(new URL(file, ROOT));
    if (!text.includes(name)) missing.push(`${file}: ${name}`);
  }
  assertEquals(missing, []);
});
