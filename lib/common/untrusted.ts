/**
 * Reading what others wrote: a value and the path at which it stands go in, typed values come out, or an error that names the path. Pure.
 * @module
 */
import { CommandError } from "./errors.ts";
import { asRecord } from "./json.ts";
import { parseQuantity } from "./quantities.ts";

/** Most that one field of a payload may bring: the journal has room for several commands of that size. */
const LONGEST_JSON = 64 * 1024;
const TEXT_LENGTH = 253;
const EXCERPT_LENGTH = 80;
const PLAIN_KEY = /^[\w./-]{1,63}$/;
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const SUBDOMAIN = `${LABEL}(?:\\.${LABEL})*`;
const OBJECT_NAME = new RegExp(`^${SUBDOMAIN}$`);
const QUALIFIED_NAME = new RegExp(`^(?:(${SUBDOMAIN})/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`);
const LONGEST_QUALIFIED_NAME = 253 + 1 + 63;

/** The bounds of a quantity, in its own unit (bytes, cores or pieces). */
export interface QuantityBounds {
  readonly least: number;
  readonly most: number;
  /** How the most is told to people, such as `8Gi`. */
  readonly mostText: string;
  /** A quantity such as one might have meant. */
  readonly example: string;
}

/** How each field of an object is read; `undefined` leaves it out. */
export type Readers<T> = { readonly [K in keyof T]?: (field: Field) => T[K] | undefined };

/** A value and its path; each reader throws a {@linkcode CommandError} that names the path where the value is not what it must be. */
export class Field {
  readonly value: unknown;
  readonly path: string;
  readonly #prefix: string;

  /** @param prefix what stands before the names of its own fields; by default its path and a dot */
  constructor(value: unknown, path: string, prefix = `${path}.`) {
    this.value = value;
    this.path = path;
    this.#prefix = prefix;
  }

  /** Whether there is nothing, or `null`, which Go writes for nothing. */
  get isAbsent(): boolean {
    return this.value === undefined || this.value === null;
  }

  /** Whether it says anything: Go writes what is not set as an empty value. */
  get isSet(): boolean {
    const { value } = this;
    if (value === undefined || value === null || value === "" || value === false) return false;
    return typeof value !== "object" || Object.keys(value).length > 0;
  }

  /** The same with a number as text: YAML has numbers where Kubernetes takes them for quantities. */
  get written(): Field {
    return typeof this.value === "number" ? new Field(String(this.value), this.path) : this;
  }

  /** Reads the field unless it is absent or empty text, which is how Go writes a field that was not set. */
  maybe<T>(read: (field: Field) => T): T | undefined {
    return this.isAbsent || this.value === "" ? undefined : read(this);
  }

  /** Reads those of an object's fields that are set. */
  given<T extends object>(readers: Readers<T>): Partial<T> {
    const read: Partial<T> = {};
    for (const name in readers) {
      const reader = readers[name];
      const value = reader && this.at(name).maybe(reader);
      if (value !== undefined) read[name] = value;
    }
    return read;
  }

  /** A field of an object, and never what the object inherits; its name may be capitalised, as Go compares names. */
  at(name: string): Field {
    const fields = this.#object();
    const written = Object.hasOwn(fields, name)
      ? name
      : Object.keys(fields).find((one) => one.toLowerCase() === name.toLowerCase());
    return new Field(written === undefined ? undefined : fields[written], `${this.#prefix}${keyText(name)}`);
  }

