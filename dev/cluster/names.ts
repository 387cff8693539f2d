/**
 * Validation of names, label keys and label values: a text in, its problems out.
 * @module
 */

const LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN = `${LABEL}(\\.${LABEL})*`;
const LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const VALUE = `(${QUALIFIED})?`;

interface Rule {
  readonly pattern: string;
  readonly maxLength: number;
  readonly description: string;
}

function check(text: string, { pattern, maxLength, description }: Rule): string | undefined {
  if (text.length > maxLength) return `must be no more than ${maxLength} characters`;
  if (!new RegExp(`^(${pattern})$`).test(text)) {
    return `${description} regex used for validation is '${pattern}')`;
  }
}

/** Problems of `text` as a DNS-1123 subdomain, the format of most names. */
export function subdomainProblem(text: string): string | undefined {
  return check(text, {
    pattern: SUBDOMAIN,
    maxLength: 253,
    description:
      "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must " +
      "start and end with an alphanumeric character (e.g. 'example.com',",
  });
}

/** Problems of `text` as a DNS-1123 label, the format of names of containers and namespaces. */
export function labelProblem(text: string): string | undefined {
  if (text.includes(".")) return "must not contain dots";
  return check(text, {
    pattern: LABEL,
    maxLength: 63,
    description:
      "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must " +
      "start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc',",
  });
}

/** Problems of `text` as a DNS-1035 label, the format of service names that every version accepts. */
export function serviceNameProblem(text: string): string | undefined {
  return check(text, {
    pattern: LABEL_1035,
    maxLength: 63,
    description:
      "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an " +
      "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123',",
  });
}

/** Problems of `text` as the key of a label or an annotation. */
export function labelKeyProblem(text: string): string | undefined {
  const [name = "", prefix] = text.split("/").reverse();
  const isWrong = text.split("/").length > 2 ||
    (prefix !== undefined && subdomainProblem(prefix) !== undefined) ||
    check(name, { pattern: QUALIFIED, maxLength: 63, description: "" }) !== undefined;
  return isWrong
    ? "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an " +
      `alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '${QUALIFIED}') ` +
      "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
    : undefined;
}

/** Problems of `text` as the value of a label. */
export function labelValueProblem(text: string): string | undefined {
  return check(text, {
    pattern: VALUE,
    maxLength: 63,
    description:
      "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and " +
      "must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345',",
  });
}
