/**
 * The page of one session: its desktop.
 */
import { element, followState, sendCommand } from "./state.js";

// From the package of noVNC; the path exists only on the server.
const NOVNC = "/novnc/core/rfb.js";
const { default: RFB } = await import(NOVNC);

const RECONNECT_MS = 1000;
const sessionId = decodeURIComponent(location.pathname.split("/").at(-1));
const byId = (id) => document.getElementById(id);
const screen = byId("screen");
/** The last known state of the session. */
let session;
/** The connection to an RFB display, or the frame of an HTTP display. */
let viewer;
let isConnecting = false;
let isWaking = false;

document.title = byId("name").textContent = sessionId;
followState((state) => {
  if (!state) return;
  session = state.sessions.find((one) => one.sessionId === sessionId);
  void update();
});

for (const id of ["scale", "view-only"]) byId(id).addEventListener("change", applyOptions);
byId("full-screen").addEventListener("click", () => void screen.requestFullscreen());
byId("paste").addEventListener("click", async () => {
  const text = await navigator.clipboard.readText();
  viewer?.clipboardPasteFrom?.(text);
});

/** Does what the state of the session calls for. */
async function update() {
  switch (session?.state) {
    case undefined:
      return show("There is no such session.");
    case "running":
      isWaking = false;
      if (!viewer && !isConnecting) await connect();
      return;
    case "hibernated":
      if (isWaking) return;
      isWaking = true;
      show("The session is hibernated: waking it…");
      return await sendCommand(session.agentId, "wake_session", { sessionId }).catch((error) =>
        show(error.message)
      );
    case "pending":
      return show(`The session is starting… ${session.message}`);
    default:
      return show(`The session is ${session.state}. ${session.message}`);
  }
}

/** Shows the display, whatever it speaks. */
async function connect() {
  isConnecting = true;
  show("Connecting to the desktop…");
  try {
    const response = await fetch(`/api/v1/sessions/${encodeURIComponent(sessionId)}/display`);
    const answer = await response.json();
    if (!response.ok) throw new Error(`${answer.error}: ${answer.details}`);
    viewer = answer.kind === "rfb" ? openRfb() : openFrame();
  } catch (error) {
    show(`The desktop cannot be reached: ${error.message}`);
    setTimeout(update, RECONNECT_MS);
  } finally {
    isConnecting = false;
  }
}

function openRfb() {
  const url = new URL(`/api/v1/sessions/${encodeURIComponent(sessionId)}/stream`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  screen.replaceChildren();
  const rfb = new RFB(screen, url.href);
  rfb.addEventListener("connect", () => {
    show("Connected");
    applyOptions();
    rfb.focus();
  });
  rfb.addEventListener("disconnect", () => {
    viewer = undefined;
    show("Disconnected");
    setTimeout(update, RECONNECT_MS);
  });
  rfb.addEventListener(
    "clipboard",
    ({ detail }) => void navigator.clipboard.writeText(detail.text).catch(() => {}),
  );
  return rfb;
}

function openFrame() {
  const url = new URL("/", location.href);
  url.hostname = `${sessionId}.localhost`;
  const alone = byId("alone");
  alone.href = url.href;
  alone.hidden = false;
  const frame = element("iframe", {
    src: url.href,
    title: `Desktop of ${sessionId}`,
    allow: "clipboard-read; clipboard-write; fullscreen",
  });
  screen.replaceChildren(frame);
  show("Connected");
  return frame;
}

function applyOptions() {
  if (!viewer) return;
  viewer.scaleViewport = byId("scale").checked;
  viewer.viewOnly = byId("view-only").checked;
}

function show(text) {
  byId("state").textContent = text;
  if (session?.state !== "running" && viewer) {
    viewer.disconnect?.();
    viewer = undefined;
    screen.replaceChildren();
  }
}
