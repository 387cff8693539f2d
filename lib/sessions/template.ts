/**
 * From a template's name to the image that it stands for. Pure; an unknown name is an error and never another image.
 * @module
 */
import { CommandError } from "../errors.ts";

/** What a session of a template runs. */
export interface Template {
  readonly image: string;
  /** Port of the container on which the desktop or application is served. */
  readonly port: number;
}

/** Templates by name. */
export type TemplateTable = ReadonlyMap<string, Template>;

/** Port of a template that names none (documentation: `vnc` 3000). */
export const DEFAULT_PORT = 3000;

/** The images' ports are those of their documentation, https://docs.linuxserver.io/images/. */
export const BUILT_IN_TEMPLATES: TemplateTable = new Map([
  ["firefox", { image: "lscr.io/linuxserver/firefox:latest", port: DEFAULT_PORT }],
  ["chrome", { image: "lscr.io/linuxserver/chromium:latest", port: DEFAULT_PORT }],
  ["vscode", { image: "lscr.io/linuxserver/code-server:latest", port: 8443 }],
  ["ubuntu", { image: "lscr.io/linuxserver/webtop:ubuntu-xfce", port: DEFAULT_PORT }],
  ["kali", { image: "lscr.io/linuxserver/kali-linux:latest", port: DEFAULT_PORT }],
  ["libreoffice", { image: "lscr.io/linuxserver/libreoffice:latest", port: DEFAULT_PORT }],
]);

/**
 * Finds a template by its name.
 *
 * @throws {CommandError} naming the templates that there are
 */
export function findTemplate(name: string, table: TemplateTable): Template {
  const template = table.get(name);
  if (!template) {
    throw new CommandError(
      "unknown_template",
      `template ${JSON.stringify(name)} is unknown, known are ${[...table.keys()].sort().join(", ")}`,
    );
  }
  return template;
}
