/**
 * Reads the files of a kubeconfig and merges them as kubectl does. Entries that nobody uses may be broken. Every error names the file and the field,
 * and never quotes a value that may be secret.
 * Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files
 * @module
 */
import { CORE_SCHEMA, loadAll } from "js-yaml";
import { delimiter, dirname, resolve } from "node:path";
import { KubeconfigError, messageOf } from "../common/errors.ts";
import { asRecord } from "../common/json.ts";

/** Kinds of entries; the list of a kind is named by its plural. */
export type EntryKind = "cluster" | "user" | "context";

/** A merged kubeconfig. */
export interface Kubeconfig {
  /** The file that sets the current context, or all files if none does. */
  readonly source: string;
  /** Empty if no file sets it. */
  readonly currentContext: string;
  /**
   * Finds an entry by its name.
   *
   * @throws {KubeconfigError} if its file has two entries with the name
   */
  readonly find: (kind: EntryKind, name: string) => Entry | undefined;
}

/** The paths in a list, as `KUBECONFIG` has it: separated by colons, empty ones do not count. */
export function kubeconfigPaths(list: string): string[] {
  return list.split(delimiter).filter((path) => path !== "");
}

/**
 * Reads a list of files. Missing files are skipped if another one exists. For each entry, and for the current context, the first file counts.
 *
 * @throws {KubeconfigError} if a file cannot be read, or is not a kubeconfig
 */
export function readKubeconfig(list: string): Kubeconfig {
  const paths = kubeconfigPaths(list);
  const files = paths.map((path) => readFile(path, { isOptional: paths.length > 1 })).filter((file) =>
    !!file
  );
  if (files.length === 0) {
    throw new KubeconfigError(`Cannot use kubeconfig ${list}: none of its files exists`);
  }
  const current = files.find(({ currentContext }) => currentContext !== "");
  return {
    source: current?.path ?? list,
    currentContext: current?.currentContext ?? "",
    find: (kind, name) => {
      const [entry, duplicate] =
        files.map((file) => file.entries(kind, name)).find(({ length }) => length > 0) ?? [];
      if (duplicate) throw duplicate.error("there are two entries with this name");
      return entry;
    },
  };
}

/** The settings of a cluster, user or context. */
export class Entry {
  readonly #file: string;
  readonly #title: string;
  readonly #settings: Readonly<Record<string, unknown>>;

  constructor(
    settings: Readonly<Record<string, unknown>>,
    { file, kind, name }: { file: string; kind: EntryKind; name: string },
  ) {
    this.#settings = settings;
    this.#file = file;
    this.#title = `${kind} ${JSON.stringify(name)}`;
  }

