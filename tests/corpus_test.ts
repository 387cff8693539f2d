/**
 * Runs the corpus in `tests/fixtures/corpus/`: each case is an input and the exact result or error that the parsers produce for it.
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { CORE_SCHEMA, load } from "js-yaml";
import { SETTINGS } from "../dev/session_settings.ts";
import { OPTIONS } from "../lib/cli/options.ts";
import { CommandError } from "../lib/common/errors.ts";
import { BUILT_IN_TEMPLATES, imageTemplate, type TemplateTable } from "../lib/model/template.ts";
import { parseRequest } from "../lib/sessions/requests.ts";
import { resolveTemplate } from "../lib/templates/sources.ts";

type Fields = Record<string, unknown>;

/** What a parser makes of an input: a value, or an error with this message. */
interface Verdict {
  readonly accepted?: unknown;
  readonly rejected?: string;
}

interface RequestCase extends Verdict {
  readonly name?: string;
  readonly action: string;
  readonly with?: Fields;
  readonly payload?: unknown;
  /** The problem of the field that is ignored. */
  readonly ignored?: string;
}

interface TemplateCase extends Verdict {
  readonly name?: string;
  readonly with?: Fields;
  readonly spec?: unknown;
}

interface RuleCase {
  readonly name: string;
  readonly with: Fields;
  readonly settings?: Fields;
  readonly request?: Fields;
  readonly command: Verdict;
  readonly object: Verdict;
}

interface SettingCase extends Verdict {
  readonly setting: string;
  readonly value: unknown;
}

const LIMITS = { maxCpu: 4, maxMemory: 8 };
const IMAGE = "a/b:1";
const START = { sessionId: "s1", user: "alice", template: "firefox" };

async function readCases<T>(file: string): Promise<T[]> {
  const text = await Deno.readTextFile(new URL(`fixtures/corpus/${file}.yaml`, import.meta.url));
  return expand(load(text, { schema: CORE_SCHEMA })) as T[];
}

/** Replaces `{repeatText, times}` and `{repeatItem, times}` by what they stand for. */
function expand(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(expand);
  if (typeof value !== "object" || value === null) return value;
  const { repeatText, repeatItem, times } = value as Fields;
  if (typeof repeatText === "string") return repeatText.repeat(Number(times));
  if (repeatItem !== undefined) return Array.from({ length: Number(times) }, () => expand(repeatItem));
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, expand(entry)]));
}

function titleOf(name: string | undefined, input: unknown): string {
  return (name ?? JSON.stringify(input)).slice(0, 120);
}

function check({ accepted, rejected }: Verdict, parse: () => unknown): void {
  if (rejected === undefined) assertEquals(parse(), accepted);
  else {
    const { message } = assertThrows(parse, CommandError);
    assertEquals(message, rejected);
    assert(!message.includes("s3cret"), "no message shows a value that may be secret");
  }
}

/** `added` and what it is added to; unlike a spread of both, it keeps the key `__proto__`. */
function merge(base: object, added: Fields | undefined): Fields {
  return Object.fromEntries([...Object.entries(base), ...Object.entries(added ?? {})]);
}

for (const one of await readCases<TemplateCase>("templates")) {
  const spec = one.with ? merge({ baseImage: IMAGE }, one.with) : one.spec;
  Deno.test(`template corpus: ${titleOf(one.name, one.with ?? one.spec)}`, () => {
    const accepted = one.with ? merge(imageTemplate(IMAGE), one.accepted as Fields) : one.accepted;
    const payload = { ...START, templateManifest: { spec } };
    // As text, because the hash of a start depends on the order of the fields.
    check({ ...one, accepted: JSON.stringify(accepted) }, () => {
      const request = parseRequest({ commandId: "c1", action: "start_session", payload }, LIMITS);
      return JSON.stringify(request.action === "start_session" && request.templateManifest?.spec);
    });
  });
}

for (const one of await readCases<RequestCase>("requests")) {
  const { action } = one;
  const payload = one.with ? merge(START, one.with) : one.payload;
  Deno.test(`request corpus: ${action}: ${titleOf(one.name, one.with ?? one.payload)}`, () => {
    const least = { ...START, action, persistentHome: false };
    const accepted = one.with ? merge(least, one.accepted as Fields) : one.accepted;
    const ignored: string[] = [];
    check(
      { ...one, accepted },
      () => parseRequest({ commandId: "c1", action, payload }, LIMITS, (problem) => ignored.push(problem)),
    );
    assertEquals(ignored, one.ignored ? [one.ignored] : []);
  });
}

for (const one of await readCases<RuleCase>("rules")) {
  const spec = merge({ baseImage: IMAGE }, one.with);
  const rules = { ...SETTINGS, ...one.settings };
  const cases = [
    { verdict: one.command, origin: "of a command", templateManifest: { spec }, objects: [] },
    { verdict: one.object, origin: "of an object", objects: [["firefox", { kind: "Template", spec }]] },
  ] as const;
  for (const { verdict, origin, objects, ...manifest } of cases) {
    Deno.test(`rules corpus: a template ${origin} with ${one.name}`, () => {
      const accepted = merge(imageTemplate(IMAGE), verdict.accepted as Fields);
      check({ ...verdict, accepted }, () => {
        const command = {
          commandId: "c1",
          action: "start_session",
          payload: { ...START, ...one.request, ...manifest },
        };
        const request = parseRequest(command, { maxCpu: 100, maxMemory: 128 });
        if (request.action !== "start_session") throw new TypeError("Cannot use another action");
        return resolveTemplate(request, { cluster: new Map(objects), table: BUILT_IN_TEMPLATES, rules });
      });
    });
  }
}

for (const { setting, value, accepted, rejected } of await readCases<SettingCase>("settings")) {
  Deno.test(`settings corpus: ${setting} ${JSON.stringify(value)}`, () => {
    const parsed = OPTIONS.find(({ key }) => key === setting)?.parse(value);
    const added = parsed?.ok && setting === "templates"
      ? [...parsed.value as TemplateTable].filter(([name]) => !BUILT_IN_TEMPLATES.has(name))
        .map((entry) => Object.fromEntries([entry]))
      : parsed?.ok && parsed.value;
    assertEquals<unknown>(
      parsed?.ok ? { accepted: added } : { rejected: parsed?.problem },
      rejected === undefined ? { accepted } : { rejected },
    );
  });
}