  /** The names of an object's fields as they are written. */
  names(): string[] {
    return Object.keys(this.#object());
  }

  /** The entries of a mapping, whose keys are data; none where it is absent. */
  entries(most: number): Array<readonly [key: string, entry: Field]> {
    const entries = Object.entries(this.#object());
    if (entries.length > most) throw this.refused(`must not have more than ${most} entries`);
    return entries.map(([key, value]) => [key, new Field(value, `${this.path}[${keyText(key)}]`)]);
  }

  /** The entries of a list; none where it is absent. */
  items(most: number): Field[] {
    if (this.isAbsent) return [];
    if (!Array.isArray(this.value)) throw this.refused(`must be a list, and is ${kindOf(this.value)}`);
    if (this.value.length > most) throw this.refused(`must not have more than ${most} entries`);
    return this.value.map((value, index) => new Field(value, `${this.path}[${index}]`));
  }

  /** Text of one line with something in it. */
  text(longest = TEXT_LENGTH): string {
    if (this.isAbsent) throw this.missing();
    const { value } = this;
    if (typeof value !== "string") throw this.invalid("must be text");
    if (value.trim() === "") throw this.invalid("must not be empty");
    if (value.length > longest) throw this.invalid(`must not be longer than ${longest} characters`);
    // No container starts with a NUL in a variable, and none of the others is part of a name.
    if (/\p{Cc}/u.test(value)) throw this.invalid("must not hold control characters");
    // Half of a surrogate pair would reach Kubernetes as another text.
    if (!value.isWellFormed()) throw this.invalid("must be Unicode text");
    return value;
  }

  /** Text that a pattern describes. */
  matching(pattern: RegExp, problem: string): string {
    const text = this.text();
    if (!pattern.test(text)) throw this.invalid(problem);
    return text;
  }

  /** The name of an object in the cluster. */
  objectName(): string {
    return this.matching(OBJECT_NAME, "must be a name of lower-case letters, digits, hyphens and dots");
  }

  /** One of a few words. */
  oneOf<const T extends string>(...choices: readonly T[]): T {
    if (this.isAbsent) throw this.missing();
    const choice = choices.find((one) => one === this.value);
    if (choice === undefined) throw this.invalid(`must be one of ${choices.join(", ")}`);
    return choice;
  }

  /** True or false; false where it is absent. */
  flag(): boolean {
    const value = this.value ?? false;
    if (typeof value !== "boolean") throw this.invalid("must be true or false");
    return value;
  }

  /** A whole number within limits. */
  whole(least: number, most: number): number {
    if (this.isAbsent) throw this.missing();
    const { value } = this;
    if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
      throw this.invalid(`must be a whole number from ${least} to ${most}`);
    }
    return value;
  }

  /** A Kubernetes quantity within bounds. */
  quantity({ least, most, mostText, example }: QuantityBounds): string {
    const { value } = this;
    const amount = typeof value === "string" ? parseQuantity(value) : undefined;
    if (typeof value !== "string" || amount === undefined) {
      throw this.invalid(`must be a Kubernetes quantity such as "${example}"`);
    }
    if (amount < least) throw this.invalid("is too small for a session");
    if (amount > most) throw this.invalid(`is more than this agent has (${mostText})`);
    return value;
  }

  /** Refuses the field where its JSON, or that of what was read from it, is longer than 64 KiB. */
  checkLength(json: string): void {
    if (new TextEncoder().encode(json).length <= LONGEST_JSON) return;
    throw this.refused(`must not hold more than ${LONGEST_JSON} bytes of JSON`);
  }

  /** An error that says what is wrong with the value, and quotes it. */
  invalid(problem: string): CommandError {
    return this.refused(`${problem}, and is ${excerpt(this.value)}`);
  }

  /** An error that says what is wrong with the value without quoting it. */
  refused(problem: string): CommandError {
    return new CommandError("invalid", `Cannot use "${this.path}": it ${problem}`);
  }

  /** An error that says that the field must be there. */
  missing(): CommandError {
    return new CommandError("invalid", `Cannot do without "${this.path}": it is missing`);
  }

  #object(): Readonly<Record<string, unknown>> {
    const fields = this.isAbsent ? {} : asRecord(this.value);
    if (!fields) throw this.refused(`must be an object, and is ${kindOf(this.value)}`);
    return fields;
  }
}

/** Whether a text can be the key of a label, or with a domain the name of a resource; gives the domain, which may be empty. */
export function domainOf(key: string): string | undefined {
  const match = key.length > LONGEST_QUALIFIED_NAME ? null : QUALIFIED_NAME.exec(key);
  return match ? match[1] ?? "" : undefined;
}

/** Enough of an untrusted value to recognise it by; of what holds others the kind only, as one of them may be a secret. */
export function excerpt(value: unknown): string {
  if (typeof value === "object" && value !== null) return kindOf(value);
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > EXCERPT_LENGTH ? `${text.slice(0, EXCERPT_LENGTH)}…` : text;
}

/** What a value is, without its contents. */
function kindOf(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  return typeof value === "string" ? "text" : `a ${typeof value}`;
}

function keyText(key: string): string {
  return PLAIN_KEY.test(key) ? key : excerpt(key);
}
