/**
 * The CI and release workflows: everything that they run is pinned, and they have minimal permissions.
 * @module
 */
import type { V1Deployment } from "@kubernetes/client-node";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { load, loadAll } from "js-yaml";
import denoJson from "../../deno.json" with { type: "json" };
import { ACTIONLINT, HELM, run } from "../support/rendering.ts";

/** The parts of a workflow that these tests use. */
interface Workflow {
  readonly permissions: unknown;
  readonly jobs: Readonly<Record<string, Job>>;
}

interface Job {
  readonly "timeout-minutes"?: number;
  readonly permissions?: unknown;
  readonly needs?: string | readonly string[];
  /** Another workflow, instead of steps. */
  readonly uses?: string;
  readonly steps?: readonly {
    readonly name?: string;
    readonly uses?: string;
    readonly run?: string;
    readonly with?: Readonly<Record<string, unknown>>;
  }[];
}

const FOLDER = new URL("../../.github/workflows/", import.meta.url);
const FILES = Array.from(Deno.readDirSync(FOLDER), ({ name }) => name).sort();

for (const file of FILES) {
  const text = Deno.readTextFileSync(new URL(file, FOLDER));
  const { permissions, jobs } = load(text) as Workflow;
  const steps = Object.values(jobs).flatMap((job) => job.steps ?? []);

  Deno.test(`workflow ${file} pins each action to a commit and names its version`, () => {
    const uses = text.split("\n").filter((line) => /^ +(?:- )?uses: (?!\.\/)/.test(line));
    assertEquals(uses.length, steps.filter((step) => step.uses !== undefined).length);
    for (const line of uses) assertMatch(line, /uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  });

  Deno.test(`workflow ${file} has read-only permissions unless a job requests more`, () => {
    assertEquals(permissions, { contents: "read" });
  });

  Deno.test(`workflow ${file} persists no token in its checkout, and each job has a timeout`, () => {
    for (const { uses, with: inputs } of steps) {
      if (uses?.startsWith("actions/checkout@")) assertEquals(inputs, { "persist-credentials": false });
    }
    for (const [name, job] of Object.entries(jobs)) assert(job.uses ?? job["timeout-minutes"], name);
  });

  Deno.test(`workflow ${file} uses no expressions in scripts`, () => {
    for (const { run: script } of steps) assertEquals(script?.includes("${{") ?? false, false, script);
  });

  Deno.test(`workflow ${file} uses the Deno version of these tests`, () => {
    for (const [, version] of text.matchAll(/deno@(\S+)/g)) assertEquals(version, Deno.version.deno);
  });
}

Deno.test("workflows can write only releases and the image", () => {
  const granted = FILES.flatMap((file) => {
    const { jobs } = load(Deno.readTextFileSync(new URL(file, FOLDER))) as Workflow;
    return Object.entries(jobs).flatMap(([name, job]) =>
      job.permissions === undefined ? [] : [[`${file} ${name}`, job.permissions]]
    );
  });
  assertEquals(Object.fromEntries(granted), {
    "release.yml executables": { contents: "write", "id-token": "write", attestations: "write" },
    "release.yml image": { contents: "read", packages: "write" },
    "release.yml image-for-all": { contents: "write", packages: "write" },
  });
});

Deno.test("release workflow requires a matching tag and CI, and publishes the release after the image", () => {
  const { jobs } = workflow("release.yml");
  const order = Object.entries(jobs).map(([name, { needs, uses }]) => [name, needs ?? uses]);
  assertEquals(order, [
    ["ci", "./.github/workflows/ci.yml"],
    ["executables", "ci"],
    ["image", "executables"],
    ["image-for-all", "image"],
  ]);
  assert("workflow_call" in (load(Deno.readTextFileSync(new URL("ci.yml", FOLDER))) as { on: object }).on);
  assertMatch(script(jobs, "Check that the tag matches the version"), /^test /);
  assertMatch(script(jobs, "Create a draft release"), /^gh release create .*--draft/);
  assertMatch(script(jobs, "Publish the release"), /^gh release edit .*--draft=false/);
});

Deno.test({
  name: `release workflow packages a chart that installs the image of the release${HELM.hint}`,
  ignore: HELM.isMissing,
  fn: async () => {
    const { jobs } = workflow("release.yml");
    const release = { GITHUB_REPOSITORY: "Some-Owner/Agent", GITHUB_REF_NAME: `v${denoJson.version}` };
    const folder = await Deno.makeTempDir();
    try {
      await bash(`cp -a k8s ${folder} && mkdir ${folder}/.ci ${folder}/dist`);
      await bash(`echo 'echo ${HELM.path}' > .ci/go-tool && chmod +x .ci/go-tool`, { cwd: folder });
      await bash(script(jobs, "Package the chart for the image of this release"), {
        cwd: folder,
        env: release,
      });
      const chart = `dist/k8s-agent-${denoJson.version}.tgz`;
      const values = "--set=agentId=a1,controlPlaneUrl=wss://control.example.com";
      const rendered = await bash(`${HELM.path} template agent ${chart} ${values}`, { cwd: folder });
      const deployment = (loadAll(rendered) as V1Deployment[]).find(({ kind }) => kind === "Deployment");
      const pushed = /^image=.*$/m.exec(script(jobs, "Create the multi-architecture image"))?.[0];
      const image = await bash(`${pushed}; echo -n "$image"`, { env: release });
      assertEquals(image, `ghcr.io/some-owner/agent:v${denoJson.version}`);
      assertEquals(deployment?.spec?.template.spec?.containers[0]?.image, image);
      assertMatch(
        await bash("cat dist/SHA256SUMS", { cwd: folder }),
        new RegExp(`^[0-9a-f]{64}  ${chart.slice(5)}\n$`),
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: `workflows pass actionlint${ACTIONLINT.hint}`,
  ignore: ACTIONLINT.isMissing,
  fn: async () => {
    const { code, stdout } = await run(ACTIONLINT.path, FILES.map((file) => `.github/workflows/${file}`));
    assertEquals(code, 0, stdout);
  },
});

function workflow(file: string): Workflow {
  return load(Deno.readTextFileSync(new URL(file, FOLDER))) as Workflow;
}

/** The script of the step with that name. */
function script(jobs: Workflow["jobs"], name: string): string {
  const steps = Object.values(jobs).flatMap((job) => job.steps ?? []);
  return steps.find((step) => step.name === name)?.run ?? "";
}

/** Runs a script as a workflow does and returns its output. */
async function bash(
  script: string,
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<string> {
  const args = ["-e", "-o", "pipefail", "-c", script];
  const { code, stdout, stderr } = await new Deno.Command("bash", { args, ...options }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}
