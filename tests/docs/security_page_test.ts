/**
 * SECURITY.md names tests for what it claims; each must be there under that name.
 * @module
 */
import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);

Deno.test("each test that SECURITY.md names is there", async () => {
  const page = (await Deno.readTextFile(new URL("SECURITY.md", ROOT))).replace(/\s+/g, " ");
  const proofs = [...page.matchAll(/`(tests\/[^`]+)`: "([^"]+)"/g)];
  assert(proofs.length > 15, `Only ${proofs.length} tests are named`);
  const missing: string[] = [];
  for (const [, file = "", name = ""] of proofs) {
    const text = await Deno.readTextFile(new URL(file, ROOT));
    if (!text.includes(name)) missing.push(`${file}: ${name}`);
  }
  assertEquals(missing, []);
});
