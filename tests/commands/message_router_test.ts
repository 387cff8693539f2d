import { assertEquals } from "@std/assert";
import { MessageRouter } from "../../lib/commands/message_router.ts";
import { LogCapture } from "../support/log_capture.ts";

/** A router, and the calls that it makes. */
function recordingRouter(): { router: MessageRouter; calls: string[] } {
  const calls: string[] = [];
  const router = new MessageRouter({
    dispatcher: { receive: ({ commandId, action }) => calls.push(`command ${commandId} ${action}`) },
    reporter: { pong: () => calls.push("pong") },
    onShutdown: () => calls.push("shutdown"),
    observer: { ignored: (reason) => calls.push(`ignored ${reason}`) },
  });
  return { router, calls };
}

Deno.test("MessageRouter routes every message of a frame in order", async () => {
  using logs = new LogCapture();
  const { router, calls } = recordingRouter();
  router.receive([
    '{"type":"ping"}',
    '{"type":"command","payload":{"commandId":"c1","action":"stop_session","payload":{}}}',
    '{"type":"shutdown","payload":{"reason":"maintenance"}}',
  ].join("\n"));
  assertEquals(calls, ["pong", "command c1 stop_session", "shutdown"]);
  await logs.line("The Control Plane requested a shutdown: maintenance");
});

Deno.test("MessageRouter counts and logs what it cannot handle, and handles the rest of the frame", () => {
  using logs = new LogCapture();
  const { router, calls } = recordingRouter();
  router.receive(new Uint8Array(3));
  const display = '{"type":"vnc_close","payload":{"sessionId":"s1"}}';
  router.receive(`{"type":"vnc_error"}\n${display}\n{"type":\n{"type":"ping"}`);
  assertEquals(calls, ["ignored binary", "ignored unknown", "ignored unknown", "ignored malformed", "pong"]);
  assertEquals(logs.lines.length, 4);
});
