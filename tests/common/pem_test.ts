import { assert, assertEquals } from "@std/assert";
import { pairProblem, privateKeyProblem, readCertificates } from "../../lib/common/pem.ts";

const TLS = new URL("../fixtures/tls/", import.meta.url);
const read = (name: string) => Deno.readTextFileSync(new URL(name, TLS));
const [CA, CERT, KEY] = [read("ca.pem"), read("client.pem"), read("client.key")];
const DER = new TextDecoder().decode(
  Uint8Array.from(atob(CERT.replace(/-----[^-]+-----|\s/g, "")), (character) => character.charCodeAt(0)),
);
const BLOCK = (label: string, text: string) => `-----BEGIN ${label}-----\n${text}\n-----END ${label}-----\n`;

const PROBLEMS: ReadonlyArray<readonly [name: string, text: string, problem: string]> = [
  ["an empty file", "", "is empty"],
  ["blank lines", "\n \n", "is empty"],
  ["text", "hello", "contains no certificate in PEM format"],
  ["HTML", "<html>", "contains no certificate in PEM format"],
  ["DER", DER, "is in a binary format, such as DER or PKCS #12, not in PEM: convert it with openssl"],
  ["UTF-16", [...CERT].join("\0"), "is in UTF-16, not in UTF-8"],
  ["a private key", KEY, "contains no certificate, but a private key"],
  ["a request", BLOCK("CERTIFICATE REQUEST", "AA=="), "contains no certificate, but a certificate request"],
  ["a truncated certificate", CERT.slice(0, 200), "is truncated: a PEM block has no end line"],
  [
    "a damaged certificate",
    BLOCK("CERTIFICATE", "AAAA"),
    "contains a certificate that cannot be parsed: it is damaged",
  ],
];

for (const [name, text, problem] of PROBLEMS) {
  Deno.test(`readCertificates() describes ${name}`, () => {
    assertEquals<unknown>(readCertificates(text), { problem });
  });
}

Deno.test("readCertificates() returns the valid certificates of a bundle", () => {
  const bundle = `# Authority\r\n${CA}\r\n${BLOCK("CERTIFICATE", "AAAA")}${KEY}${CERT}`;
  const certificates = readCertificates(bundle);
  assert("pem" in certificates);
  assertEquals(certificates.pem.match(/BEGIN CERTIFICATE/g)?.length, 2);
  Deno.createHttpClient({ caCerts: [certificates.pem] }).close();
});

const KEY_PROBLEMS: ReadonlyArray<readonly [name: string, text: string, problem: string | undefined]> = [
  ["a key", KEY, undefined],
  ["a key after its parameters", BLOCK("EC PARAMETERS", "BggqhkjOPQMBBw==") + KEY, undefined],
  ["an empty file", "", "is empty"],
  ["a certificate", CERT, "contains no private key, but a certificate"],
  [
    "an encrypted key",
    BLOCK("ENCRYPTED PRIVATE KEY", "AAAA"),
    "contains an encrypted private key: decrypt it with openssl pkey",
  ],
  [
    "a key that OpenSSL encrypted",
    BLOCK("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA"),
    "contains an encrypted private key: decrypt it with openssl pkey",
  ],
];

for (const [name, text, problem] of KEY_PROBLEMS) {
  Deno.test(`privateKeyProblem() describes ${name}`, () => assertEquals(privateKeyProblem(text), problem));
}

Deno.test("pairProblem() accepts only the key of the certificate", () => {
  assertEquals(pairProblem({ cert: CERT, key: KEY }), undefined);
  assertEquals(pairProblem({ cert: CERT, key: read("server.key") }), "does not belong to the certificate");
  const damaged = pairProblem({ cert: CERT, key: BLOCK("PRIVATE KEY", "AAAA") });
  assert(damaged?.startsWith("cannot be used with the certificate: "), damaged);
});
