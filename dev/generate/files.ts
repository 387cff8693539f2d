/**
 * The files that are generated from the schema of templates: the OpenAPI schema in `k8s/crds/templates.yaml` and the field table in
 * `docs/templates.md`. Everything else in these files is written by hand and kept.
 * @module
 */
import { dump } from "js-yaml";
import { SPEC } from "../../lib/templates/template.ts";
import { type OpenApi, toOpenApi } from "./openapi.ts";

const ROOT = new URL("../../", import.meta.url);
const DEFINITION = "k8s/crds/templates.yaml";
const PAGE = "docs/templates.md";
const SCHEMA_KEY = "openAPIV3Schema:\n";
const SCHEMA_INDENT = " ".repeat(10);
const TABLE_HEAD = "| Field";

const UNUSED: OpenApi = {
  type: "object",
  description: "Not used.",
  "x-kubernetes-preserve-unknown-fields": true,
};

/** Fields that catalogues of templates have and the agent ignores. */
const CATALOGUE: Readonly<Record<string, OpenApi>> = {
  displayName: { type: "string", description: "The name that users see. Not used by the agent." },
  description: { type: "string", description: "What the template is for. Not used by the agent." },
  category: { type: "string", description: 'A category such as "Web Browsers". Not used by the agent.' },
  icon: { type: "string", description: "The URL of an icon. Not used by the agent." },
  tags: {
    type: "array",
    description: "Search terms. Not used by the agent.",
    items: { type: "string" },
  },
  capabilities: {
    type: "array",
    description: "Features such as Audio or Clipboard, not Linux capabilities. Not used by the agent.",
    items: { type: "string" },
  },
  appType: { type: "string", description: "Not used." },
  streamingProtocol: { type: "string", description: "Not used." },
  kasmvnc: { ...UNUSED, description: "Not used; `vnc` describes the display." },
  webapp: UNUSED,
};

const CATALOGUE_DISPLAY: Readonly<Record<string, OpenApi>> = {
  protocol: {
    type: "string",
    description: 'A protocol such as "rfb" or "websocket". Not used by the agent.',
  },
  encryption: { type: "boolean", description: "Not used." },
};

/** The generated files, by their path in the repository, with what each must contain. */
export async function generateFiles(): Promise<ReadonlyMap<string, string>> {
  const [definition, page] = await Promise.all([DEFINITION, PAGE].map((path) => readFile(path)));
  return new Map([
    [DEFINITION, await format(replaceSchema(definition!), "yaml")],
    [PAGE, await format(replaceTable(page!), "md")],
  ]);
}

/** Reads a file of the repository. */
export function readFile(path: string): Promise<string> {
  return Deno.readTextFile(new URL(path, ROOT));
}

function replaceSchema(definition: string): string {
  const spec = toOpenApi(SPEC);
  const { vnc, ...others } = spec.properties ?? {};
  const display = { ...vnc, properties: { ...vnc?.properties, ...CATALOGUE_DISPLAY } };
  const schema: OpenApi = {
    type: "object",
    description: "What the sessions of a template run. A change applies to sessions that start later.",
    required: ["spec"],
    properties: {
      spec: {
        ...spec,
        description: "The desktop or application and how to run it.",
        properties: { ...CATALOGUE, ...others, vnc: display },
      },
    },
  };
  const text = dump(schema, { noRefs: true, lineWidth: -1, quoteStyle: "double" });
  const [head] = definition.split(SCHEMA_KEY);
  return `${head}${SCHEMA_KEY}${text.replace(/^(?=.)/gm, SCHEMA_INDENT)}`;
}

function replaceTable(page: string): string {
  const lines = page.split("\n");
  const start = lines.findIndex((line) => line.startsWith(TABLE_HEAD));
  const end = lines.findIndex((line, index) => index > start && !line.startsWith("|"));
  const table = [
    "| Field | Type | Description |",
    "| - | - | - |",
    ...rows(toOpenApi(SPEC, { isDetailed: true }), ""),
  ];
  return lines.toSpliced(start, end - start, ...table).join("\n");
}

/** The rows of an object's fields that have a description, and of the fields below them. */
function rows({ properties = {}, required = [] }: OpenApi, prefix: string): string[] {
  return Object.entries(properties).flatMap(([name, node]) => {
    if (!node.description) return [];
    const path = `${prefix}${name}`;
    const type = `${typeText(node)}${required.includes(name) ? ", required" : ""}`;
    const own = `| \`${path}\` | ${type} | ${node.description}${briefFields(node)} |`;
    return [own, ...rows(node.items ?? node, `${path}${node.items ? "[]" : ""}.`)];
  });
}

/** The fields that have no description of their own, because they are as in a pod. */
function briefFields(node: OpenApi): string {
  const names = Object.entries((node.items ?? node).properties ?? {})
    .filter(([, { description }]) => !description).map(([name]) => `\`${name}\``);
  return names.length > 0 ? ` Fields: ${names.join(", ")}.` : "";
}

function typeText(node: OpenApi): string {
  const { type = "", minimum, maximum, maxItems } = node;
  if (node["x-kubernetes-int-or-string"]) return "quantity";
  if (node.enum) {
    return node.enum.filter((choice) => choice !== "").map((choice) => `\`${choice}\``).join(", ");
  }
  if (type === "integer") return `integer, ${minimum} to ${maximum}`;
  if (type === "array") return `list, at most ${maxItems}`;
  return node.additionalProperties ? "map" : type;
}

async function format(text: string, extension: string): Promise<string> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", extension, "-"],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { success, stdout } = await process.output();
  if (!success) throw new Error(`Cannot format the generated ${extension}`);
  return new TextDecoder().decode(stdout);
}
