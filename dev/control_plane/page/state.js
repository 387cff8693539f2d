/**
 * What both pages share: the live state of the Control Plane, and commands to agents.
 */

/** Calls back with the state now and after each change, and with `undefined` while the Control Plane cannot be reached. */
export function followState(onState) {
  const events = new EventSource("/api/v1/events");
  events.onmessage = ({ data }) => onState(JSON.parse(data));
  events.onerror = () => onState(undefined);
}

/** Sends a command and returns it; throws an error with the answer's explanation if the Control Plane rejects it. */
export async function sendCommand(agentId, action, payload) {
  const response = await fetch(`/api/v1/agents/${encodeURIComponent(agentId)}/command`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ action, sessionId: payload.sessionId, payload }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.details ?? answer.error);
  return answer;
}

/** Creates an element with properties and children. */
export function element(name, properties = {}, ...children) {
  const created = Object.assign(document.createElement(name), properties);
  created.append(...children);
  return created;
}

/** A state as a word with a color. */
export function badge(state) {
  return element("span", { className: `badge ${state}`, textContent: state });
}
