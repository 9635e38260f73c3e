// A front as load balancers are: HTTP/2 over TLS to clients, HTTP/1.1 to the endpoint, `:authority` becomes Host.
// node front.mjs ENDPOINT CERTIFICATE KEY; prints the port.
import { readFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";

const [endpoint, cert, key] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true });
const front = http2.createSecureServer({ cert: readFileSync(cert), key: readFileSync(key), allowHTTP1: true }, (asked, answer) => {
  const headers = Object.fromEntries(Object.entries(asked.headers).filter(([name]) => !name.startsWith(":")));
  headers.host = asked.authority ?? asked.headers.host;
  const onward = http.request(endpoint + asked.url, { agent, method: asked.method, headers }, (came) => {
    const { connection, "keep-alive": _, "transfer-encoding": __, ...rest } = came.headers;
    answer.writeHead(came.statusCode, rest);
    came.pipe(answer);
  });
  onward.on("error", () => answer.headersSent || answer.destroy());
  onward.on("close", () => asked.unpipe(onward).resume()); // answered early: the rest of the body is read and thrown away
  answer.on("close", () => onward.destroy());
  asked.pipe(onward);
});
front.listen(0, "127.0.0.1", () => console.log(front.address().port));
