"use strict";
// Clients and subscriptions through a node that stops, dies and comes back.

const { once } = require("node:events");
const { setTimeout: pause } = require("node:timers/promises");
const {
  ANY, UnavailableError, assert, check, collect, ids, newEvents, newStream, take, withOwnNode,
} = require("./suite");

const ENDINGS = ["stop", "kill"];
const MS_TO_CONNECT_MAX = 30_000;

// The client finds out that its connection is gone by an error, and then connects again.
async function untilConnected(call) {
  const deadline = Date.now() + MS_TO_CONNECT_MAX;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await pause(50);
    }
  }
}

check("everything acknowledged is there after restarts, and a retry is recognised", async () => {
  await withOwnNode(async (node, client) => {
    const stream = newStream();
    const events = newEvents(20);
    for (const [round, ending] of [...ENDINGS, ...ENDINGS].entries()) {
      const batch = events.slice(round * 5, round * 5 + 5);
      const append = () => client.appendToStream(stream, batch, { streamState: ANY });
      const result = await untilConnected(append);
      await node[ending]();
      await node.start();
      assert.deepEqual(await untilConnected(append), result);
      const read = await untilConnected(() => collect(client.readStream(stream)));
      assert.deepEqual(ids(read), ids(events.slice(0, round * 5 + 5)));
    }
  });
});

check("a subscription ends with an error when its node goes, and is taken up where it was", async () => {
  await withOwnNode(async (node, client) => {
    const stream = newStream();
    const events = newEvents(40);
    const seen = [];
    for (const [round, ending] of [...ENDINGS, ...ENDINGS].entries()) {
      const fromRevision = seen.length ? seen.at(-1).event.revision : "start";
      const subscription = client.subscribeToStream(stream, { fromRevision });
      await untilConnected(() =>
        client.appendToStream(stream, events.slice(round * 10, round * 10 + 10)));
      seen.push(...(await take(subscription, 7)));
      const broken = once(subscription, "error");
      await node[ending]();
      const [error] = await broken;
      assert(error instanceof UnavailableError, String(error));
      await node.start();
      await untilConnected(() => collect(client.readStream(stream, { maxCount: 1 })));
    }
    const rest = client.subscribeToStream(stream, { fromRevision: seen.at(-1).event.revision });
    seen.push(...(await take(rest, 40 - seen.length)));
    assert.deepEqual(ids(seen), ids(events));
    await rest.unsubscribe();
  });
});
