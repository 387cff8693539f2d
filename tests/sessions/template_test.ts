import { assertEquals, assertThrows } from "@std/assert";
import { CommandError } from "../../lib/errors.ts";
import { BUILT_IN_TEMPLATES, findTemplate } from "../../lib/sessions/template.ts";

Deno.test("findTemplate() finds the built-in templates and those that were added", () => {
  assertEquals(findTemplate("firefox", BUILT_IN_TEMPLATES), {
    image: "lscr.io/linuxserver/firefox:latest",
    port: 3000,
  });
  const gimp = { image: "example.com/gimp:1", port: 80 };
  assertEquals(findTemplate("gimp", new Map([...BUILT_IN_TEMPLATES, ["gimp", gimp]])), gimp);
});

for (const name of ["nonsense", "", "Firefox", "firefox ", "__proto__", "constructor", "../firefox"]) {
  Deno.test(`findTemplate() refuses ${JSON.stringify(name)} and names the templates that there are`, () => {
    const error = assertThrows(() => findTemplate(name, BUILT_IN_TEMPLATES), CommandError);
    assertEquals(error.failure, "unknown_template");
    assertEquals(
      error.message,
      `template ${
        JSON.stringify(name)
      } is unknown, known are chrome, firefox, kali, libreoffice, ubuntu, vscode`,
    );
  });
}
