import { assertEquals } from "@std/assert";
import { CHECKS, exitCodeOf, Findings, formatFinding, formatReport } from "../../lib/doctor/report.ts";

const api = new Findings("kubernetes-api");
const quota = new Findings("quota");
const configuration = new Findings("configuration");

Deno.test("formatReport() prints one line per finding in the order of the checks, and the counts", () => {
  const findings = [
    quota.skip("The quotas were not checked", "the agent may not read them"),
    quota.warn("Quota q is nearly used up", "raise it"),
    configuration.ok("The settings are valid"),
    api.fail("Kubernetes does not respond", "check the network"),
  ];
  assertEquals(formatReport(findings, "text").split("\n"), [
    "ok    The settings are valid",
    "FAIL  Kubernetes does not respond: check the network",
    "skip  The quotas were not checked (the agent may not read them)",
    "warn  Quota q is nearly used up: raise it",
    "",
    "1 failed, 1 warning, 1 ok, 1 skipped",
  ]);
});

Deno.test("formatReport() prints a JSON document with the worst status and all findings", () => {
  const findings = [api.ok("Kubernetes responds"), quota.warn("Quota q is nearly used up", "raise it")];
  assertEquals(JSON.parse(formatReport(findings, "json")), {
    status: "warn",
    checks: [
      { check: "kubernetes-api", status: "ok", message: "Kubernetes responds", advice: "" },
      { check: "quota", status: "warn", message: "Quota q is nearly used up", advice: "raise it" },
    ],
  });
});

Deno.test("formatReport() escapes control characters", () => {
  const forged = api.fail("it says \n ok  all is well \u001b[2J", "\r");
  assertEquals(formatFinding(forged), "it says \\n ok  all is well \\u001b[2J: \\u000d");
  assertEquals(formatReport([forged], "text").split("\n").length, 3);
});

const CASES: ReadonlyArray<readonly [string, ReturnType<typeof api.ok>[], number]> = [
  ["nothing fails", [api.ok("x"), quota.warn("x", "y"), quota.skip("x", "y")], 0],
  ["a check fails", [configuration.ok("x"), quota.fail("x", "y")], 1],
  ["the settings are invalid", [configuration.fail("x", ""), quota.fail("x", "y")], 2],
];
for (const [name, findings, code] of CASES) {
  Deno.test(`exitCodeOf() returns ${code} when ${name}`, () => assertEquals(exitCodeOf(findings), code));
}

Deno.test("names of checks are unique and in kebab case", () => {
  assertEquals(CHECKS.filter((name) => !/^[a-z]+(-[a-z0-9]+)*$/.test(name)), []);
  assertEquals(new Set(CHECKS).size, CHECKS.length);
});
