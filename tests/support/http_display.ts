/**
 * An HTTP display: a page that uses a WebSocket and a response that arrives in pieces and never ends, as desktops in the browser do.
 * @module
 */

/** The page; `#typed` is sent through the WebSocket, and `#echo` shows what comes back. */
const PAGE = `<!DOCTYPE html>
<title>Display</title>
<link rel="icon" href="data:,">
<h1>HTTP display</h1>
<input id="typed" disabled>
<p id="echo"></p>
<p id="ticks">0</p>
<script type="module">
  const byId = (id) => document.getElementById(id);
  const socket = new WebSocket(location.href.replace("http", "ws") + "socket", "text");
  socket.onopen = () => byId("typed").disabled = false;
  socket.onmessage = ({ data }) => byId("echo").textContent = data;
  byId("typed").oninput = ({ target }) => socket.send(target.value);
  let ticks = 0;
  for await (const piece of (await fetch("/ticks")).body) byId("ticks").textContent = ticks += piece.length;
</script>
`;

/** What a display has sent. */
export interface HttpDisplay {
  /** Bytes of endless responses that were accepted. */
  readonly sent: () => number;
  readonly handle: (request: Request) => Promise<Response>;
}

/** Creates a display; `handle` is a handler for `Deno.serve()`. */
export function httpDisplay(): HttpDisplay {
  let sent = 0;
  const sockets = new Set<WebSocket>();
  const unsent = () => [...sockets].reduce((sum, { bufferedAmount }) => sum + bufferedAmount, 0);
  const routes: Readonly<Record<string, () => Response>> = {
    "/": () =>
      new Response(PAGE, { headers: { "Content-Type": "text/html", "X-Frame-Options": "SAMEORIGIN" } }),
    "/ticks": () =>
      new Response(ReadableStream.from(ticks()), { headers: { "Content-Type": "text/event-stream" } }),
    "/endless": () =>
      new Response(
        new ReadableStream<Uint8Array>({
          pull(controller) {
            sent += 64 * 1024;
            controller.enqueue(new Uint8Array(64 * 1024));
          },
        }),
      ),
    "/nothing": () => new Response(null, { status: 204 }),
  };
  return {
    sent: () => sent - unsent(),
    async handle(request) {
      const { pathname, search } = new URL(request.url);
      if (request.headers.get("upgrade") === "websocket") {
        // The headers of an upgraded request cannot be read.
        const greeting = `${request.headers.get("host")} ${request.headers.get("cookie")}`;
        const { socket, response } = Deno.upgradeWebSocket(request, { protocol: "text" });
        socket.onopen = () => {
          sockets.add(socket);
          socket.send(greeting);
        };
        socket.onclose = () => sockets.delete(socket);
        socket.onmessage = ({ data }) => {
          if (data === "close") return socket.close(4001, "bye");
          if (data !== "flood") return socket.send(`echo ${data}`);
          for (let i = 0; i < FLOOD.messages; i++) socket.send(new Uint8Array(FLOOD.bytes));
          sent += FLOOD.messages * FLOOD.bytes;
        };
        return response;
      }
      const route = routes[pathname];
      if (route) return route();
      const headers = new Headers({ "X-Display": "yes" });
      for (const cookie of ["a=b", "c=d"]) headers.append("Set-Cookie", cookie);
      return new Response(`${request.method} ${pathname}${search} ${await request.text()}`, {
        status: 201,
        headers,
      });
    },
  };
}

/** What the display sends through a WebSocket after the message "flood". */
export const FLOOD = { messages: 200, bytes: 1024 * 1024 } as const;

/** One byte at a time without end; the next one after the last one was accepted. */
async function* ticks(): AsyncGenerator<Uint8Array> {
  while (true) {
    yield new Uint8Array(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
