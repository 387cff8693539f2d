/**
 * Runs `promtool`, which `PROMTOOL` names, and builds the unit tests of rules that it executes.
 * Source: https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
 * @module
 */

/** Path of promtool; empty if it is not installed. */
export const PROMTOOL = Deno.env.get("PROMTOOL") ?? "";

/** A case in which an alert must fire or must not. */
export interface AlertCase {
  readonly alert: string;
  /** Description of the case. */
  readonly name: string;
  /** Series and their values, one per minute, in promtool's notation. */
  readonly series: Readonly<Record<string, string>>;
  /** Evaluation time, such as `10m`. */
  readonly at: string;
  /** Labels of the alert without its severity; absent if it must not fire. */
  readonly fires?: Readonly<Record<string, string>>;
  /** The formatted value in the alert's text. */
  readonly shown?: string;
}

/** An alert of a rules file. */
export interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Runs promtool and returns its exit code and output. */
export async function promtool(
  args: readonly string[],
  input = "",
): Promise<{ code: number; output: string }> {
  const child = new Deno.Command(PROMTOOL, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** A unit test file for promtool; it expects the annotations of the rules. */
export function unitTests(rulesPath: string, rules: readonly AlertRule[], cases: readonly AlertCase[]) {
  return {
    rule_files: [rulesPath],
    evaluation_interval: "1m",
    tests: cases.map(({ alert, name, series, at, fires, shown }) => ({
      name: `${alert}: ${name}`,
      interval: "1m",
      input_series: Object.entries(series).map(([series, values]) => ({ series, values })),
      alert_rule_test: [{
        eval_time: at,
        alertname: alert,
        exp_alerts: fires ? [expected(ruleOf(rules, alert), { fires, shown })] : [],
      }],
    })),
  };
}

function ruleOf(rules: readonly AlertRule[], alert: string): AlertRule {
  const rule = rules.find((one) => one.alert === alert);
  if (!rule) throw new Error(`No alert "${alert}" exists`);
  return rule;
}

function expected(
  { labels, annotations }: AlertRule,
  { fires, shown = "" }: { fires: Readonly<Record<string, string>>; shown: string | undefined },
) {
  const filled = Object.entries(annotations).map(([name, text]) => [
    name,
    text.replace(/\{\{ \$labels\.(\w+) \}\}/g, (_, label) => fires[label] ?? "")
      .replace(/\{\{ \$value[^}]*\}\}/g, shown),
  ]);
  return { exp_labels: { ...labels, ...fires }, exp_annotations: Object.fromEntries(filled) };
}
