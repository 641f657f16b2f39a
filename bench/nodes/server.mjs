// socket.io with its Redis adapter, as its documentation shows it: node server.mjs PORT REDIS_URL [sharded]
import { createServer } from "node:http";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [port, url, form] = process.argv.slice(2);
const publisher = createClient({ url });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const adapter = form === "sharded" ? createShardedAdapter : createAdapter;
const server = createServer();
const io = new Server(server, { adapter: adapter(publisher, subscriber), transports: ["websocket"] });

io.on("connection", (socket) => {
  socket.on("subscribe", async (done) => {
    await socket.join("room");
    done();
  });
  socket.on("publish", (text) => io.to("room").emit("m", text));
});

server.listen(Number(port), "127.0.0.1");