  /** Names of the fields that are set. */
  get fields(): string[] {
    return Object.keys(this.#settings).filter((field) => this.#isSet(field));
  }

  /** An error about this entry; `problem` starts with the field. */
  error(problem: string, options?: ErrorOptions): KubeconfigError {
    return new KubeconfigError(`Cannot use kubeconfig ${this.#file}: ${this.#title}: ${problem}`, options);
  }

  /**
   * The text of a field; empty if it is not set.
   *
   * @throws {KubeconfigError} if it is not text
   */
  text(field: string): string {
    if (!this.#isSet(field)) return "";
    const value = this.#settings[field];
    if (typeof value !== "string") throw this.error(`${field} must be text: put it into quotes`);
    return value;
  }

  /**
   * Whether a field is true; false if it is not set.
   *
   * @throws {KubeconfigError} if it is neither true nor false
   */
  flag(field: string): boolean {
    const value = this.#isSet(field) ? this.#settings[field] : false;
    if (typeof value !== "boolean") throw this.error(`${field} must be true or false, without quotes`);
    return value;
  }

  /**
   * A list of texts; empty if it is not set.
   *
   * @throws {KubeconfigError} if it is not a list of texts
   */
  texts(field: string): string[] {
    return this.#isSet(field) ? this.#textsOf(this.#settings[field], field) : [];
  }

  /**
   * A mapping to lists of texts; empty if it is not set.
   *
   * @throws {KubeconfigError} if it is something else
   */
  textLists(field: string): Array<[key: string, values: string[]]> {
    const lists = Object.entries(this.record(field) ?? {});
    return lists.map(([key, values]) => [key, this.#textsOf(values, `${field}.${key}`)]);
  }

  /**
   * A mapping; `undefined` if it is not set.
   *
   * @throws {KubeconfigError} if it is not a mapping
   */
  record(field: string): Readonly<Record<string, unknown>> | undefined {
    if (!this.#isSet(field)) return undefined;
    const record = asRecord(this.#settings[field]);
    if (!record) throw this.error(`${field} must be a mapping`);
    return record;
  }

  /** The absolute path in a field, resolved against the folder of the kubeconfig; empty if it is not set. */
  path(field: string): string {
    const path = this.text(field);
    return path === "" ? "" : this.resolve(path);
  }

  /** Resolves a path against the folder of the kubeconfig. */
  resolve(path: string): string {
    return resolve(dirname(this.#file), path);
  }

  /**
   * Reads the file that a field names.
   *
   * @throws {KubeconfigError} if it cannot be read
   */
  readFile(field: string): string {
    try {
      return Deno.readTextFileSync(this.path(field));
    } catch (error) {
      throw this.error(`${field} cannot be read: ${messageOf(error)}`, { cause: error });
    }
  }

  #isSet(field: string): boolean {
    const value = this.#settings[field];
    return value !== undefined && value !== null && value !== "";
  }

  #textsOf(value: unknown, field: string): string[] {
    if (!Array.isArray(value) || !value.every((one) => typeof one === "string")) {
      throw this.error(`${field} must be a list of texts`);
    }
    return value;
  }
}

/** One file. */
interface KubeconfigFile {
  readonly path: string;
  readonly currentContext: string;
  /** All entries with a name. */
  readonly entries: (kind: EntryKind, name: string) => Entry[];
}

function readFile(path: string, { isOptional }: { isOptional: boolean }): KubeconfigFile | undefined {
  const error = (problem: string, cause?: unknown) =>
    new KubeconfigError(`Cannot use kubeconfig ${path}: ${problem}`, { cause });
  const document = parseFile(path, { isOptional, error });
  if (document === undefined) return undefined;
  const { kind = "Config", "current-context": context } = document;
  if (kind !== "Config") throw error(`kind must be Config: it is ${JSON.stringify(kind)?.slice(0, 100)}`);
  const currentContext = context ?? "";
  if (typeof currentContext !== "string") throw error("current-context must be text: put it into quotes");
  const entries = (kind: EntryKind, name: string) =>
    listOf(document, { field: `${kind}s`, error }).filter((one) => one.name === name)
      .map((one) => new Entry(asRecord(one[kind]) ?? {}, { file: path, kind, name }));
  return { path, currentContext, entries };
}

/** Parses a file; an empty one is a kubeconfig without settings. Only the first document counts. */
function parseFile(
  path: string,
  { isOptional, error }: {
    isOptional: boolean;
    error: (problem: string, cause?: unknown) => KubeconfigError;
  },
): Readonly<Record<string, unknown>> | undefined {
  let document: unknown;
  try {
    [document = {}] = loadAll(Deno.readTextFileSync(path), { schema: CORE_SCHEMA });
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound && isOptional) return undefined;
    // The other lines of a YAML error quote the file.
    throw error(`it cannot be read: ${messageOf(cause).split("\n")[0]}`, cause);
  }
  const record = asRecord(document ?? {});
  if (!record) throw error("it is not a mapping of settings");
  return record;
}

function listOf(
  document: Readonly<Record<string, unknown>>,
  { field, error }: { field: string; error: (problem: string) => KubeconfigError },
): Array<Readonly<Record<string, unknown>>> {
  const list = document[field] ?? [];
  if (!Array.isArray(list)) throw error(`${field} must be a list`);
  return list.map(asRecord).filter((one) => one !== undefined);
}
