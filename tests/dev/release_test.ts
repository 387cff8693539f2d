/**
 * The files of a release. The executables are built only if `DENO_COMPILE` and `DENORT_BIN` are set to a Deno and its runtime.
 * @module
 */
import { Spec, Validation } from "@cyclonedx/cyclonedx-library";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
// The validator loads these three dynamically, which works only for packages that the program imports.
import "ajv";
import "ajv-formats";
import "ajv-formats-draft2019";
import denoJson from "../../deno.json" with { type: "json" };
import { type Info, listPackages, packagesOf } from "../../dev/release/packages.ts";
import { sbom } from "../../dev/release/sbom.ts";

const TARGET = "x86_64-unknown-linux-gnu";
const CANNOT_COMPILE = ["DENO_COMPILE", "DENORT_BIN"].some((name) => (Deno.env.get(name) ?? "") === "");
const HASH = new Uint8Array(64).fill(7);
const LOCK = {
  npm: Object.fromEntries(
    ["a@1.0.0", "@s/b@2.0.0_a@1.0.0", "dev@1.0.0"].map((
      id,
    ) => [id, { integrity: `sha512-${HASH.toBase64()}` }]),
  ),
};
const INFO: Info = {
  modules: [
    { specifier: "file:///main.ts" },
    { specifier: "node:crypto" },
    { specifier: "npm:/@s/b@2.0.0", npmPackage: "@s/b@2.0.0_a@1.0.0" },
  ],
  npmPackages: {
    "@s/b@2.0.0_a@1.0.0": { name: "@s/b", version: "2.0.0", dependencies: ["a@1.0.0"], localPath: "/b" },
    "a@1.0.0": { name: "a", version: "1.0.0", dependencies: ["@s/b@2.0.0_a@1.0.0"], localPath: "/a" },
    "dev@1.0.0": { name: "dev", version: "1.0.0", dependencies: ["a@1.0.0"], localPath: "/dev" },
  },
};
const licenseOf = (folder: string) => ({ "/a": "MIT", "/b": "MIT OR whatever" })[folder];

Deno.test("listPackages() returns the packages that the modules import, and their dependencies", () => {
  const sha512 = HASH.toHex();
  assertEquals(listPackages(INFO, { lock: LOCK, licenseOf }), [
    {
      id: "@s/b@2.0.0_a@1.0.0",
      name: "@s/b",
      version: "2.0.0",
      license: "MIT OR whatever",
      sha512,
      dependencies: ["a@1.0.0"],
      isDirect: true,
    },
    {
      id: "a@1.0.0",
      name: "a",
      version: "1.0.0",
      license: "MIT",
      sha512,
      dependencies: ["@s/b@2.0.0_a@1.0.0"],
      isDirect: false,
    },
  ]);
});

Deno.test("listPackages() throws for a module without a package and a package without a hash", () => {
  const modules = [...INFO.modules, { specifier: "https://example.com/x.ts" }];
  assertThrows(
    () => listPackages({ ...INFO, modules }, { lock: LOCK, licenseOf }),
    Error,
    "Cannot list https://example.com/x.ts: it does not belong to an npm package",
  );
  assertThrows(
    () => listPackages(INFO, { lock: { npm: {} }, licenseOf }),
    Error,
    "Cannot list @s/b@2.0.0_a@1.0.0: deno.lock has no SHA-512 for it",
  );
});

