/**
 * The page of one session: its desktop.
 */
import { badge, element, followState, sendCommand } from "./state.js";

// From the package of noVNC; the path exists only on the server.
const NOVNC = "/novnc/core/rfb.js";
const { default: RFB } = await import(NOVNC);

const RECONNECT_MS = 1000;
/** What the page of a display may do in its frame: all but leave it. */
const SANDBOX =
  "allow-scripts allow-same-origin allow-forms allow-modals allow-popups allow-downloads allow-pointer-lock";
const sessionId = decodeURIComponent(location.pathname.split("/").at(-1));
const byId = (id) => document.getElementById(id);
const screen = byId("screen");
/** The last known state of the session, and of the command that wakes it. */
let session;
let wake;
/** The connection to an RFB display, or the frame of an HTTP display. */
let viewer;
let isConnecting = false;
/** Opening a hibernated session wakes it; one that is hibernated while it is open stays so until somebody wakes it. */
let mayWake = true;

document.title = byId("name").textContent = sessionId;
followState((state) => {
  if (!state) return;
  session = state.sessions.find((one) => one.sessionId === sessionId);
  wake = state.commands.find(({ commandId }) => commandId === wake?.commandId) ?? wake;
  void update();
});

for (const id of ["scale", "view-only"]) byId(id).addEventListener("change", applyOptions);
byId("full-screen").addEventListener("click", () => void screen.requestFullscreen());
byId("wake").addEventListener("click", () => {
  wake = undefined;
  mayWake = true;
  void update();
});
byId("paste").addEventListener("click", async () => {
  try {
    viewer.clipboardPasteFrom(await navigator.clipboard.readText());
    viewer.focus();
  } catch {
    show("connected", { text: "The browser does not allow this page to read the clipboard." });
  }
});

/** Does what the state of the session calls for. */
async function update() {
  const { state, message } = session ?? {};
  if (state !== "running") disconnect();
  switch (state) {
    case undefined:
      return show("unknown", { title: "There is no such session." });
    case "running":
      wake = undefined;
      mayWake = false;
      if (!viewer && !isConnecting) await connect();
      return;
    case "hibernated":
      return await wakeUp();
    case "pending":
      return show("starting", { title: "The session is starting…", text: message });
    case "terminated":
      return show("stopped", { title: "The session was stopped.", text: message });
    default:
      return show(state, { title: `The session has ${state}.`, text: message });
  }
}

async function wakeUp() {
  if (!mayWake) return show("hibernated", { title: "The session is hibernated.", canWake: true });
  if (!wake) {
    wake = { status: "pending" };
    try {
      wake = await sendCommand(session.agentId, "wake_session", { sessionId });
    } catch (error) {
      wake = { status: "failed", error: error.message };
    }
  }
  if (wake.status !== "failed") return show("waking", { title: "Waking the hibernated session…" });
  show("hibernated", { title: "The session cannot be woken.", text: wake.error, canWake: true });
}

/** Shows the display, whatever its protocol. */
async function connect() {
  isConnecting = true;
  show("connecting", { title: "Connecting to the desktop…" });
  try {
    const response = await fetch(`/api/v1/sessions/${encodeURIComponent(sessionId)}/display`);
    const answer = await response.json();
    if (!response.ok) throw new Error(`${answer.error}: ${answer.details}`);
    // The session may have ended in the meantime.
    if (session?.state === "running") viewer = answer.kind === "rfb" ? openRfb() : openFrame();
  } catch (error) {
    return reconnect({ title: "The desktop cannot be reached. Trying again…", text: error.message });
  }
  isConnecting = false;
}

/** Connects again after a while, unless the session does not run any more by then. */
function reconnect(notice) {
  isConnecting = true;
  show("disconnected", notice);
  setTimeout(() => {
    isConnecting = false;
    void update();
  }, RECONNECT_MS);
}

function disconnect() {
  const old = viewer;
  viewer = undefined;
  old?.disconnect?.();
  screen.replaceChildren();
  byId("controls").hidden = true;
}

function openRfb() {
  const url = new URL(`/api/v1/sessions/${encodeURIComponent(sessionId)}/stream`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  screen.replaceChildren();
  const rfb = new RFB(screen, url.href);
  rfb.addEventListener("connect", () => {
    show("connected");
    applyOptions();
    rfb.focus();
  });
  rfb.addEventListener("disconnect", () => {
    if (viewer !== rfb) return;
    viewer = undefined;
    disconnect();
    reconnect({ title: "The connection was lost. Connecting again…" });
  });
  rfb.addEventListener(
    "clipboard",
    ({ detail }) => void navigator.clipboard.writeText(detail.text).catch(() => {}),
  );
  showControls("rfb");
  return rfb;
}

function openFrame() {
  const url = new URL("/", location.href);
  url.hostname = `${sessionId}.localhost`;
  if (!url.hostname.endsWith(".localhost")) throw new Error("the id of the session is no host name");
  byId("alone").href = url.href;
  const frame = element("iframe", {
    src: url.href,
    title: `Desktop of ${sessionId}`,
    sandbox: SANDBOX,
    allow: "clipboard-read; clipboard-write; fullscreen",
  });
  screen.replaceChildren(frame);
  showControls("http");
  show("connected");
  return frame;
}

function showControls(kind) {
  byId("controls").hidden = false;
  for (const control of document.querySelectorAll(".rfb")) control.hidden = kind !== "rfb";
  byId("alone").hidden = kind !== "http";
}

function applyOptions() {
  if (!viewer) return;
  viewer.scaleViewport = byId("scale").checked;
  viewer.viewOnly = byId("view-only").checked;
}

/** Shows the state of the connection, and a notice in front of the screen unless there is nothing to say. */
function show(state, { title = "", text = "", canWake = false } = {}) {
  const status = byId("state");
  ({ className: status.className, textContent: status.textContent } = badge(state));
  byId("notice").hidden = title === "" && text === "";
  byId("notice-title").textContent = title;
  byId("notice-text").textContent = text;
  byId("wake").hidden = !canWake;
}
