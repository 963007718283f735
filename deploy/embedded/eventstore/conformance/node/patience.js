"use strict";
// Deadlines, cancellation, and clients that go away.

const { once } = require("node:events");
const {
  DeadlineExceededError, assert, check, collect, connect, fails, ids, newEvent, newEvents,
  newStream, take,
} = require("./suite");

const WAYS = [{}, { credentials: { username: "admin", password: "changeit" } }];

check("an append whose deadline is over is an error of that kind", async ({ client }) => {
  for (const way of WAYS) {
    const append = client.appendToStream(newStream(), newEvents(30_000), { ...way, deadline: 1 });
    await fails(append, DeadlineExceededError);
  }
  await client.appendToStream(newStream(), newEvents(10), { deadline: 30_000 });
});

check("what waits without an end is cancelled by leaving it", async ({ client }) => {
  const subscription = client.subscribeToStream(newStream());
  const ended = take(subscription, 1).catch((error) => error);
  await once(subscription, "confirmation");
  await subscription.unsubscribe();
  assert.match((await ended).message, /ended after 0 events/);
});

check("a client that is disposed of ends its subscriptions, and takes only its own along", async ({ node, client }) => {
  const stream = newStream();
  const mine = client.subscribeToStream(stream);
  const other = connect(node);
  const theirs = other.subscribeToStream(stream).on("data", () => {});
  await once(theirs, "confirmation");
  const end = once(theirs, "end");
  await other.dispose();
  await end;
  const event = newEvent();
  await client.appendToStream(stream, event);
  assert.deepEqual(ids(await take(mine, 1)), [event.id]);
  await mine.unsubscribe();
});

check("a client that was disposed of connects again", async ({ node }) => {
  const client = connect(node);
  const stream = newStream();
  for (let round = 1; round < 4; round++) {
    await client.appendToStream(stream, newEvent());
    await client.dispose();
    assert.equal((await collect(client.readStream(stream))).length, round);
  }
  await client.dispose();
});