Deno.test("sbom() lists each package with its name, version, license, hash and dependencies", () => {
  const bill = JSON.parse(sbom({
    name: "k8s-agent",
    version: "1.2.3",
    deno: "2.9.6",
    packages: listPackages(INFO, { lock: LOCK, licenseOf }),
    time: new Date(0),
  }));
  assertEquals(bill.metadata, {
    timestamp: "1970-01-01T00:00:00.000Z",
    component: { type: "application", name: "k8s-agent", version: "1.2.3", "bom-ref": "k8s-agent@1.2.3" },
  });
  assertEquals(bill.components[0], {
    type: "library",
    name: "b",
    group: "@s",
    version: "2.0.0",
    "bom-ref": "@s/b@2.0.0_a@1.0.0",
    hashes: [{ alg: "SHA-512", content: HASH.toHex() }],
    licenses: [{ license: { name: "MIT OR whatever" } }],
    purl: "pkg:npm/%40s/b@2.0.0",
  });
  assertEquals(bill.dependencies, [
    { ref: "@s/b@2.0.0_a@1.0.0", dependsOn: ["a@1.0.0"] },
    { ref: "a@1.0.0", dependsOn: ["@s/b@2.0.0_a@1.0.0"] },
    { ref: "deno@2.9.6" },
    { ref: "k8s-agent@1.2.3", dependsOn: ["@s/b@2.0.0_a@1.0.0", "deno@2.9.6"] },
  ]);
});

Deno.test("sbom() of the agent is valid and lists its packages with their licenses, but no development packages", async () => {
  const packages = await packagesOf("main.ts");
  const text = sbom({
    name: "k8s-agent",
    version: denoJson.version,
    deno: Deno.version.deno,
    packages,
    time: new Date(0),
  });
  assertEquals(await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text), null);
  const names = packages.map(({ name }) => name);
  for (const name of ["@kubernetes/client-node", "@logtape/logtape", "js-yaml"]) {
    assert(names.includes(name), name);
  }
  for (const name of ["@cyclonedx/cyclonedx-library", "@sinonjs/fake-timers"]) {
    assert(!names.includes(name), name);
  }
  assertEquals(packages.filter(({ license }) => license === undefined), []);
});

Deno.test("release prints its usage and exits with code 2 for an unknown argument", async () => {
  const { code, stderr } = await release({ args: ["--target=x"], epoch: "0" });
  assertEquals(code, 2);
  assertStringIncludes(stderr, "deno task release [--output=dist]");
});

Deno.test("release rejects a SOURCE_DATE_EPOCH that is not a number", async () => {
  const { code, stderr } = await release({ args: [], epoch: "yesterday" });
  assertEquals(code, 1);
  assertStringIncludes(
    stderr,
    'Cannot date the release: set SOURCE_DATE_EPOCH to seconds since 1970, not "yesterday"',
  );
});

Deno.test({
  name: `releases of the same files are identical, and their checksums are correct${
    CANNOT_COMPILE ? " (set DENO_COMPILE and DENORT_BIN to run this)" : ""
  }`,
  ignore: CANNOT_COMPILE,
  fn: async () => {
    const folders = await Promise.all([Deno.makeTempDir(), Deno.makeTempDir()]);
    try {
      for (const folder of folders) {
        const { code, stderr } = await release({
          args: [`--output=${folder}`, `--targets=${TARGET}`],
          epoch: "1700000000",
        });
        assertEquals(code, 0, stderr);
        const { success } = await new Deno.Command("sha256sum", {
          args: ["--check", "--strict", "--quiet", "SHA256SUMS"],
          cwd: folder,
        }).output();
        assert(success, "A checksum is wrong");
      }
      // SHA256SUMS covers all other files.
      const [first, second] = await Promise.all(
        folders.map((folder) => Deno.readTextFile(`${folder}/SHA256SUMS`)),
      );
      assertEquals(first, second);
      const names = (await Array.fromAsync(Deno.readDir(folders[0] ?? ""))).map(({ name }) => name);
      assertEquals(names.sort(), ["SHA256SUMS", `k8s-agent-${TARGET}`, "k8s-agent.cdx.json"]);
    } finally {
      await Promise.all(folders.map((folder) => Deno.remove(folder, { recursive: true })));
    }
  },
});

async function release(
  { args, epoch }: { args: readonly string[]; epoch: string },
): Promise<{ code: number; stderr: string }> {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "release", ...args],
    cwd: new URL("../../", import.meta.url),
    env: { SOURCE_DATE_EPOCH: epoch, NO_COLOR: "1" },
  }).output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}
